"""Numbers that compare sets of sounds."""
