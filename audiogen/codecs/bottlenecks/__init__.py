"""Bottlenecks that turn vectors into tokens."""
