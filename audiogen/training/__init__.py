"""Training loops and what they share: optimiser, EMA, checkpoints, tracking, precision."""
