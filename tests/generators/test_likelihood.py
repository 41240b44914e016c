"""The likelihood against Gaussians, whose density is known, and on small trained generators."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from audiogen.generators import GeneratorConfig, build_generator
from audiogen.generators.ode import likelihood
from audiogen.generators.ode.base import ODEGenerator
from audiogen.generators.ode.diffusion import DiffusionConfig, DiffusionGenerator
from audiogen.generators.ode.flow import FlowConfig, FlowGenerator
from audiogen.generators.ode.likelihood import NOISE_LEVEL, bits_per_dimension, estimated_trace
from audiogen.generators.ode.scene import Scene
from audiogen.types import Batch, Conditions, LatentSpec

CHANNELS, WINDOW, TEXT_DIM = 4, 8, 12
SPEC = LatentSpec(
    kind="continuous",
    channels=CHANNELS,
    vocab_size=None,
    hop_length=512,
    sample_rate=16000,
    audio_channels=1,
)
CONFIGS: list[GeneratorConfig] = [
    DiffusionConfig(dim=32, depth=2, num_heads=2),
    FlowConfig(dim=32, depth=2, num_heads=2),
]
MEANS, STD = torch.linspace(-0.7, 0.7, CHANNELS)[:, None], 0.5
FINER = {"tolerance": 1e-5}


class Gaussian(ODEGenerator):
    """The optimal denoiser of latents N(MEANS, STD^2), where real and only there."""

    def denoise(self, x: Tensor, t: Tensor, scene: Scene) -> Tensor:
        wide = t[:, None, None]
        alpha = self.alpha(wide)
        gain = alpha * STD**2 / (alpha**2 * STD**2 + wide**2)
        denoised = MEANS + gain * (x - alpha * MEANS)
        if scene.mask is None:
            return denoised
        return torch.where(scene.mask[:, None], denoised, 100.0)  # what is masked must not count


class GaussianDiffusion(Gaussian, DiffusionGenerator):
    """With the times of diffusion."""


class GaussianFlow(Gaussian, FlowGenerator):
    """With the times of flow."""


def gaussian(kind: str, window_frames: int = WINDOW) -> Gaussian:
    small = {"dim": 32, "depth": 1, "num_heads": 1, "patch_frames": 1}
    if kind == "flow":
        return GaussianFlow(FlowConfig(**small), SPEC, TEXT_DIM, window_frames).eval()
    # Far from the data, so that the end of the way is normal whatever the data's mean.
    config = DiffusionConfig(**small, sigma_max=300.0)
    return GaussianDiffusion(config, SPEC, TEXT_DIM, window_frames).eval()


def exact_bits(latents: Tensor, mask: Tensor) -> Tensor:
    """Bits per number of the density of each item's real frames."""
    normal = torch.distributions.Normal(MEANS, (STD**2 + NOISE_LEVEL**2) ** 0.5)
    nats = -(normal.log_prob(latents) * mask[:, None]).sum(dim=(1, 2))
    return nats / (mask.sum(dim=1) * CHANNELS) / math.log(2)


def make_conditions(batch: int) -> Conditions:
    return Conditions(
        text=torch.randn(batch, 6, TEXT_DIM),
        text_mask=torch.ones(batch, 6, dtype=torch.bool),
        pooled=torch.randn(batch, TEXT_DIM),
        controls={"seconds": torch.rand(batch) * 10, "role": torch.zeros(batch)},
    )


def bits(
    generator: ODEGenerator, latents: Tensor, mask: Tensor, conditions: Conditions, **options: Any
) -> Tensor:
    batch = Batch(latents=latents, mask=mask, conditions=conditions)
    return bits_per_dimension(generator, batch, **options)


def masks(lengths: list[int], num_frames: int) -> Tensor:
    return torch.arange(num_frames)[None] < torch.tensor(lengths)[:, None]


def real_generator(config: GeneratorConfig) -> ODEGenerator:
    torch.manual_seed(0)
    made = build_generator(config, SPEC, TEXT_DIM, WINDOW)
    assert isinstance(made, ODEGenerator)
    for parameter in made.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.05)
    return made.eval()


@pytest.mark.parametrize("kind", ["diffusion", "flow"])
def test_gaussian_latents_cost_what_their_density_says(kind: str) -> None:
    generator = gaussian(kind, window_frames=400)
    torch.manual_seed(0)
    latents = MEANS + STD * torch.randn(3, CHANNELS, 400)
    mask, conditions = masks([400, 150, 399], 400), make_conditions(3)
    found = bits(generator, latents, mask, conditions, seeds=[1, 2, 3])
    # The noise on the latents leaves the last digits open.
    torch.testing.assert_close(found, exact_bits(latents, mask), atol=4e-3, rtol=0)
    entropy = 0.5 * math.log2(2 * math.pi * math.e * STD**2)
    torch.testing.assert_close(found, torch.full((3,), entropy), atol=0.1, rtol=0)
    other = latents + 0.5
    wrong = bits(generator, other, mask, conditions, seeds=[1, 2, 3])
    torch.testing.assert_close(wrong, exact_bits(other, mask), atol=6e-3, rtol=0)


def test_flow_and_diffusion_agree_on_one_density() -> None:
    torch.manual_seed(0)
    latents, mask = 0.3 * torch.randn(2, CHANNELS, WINDOW), masks([8, 5], WINDOW)
    conditions = make_conditions(2)
    flow, diffusion = (
        bits(gaussian(kind), latents, mask, conditions, seeds=[1, 2])
        for kind in ("flow", "diffusion")
    )
    torch.testing.assert_close(flow, diffusion, atol=3e-3, rtol=0)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.type)
def test_an_item_depends_on_its_seed_and_not_on_its_batch_or_padding(
    config: GeneratorConfig,
) -> None:
    generator = real_generator(config)
    latents, mask = torch.randn(3, CHANNELS, WINDOW), masks([8, 5, 8], WINDOW)
    conditions = make_conditions(3)
    together = bits(generator, latents, mask, conditions, seeds=[1, 2, 3], **FINER)
    assert bool(together.isfinite().all())
    alone = bits(generator, latents[1:2, :, :6], mask[1:2, :6], conditions[1:2], seeds=[2], **FINER)
    torch.testing.assert_close(together[1:2], alone, atol=2e-3, rtol=0)
    spoiled = torch.where(mask[:, None], latents, 50.0)
    again = bits(generator, spoiled, mask, conditions, seeds=[1, 2, 4], **FINER)
    torch.testing.assert_close(again[:2], together[:2], atol=2e-3, rtol=0)
    assert abs(float(again[2] - together[2])) > 1e-2


def test_what_lies_behind_the_window_is_cut_off() -> None:
    generator = real_generator(CONFIGS[1])
    latents, conditions = torch.randn(1, CHANNELS, 20), make_conditions(1)
    long = bits(generator, latents, masks([20], 20), conditions, seeds=[1])
    short = bits(generator, latents[..., :WINDOW], masks([WINDOW], WINDOW), conditions, seeds=[1])
    torch.testing.assert_close(long, short)


def test_the_estimate_equals_the_exact_trace_over_orthogonal_signs() -> None:
    generator = real_generator(CONFIGS[1])
    numbers, batch = CHANNELS * 4, 2
    scene = Scene(context=generator.conditioner(make_conditions(batch)))
    x = torch.randn(batch, CHANNELS, 4, requires_grad=True)
    t = torch.tensor([0.3, 0.8])
    jacobian = torch.autograd.functional.jacobian(
        lambda x: generator.denoise(x, t, scene).sum(dim=0), x
    )  # (D, L, B, D, L): items do not mix
    square = jacobian.permute(2, 0, 1, 3, 4).reshape(batch, numbers, numbers)
    exact = square.diagonal(dim1=1, dim2=2).sum(dim=1)
    hadamard = torch.ones(1, 1)
    while len(hadamard) < numbers:
        hadamard = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), hadamard)
    # Rows of signs whose mean of e e^T is the identity: the estimate has no noise left.
    probes = hadamard.reshape(numbers, 1, CHANNELS, 4).expand(-1, batch, -1, -1)
    found = [estimated_trace(generator.denoise(x, t, scene), x, signs) for signs in probes]
    torch.testing.assert_close(torch.stack(found).mean(dim=0), exact, atol=1e-3, rtol=1e-4)
    assert not torch.allclose(found[0], exact, atol=1e-2)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.type)
def test_a_trained_generator_knows_its_data_from_shuffled_latents(config: GeneratorConfig) -> None:
    generator = real_generator(config).train()
    torch.manual_seed(1)
    angles = torch.rand(32, CHANNELS, 1) * 2 * math.pi
    latents = 1.4 * torch.sin(torch.arange(WINDOW) * 0.7 + angles)
    conditions = make_conditions(1)[[0] * 32]
    batch = Batch(latents=latents, mask=masks([WINDOW] * 32, WINDOW), conditions=conditions)
    optimizer = torch.optim.AdamW(generator.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        generator(batch).loss.backward()
        optimizer.step()
    generator.eval()
    shuffled = latents[..., torch.randperm(WINDOW, generator=torch.Generator().manual_seed(0))]

    def mean_bits(values: Tensor) -> float:
        found = bits(generator, values[:16], batch.mask[:16], conditions[:16], seeds=range(16))
        return float(found.mean())

    own, other = mean_bits(latents), mean_bits(shuffled)
    assert own < 2.05 - 0.3 < 2.05 < other  # 2.05: independent standard normal numbers
    assert all(parameter.requires_grad for parameter in generator.parameters())


def test_frozen_parameters_and_no_grad_are_fine() -> None:
    generator = real_generator(CONFIGS[0]).requires_grad_(requires_grad=False)
    with torch.no_grad():
        found = bits(
            generator,
            torch.randn(1, CHANNELS, WINDOW),
            masks([WINDOW], WINDOW),
            make_conditions(1),
            seeds=[0],
        )
    assert found.shape == (1,)
    assert not found.requires_grad


def test_wrong_input_is_refused() -> None:
    generator = gaussian("flow")
    latents, mask, conditions = torch.randn(2, CHANNELS, 6), masks([6, 3], 6), make_conditions(2)

    def refused(message: str, **changes: object) -> None:
        given = {
            "generator": generator,
            "latents": latents,
            "mask": mask,
            "conditions": conditions,
            "seeds": [1, 2],
            **changes,
        }
        with pytest.raises(ValueError, match=message):
            bits(**given)

    refused(r"need latents \(2, 4, 6\), got \(2, 3, 6\)", latents=latents[:, :3])
    refused(r"a mask \(2, 5\) and", mask=mask[:, :5])
    refused("1 seeds", seeds=[1])
    refused("1 conditions", conditions=conditions[:1])
    refused("an item has no real frame", mask=masks([6, 0], 6))
    refused("training mode", generator=gaussian("flow").train())


@pytest.mark.parametrize("part", ["weight", "bias"])  # a bias has no share in the divergence
def test_a_network_that_is_broken_is_reported(part: str) -> None:
    generator = real_generator(CONFIGS[0])
    torch.nn.init.constant_(getattr(generator.network.head, part), math.nan)
    with pytest.raises(ValueError, match="is not finite"):
        bits(
            generator,
            torch.randn(1, CHANNELS, WINDOW),
            masks([WINDOW], WINDOW),
            make_conditions(1),
            seeds=[0],
        )


def test_a_tolerance_that_no_step_meets_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "MAX_STEPS", 1)
    with pytest.raises(ValueError, match=r"no step of the solver meets a tolerance of"):
        bits(
            gaussian("flow"),
            torch.randn(1, CHANNELS, WINDOW),
            masks([WINDOW], WINDOW),
            make_conditions(1),
            seeds=[0],
        )


def test_a_hopeless_path_is_given_up_after_few_steps() -> None:
    calls: list[float] = []

    def shaking(time: Tensor, state: likelihood.State) -> likelihood.State:
        calls.append(float(time))
        return torch.full_like(state[0], 1e5 * math.cos(1e5 * float(time))), state[1]

    start = torch.zeros(1, 1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    with pytest.raises(likelihood.UnsolvedError, match="no step of the solver meets"):
        likelihood._solved(shaking, start, (0.0, 1.0), likelihood.TOLERANCE)
    assert len(calls) <= 6 * likelihood.MAX_STEPS + 2 < 2_000


def test_every_item_must_meet_the_tolerance() -> None:
    """One hard item among a hundred easy ones is solved as well as alone.

    A norm over the whole batch, which is the solver's default, would hide its error.
    """

    def drift(time: Tensor, state: likelihood.State) -> likelihood.State:
        del time
        return -rates * state[0], torch.zeros_like(state[1])

    rates = torch.full((100, 1, 1), 1e-3, dtype=torch.float64)
    rates[0] = 5.0
    start = torch.ones(100, 1, 1, dtype=torch.float64), torch.zeros(100, dtype=torch.float64)
    solved, _ = likelihood._solved(drift, start, (0.0, 1.0), 1e-5)
    torch.testing.assert_close(solved, (-rates).exp(), rtol=0, atol=3e-5)
