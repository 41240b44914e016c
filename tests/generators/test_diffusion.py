"""Diffusion's preconditioning, by its identities and beside the flow of the same weights."""

import pytest
import torch

from audiogen.generators import build_generator
from audiogen.generators.ode.diffusion import DiffusionConfig, preconditioning
from audiogen.generators.ode.flow import FlowConfig
from audiogen.types import Batch, Conditions, LatentSpec, PathPoint

SIGMAS = torch.tensor([0.002, 0.1, 0.5, 1.0, 7.0, 80.0], dtype=torch.float64)
SPEC = LatentSpec(
    kind="continuous",
    channels=4,
    vocab_size=None,
    hop_length=512,
    sample_rate=16000,
    audio_channels=1,
)
SIZE = {"dim": 32, "depth": 2, "num_heads": 2, "patch_frames": 1}


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
def test_the_network_tells_noise_minus_latents(sigma_data: float) -> None:
    clean = sigma_data * torch.randn(len(SIGMAS), dtype=torch.float64)
    noise = torch.randn(len(SIGMAS), dtype=torch.float64)
    noisy = clean + SIGMAS * noise
    c_skip, c_out, c_in = preconditioning(SIGMAS, sigma_data)
    raw = noise - clean / sigma_data
    torch.testing.assert_close(c_skip * noisy + c_out * raw, clean)
    level = SIGMAS / (SIGMAS + sigma_data)
    torch.testing.assert_close(c_in * noisy, (1 - level) * clean / sigma_data + level * noise)


def test_diffusion_with_the_weights_of_a_flow_is_that_flow() -> None:
    torch.manual_seed(0)
    flow = build_generator(FlowConfig(**SIZE), SPEC, text_dim=12, window_frames=16)
    diffusion = build_generator(DiffusionConfig(**SIZE), SPEC, text_dim=12, window_frames=16)
    for parameter in flow.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)  # the last layer starts at zero
    diffusion.load_state_dict(flow.state_dict())

    batch, frames = 6, 16
    clean, noise = torch.randn(2, batch, SPEC.channels, frames)
    level = torch.linspace(0.05, 0.95, batch)
    wide = level[:, None, None]
    points = {
        flow: PathPoint(noisy=(1 - wide) * clean + wide * noise, t=level),
        diffusion: PathPoint(noisy=clean + wide / (1 - wide) * noise, t=level / (1 - level)),
    }
    conditions = Conditions(
        text=torch.randn(batch, 6, 12),
        text_mask=torch.ones(batch, 6, dtype=torch.bool),
        pooled=torch.randn(batch, 12),
        controls={"seconds": torch.full((batch,), 5.0), "role": torch.zeros(batch)},
    )
    mask = torch.arange(frames)[None] < torch.tensor([[16], [9], [12], [16], [8], [11]])
    losses = [
        model.eval()(Batch(latents=clean, mask=mask, conditions=conditions, point=point)).loss
        for model, point in points.items()
    ]
    assert losses[0] > 0
    torch.testing.assert_close(losses[0], losses[1])
