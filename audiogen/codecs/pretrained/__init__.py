"""Codecs that others have trained, behind the same settings as our own."""
