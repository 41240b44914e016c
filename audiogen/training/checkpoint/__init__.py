"""Checkpoints, and what a stage needs to go on as if it had never stopped."""
