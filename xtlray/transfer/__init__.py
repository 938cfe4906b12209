"""Transfer: the methods, one trial, the Ray Tune sweep over trials, selection from their records, scoring."""
