"""Whose sounds a model learnt from, under which licences, and what is said of it."""
