"""Packs: from a list of prompts to sounds that are curated and exported."""
