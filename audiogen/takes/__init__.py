"""Takes: generated sounds, how they are made and edited, and the file beside each."""
