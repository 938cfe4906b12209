"""Pretraining: Ray Train around the training loop, with checkpoints of our own in the store."""
