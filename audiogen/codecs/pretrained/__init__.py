"""Codecs that others have trained; an optional room that no other code imports."""
