"""Token files: sounds as the bits of a codec's tokens."""
