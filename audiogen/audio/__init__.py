"""Pure signal processing and audio files."""
