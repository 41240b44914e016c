"""Generators of codec tokens."""
