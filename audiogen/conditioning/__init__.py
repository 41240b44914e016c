"""From prompts and numbers to what a generator is conditioned on."""
