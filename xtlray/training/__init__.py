"""The training loop, its metrics and its precision. Nothing here knows of Ray or of storage."""
