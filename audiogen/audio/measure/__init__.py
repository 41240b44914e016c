"""Numbers about sounds: facts of a file, fingerprints, and measures of what is heard."""
