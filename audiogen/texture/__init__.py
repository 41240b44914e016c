"""Sounds made for use: takes, loops, and edits of either."""
