"""Export of the kept takes for a DAW."""
