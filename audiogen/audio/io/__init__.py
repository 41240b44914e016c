"""Sound files in and out, and the reading of files that nobody vouches for."""
