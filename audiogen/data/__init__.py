"""From folders of sounds to batches: intake, manifest, clips, latents, loader."""
