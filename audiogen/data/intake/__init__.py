"""Intake: which sounds of a folder are used, what they are said to be, and why not."""
