"""From used sounds to batches: clips, latents, archives and the loader."""
