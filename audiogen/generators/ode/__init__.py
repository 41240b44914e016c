"""Diffusion and flow: generators whose sampler is an ODE from noise to latents."""
