"""What diffusion and flow promise beyond the contract of every generator."""

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from audiogen.conditioning.controls import KEY_RANGE
from audiogen.generators import GeneratorConfig, LatentGenerator, ODESamplingConfig, build_generator
from audiogen.generators.ode.base import ODEGenerator
from audiogen.generators.ode.diffusion import DiffusionConfig
from audiogen.generators.ode.flow import FlowConfig
from audiogen.generators.ode.infill import InfillConfig
from audiogen.generators.request import Start
from audiogen.generators.sampling import SolverName
from audiogen.seeds import noise_source
from audiogen.types import Batch, Conditions, LatentSpec

SPEC = LatentSpec(
    kind="continuous",
    channels=4,
    vocab_size=None,
    hop_length=512,
    sample_rate=16000,
    audio_channels=1,
)
TEXT_DIM, WINDOW = 12, 16
SIZE = {"dim": 32, "depth": 2, "num_heads": 2}  # patches of 3 frames
CONTROLLED = {"controls": {"brightness": (200, 8000), "key": "auto"}}
CONFIGS = [
    config.with_ranges({"key": KEY_RANGE})
    for config in (
        DiffusionConfig(**SIZE, conditioner=CONTROLLED),
        FlowConfig(**SIZE, conditioner=CONTROLLED),
    )
]
SAMPLING = ODESamplingConfig(steps=4, guidance_scale=2.0)


def make_conditions(batch: int) -> Conditions:
    mask = torch.arange(6)[None] < torch.randint(1, 7, (batch, 1))
    return Conditions(
        text=torch.randn(batch, 6, TEXT_DIM),
        text_mask=mask,
        pooled=torch.randn(batch, TEXT_DIM),
        controls={
            "seconds": torch.rand(batch) * 10,
            "role": torch.randint(3, (batch,)).float(),
            **measures_of(batch),
        },
    )


def measures_of(batch: int) -> dict[str, Tensor]:
    """Controls that these models were trained with; some are not given."""
    key = torch.randint(24, (batch,)).float()
    return {
        "brightness": 200 * 40 ** torch.rand(batch),
        "key": key.masked_fill(torch.rand(batch) < 0.3, torch.nan),
    }


def make_batch(batch: int) -> Batch:
    frames = torch.randint(WINDOW // 2, WINDOW + 1, (batch, 1))
    return Batch(
        latents=torch.randn(batch, SPEC.channels, WINDOW),
        mask=torch.arange(WINDOW)[None] < frames,
        conditions=make_conditions(batch),
    )


@pytest.fixture(params=CONFIGS, ids=lambda config: config.type)
def generator(request: pytest.FixtureRequest) -> LatentGenerator:
    return built(request.param)


def built(config: GeneratorConfig) -> LatentGenerator:
    made = build_generator(config, SPEC, TEXT_DIM, WINDOW)
    for parameter in made.parameters():  # zero-initialised gates would hide mistakes behind them
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.05)
    return made


def test_the_prompt_matters_and_guidance_of_one_is_unguided(generator: LatentGenerator) -> None:
    generator.eval()
    conditions = make_conditions(2)
    plain = ODESamplingConfig(steps=4, guidance_scale=1.0)
    off = ODESamplingConfig(steps=4, guidance_scale=3.0, guidance_interval=(1.0, 1.0))
    one = generator.sample(conditions, WINDOW, sampling=plain, seeds=[1, 2])
    none = generator.sample(conditions, WINDOW, sampling=off, seeds=[1, 2])
    torch.testing.assert_close(one, none)
    free = generator.sample(conditions.without_prompt(), WINDOW, sampling=plain, seeds=[1, 2])
    assert not torch.allclose(one, free, atol=1e-3)


@pytest.mark.parametrize("skips", [0.0, 0.5])
@pytest.mark.parametrize("solver", get_args(SolverName))
def test_a_batch_of_mixed_lengths_samples_each_as_if_alone(
    generator: LatentGenerator, solver: SolverName, skips: float
) -> None:
    generator.eval()
    conditions, lengths, seeds = make_conditions(4), [WINDOW, 7, 3 * WINDOW + 1, 12], [1, 2, 3, 4]
    sampling = ODESamplingConfig(steps=3, solver=solver, guidance_scale=2.0, guidance_skips=skips)
    together = generator.sample(conditions, lengths, sampling=sampling, seeds=seeds)
    assert together.shape[-1] == max(lengths)
    for index, length in enumerate(lengths):
        alone = generator.sample(
            conditions[[index]], length, sampling=sampling, seeds=[seeds[index]]
        )
        part = together[index : index + 1]
        torch.testing.assert_close(part[..., :length], alone, atol=1e-4, rtol=1e-4)
        assert not bool(part[..., length:].any())


def test_a_negative_prompt_leads_away_from_it(generator: LatentGenerator) -> None:
    generator.eval()
    conditions, other = make_conditions(2), make_conditions(2)
    seeds = [1, 2]
    plain = generator.sample(conditions, WINDOW, sampling=SAMPLING, seeds=seeds)
    without = generator.sample(
        conditions, WINDOW, sampling=SAMPLING, seeds=seeds, negative=conditions.without_prompt()
    )
    torch.testing.assert_close(plain, without)
    away = generator.sample(conditions, WINDOW, sampling=SAMPLING, seeds=seeds, negative=other)
    assert not torch.allclose(plain, away, atol=1e-3)
    off = SAMPLING.model_copy(update={"guidance_scale": 1.0})
    with pytest.raises(ValueError, match="guidance, which is off"):
        generator.sample(conditions, WINDOW, sampling=off, seeds=seeds, negative=other)
    # Away from the prompt itself there is no direction left: guidance is off.
    same = generator.sample(conditions, WINDOW, sampling=SAMPLING, seeds=seeds, negative=conditions)
    unguided = generator.sample(conditions, WINDOW, sampling=off, seeds=seeds)
    torch.testing.assert_close(same, unguided, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("with_negative", [False, True])
def test_guidance_leads_away_from_the_network_without_a_block(
    generator: LatentGenerator, with_negative: bool
) -> None:
    """With a scale of 0 all that is left is the prediction that it leads away from."""
    generator.eval()
    conditions, seeds = make_conditions(2), [1, 2]
    negative = make_conditions(2) if with_negative else None

    def sample(asked: Conditions, scale: float, skips: float = 0.0) -> Tensor:
        return generator.sample(
            asked,
            [WINDOW, 9],
            sampling=ODESamplingConfig(steps=3, guidance_scale=scale, guidance_skips=skips),
            seeds=seeds,
            negative=None if scale == 1 else negative,
        )

    worse = sample(conditions, 0.0, 0.5)
    for scale in (1.0, 2.0):
        changed = not torch.allclose(
            sample(conditions, scale), sample(conditions, scale, 0.5), atol=1e-3
        )
        assert changed == (scale != 1)
    generator.get_submodule("network.blocks").pop(0)
    opposite = negative or conditions.without_prompt()
    torch.testing.assert_close(worse, sample(opposite, 1.0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("depth", "share", "left"),
    [(6, 0.33, [0, 1, 4, 5]), (8, 0.33, [0, 1, 5, 6, 7]), (3, 0.33, [0, 2]), (2, 0.2, [0, 1])],
)
def test_the_blocks_in_the_middle_are_left_out(depth: int, share: float, left: list[int]) -> None:
    generator = built(CONFIGS[1].model_copy(update={"depth": depth})).eval()
    conditions = make_conditions(1)

    def sample(scale: float, skips: float) -> Tensor:
        sampling = ODESamplingConfig(steps=2, guidance_scale=scale, guidance_skips=skips)
        asked = conditions.without_prompt()
        return generator.sample(asked, WINDOW, sampling=sampling, seeds=[1])

    worse = sample(0.0, share)
    blocks = generator.get_submodule("network.blocks")
    for index in reversed(range(depth)):
        if index not in left:
            blocks.pop(index)
    torch.testing.assert_close(worse, sample(1.0, 0.0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("num_frames", [WINDOW, 3 * WINDOW])
def test_kept_frames_come_out_as_they_are(generator: LatentGenerator, num_frames: int) -> None:
    generator.eval()
    known = torch.randn(2, SPEC.channels, num_frames)
    keep = torch.zeros(2, num_frames, dtype=torch.bool)
    keep[0, :5] = keep[1, 7:] = True
    start = Start(latents=known, keep=keep)
    conditions = make_conditions(2)
    made = generator.sample(conditions, num_frames, sampling=SAMPLING, seeds=[1, 2], start=start)
    where = keep[:, None].expand_as(made)
    torch.testing.assert_close(made[where], known[where], atol=1e-4, rtol=1e-4)
    spoiled = replace(start, latents=torch.where(where, known, torch.randn_like(known)))
    again = generator.sample(conditions, num_frames, sampling=SAMPLING, seeds=[1, 2], start=spoiled)
    torch.testing.assert_close(again, made)  # nothing leaks from frames that are not kept
    other = replace(start, latents=known + 1)
    moved = generator.sample(conditions, num_frames, sampling=SAMPLING, seeds=[1, 2], start=other)
    assert not torch.allclose(moved[~where], made[~where], atol=1e-3)  # and they are looked at


def test_a_model_without_infill_keeps_no_frames() -> None:
    config = FlowConfig(**SIZE, infill=InfillConfig(spans=0, prefix=0, suffix=0))
    generator = build_generator(config, SPEC, TEXT_DIM, WINDOW).eval()
    latents = torch.randn(1, SPEC.channels, WINDOW)
    start = Start(latents=latents, keep=torch.ones(1, WINDOW, dtype=torch.bool))
    with pytest.raises(ValueError, match="trained without infill"):
        generator.sample(make_conditions(1), WINDOW, sampling=SAMPLING, seeds=[1], start=start)


def test_less_noise_at_the_start_stays_nearer_to_what_is_given(generator: LatentGenerator) -> None:
    generator.eval()
    latents, conditions = torch.randn(1, SPEC.channels, WINDOW), make_conditions(1)
    distances = []
    for level in (0.0, 0.1, 0.4, 0.8):
        start = Start(latents=latents, level=level)
        made = generator.sample(conditions, WINDOW, sampling=SAMPLING, seeds=[1], start=start)
        distances.append(float((made - latents).norm()))
    assert distances[0] == 0
    assert distances == sorted(distances)


def test_noise_may_be_given(generator: LatentGenerator) -> None:
    generator.eval()
    conditions = make_conditions(2)
    noise = noise_source("start", [5, 6], SPEC.channels, [WINDOW] * 2)()
    own = generator.sample(conditions, WINDOW, sampling=SAMPLING, seeds=[5, 6])
    given = generator.sample(
        conditions, WINDOW, sampling=SAMPLING, seeds=[1, 2], start=Start(noise=noise)
    )
    torch.testing.assert_close(own, given, atol=0, rtol=0)


@pytest.mark.parametrize("num_frames", [9, WINDOW, 3 * WINDOW])
def test_a_ring_is_sampled_the_same_in_any_batch(
    generator: LatentGenerator, num_frames: int
) -> None:
    generator.eval()
    conditions = make_conditions(3)
    rings = generator.sample(conditions, num_frames, sampling=SAMPLING, seeds=[1, 2, 3], ring=True)
    alone = generator.sample(conditions[1:2], num_frames, sampling=SAMPLING, seeds=[2], ring=True)
    torch.testing.assert_close(rings[1:2], alone, atol=1e-4, rtol=1e-4)
    lines = generator.sample(conditions, num_frames, sampling=SAMPLING, seeds=[1, 2, 3])
    assert not torch.allclose(rings, lines, atol=1e-3)


def test_a_control_matters_and_what_is_not_given_is_as_if_absent(
    generator: LatentGenerator,
) -> None:
    generator.eval()
    conditions = make_conditions(2)

    def sampled(**controls: Tensor) -> Tensor:
        given = {name: conditions.controls[name] for name in ("seconds", "role")} | controls
        changed = replace(conditions, controls=given)
        return generator.sample(changed, WINDOW, sampling=SAMPLING, seeds=[1, 2])

    absent = sampled()
    missing = torch.full((2,), torch.nan)
    assert torch.equal(sampled(brightness=missing, key=missing), absent)
    dark, bright = (sampled(brightness=torch.full((2,), hertz)) for hertz in (300.0, 6000.0))
    for first, second in ((dark, bright), (dark, absent), (bright, absent)):
        assert not torch.allclose(first, second, atol=1e-3)
    one = sampled(brightness=torch.tensor([300.0, torch.nan]))
    torch.testing.assert_close(one[:1], dark[:1], atol=1e-4, rtol=1e-4)  # each item its own
    torch.testing.assert_close(one[1:], absent[1:], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"no controls \['tempo'\]"):
        sampled(tempo=missing)


def test_text_padding_is_not_seen(generator: LatentGenerator) -> None:
    generator.eval()
    conditions = make_conditions(3)
    spoiled = torch.where(conditions.text_mask[..., None], conditions.text, 50.0)
    first = generator.sample(conditions, WINDOW, sampling=SAMPLING, seeds=[1, 2, 3])
    second = generator.sample(
        replace(conditions, text=spoiled), WINDOW, sampling=SAMPLING, seeds=[1, 2, 3]
    )
    torch.testing.assert_close(first, second)


def test_one_seed_per_item_is_asked_for(generator: LatentGenerator) -> None:
    with pytest.raises(ValueError, match="2 items but 1 seeds"):
        generator.sample(make_conditions(2), WINDOW, sampling=SAMPLING, seeds=[1])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.type)
def test_latents_of_the_wrong_kind_are_refused(config: GeneratorConfig) -> None:
    tokens = replace(SPEC, kind="tokens", vocab_size=1024)
    with pytest.raises(ValueError, match=r"generator\.type=\w+ models continuous latents"):
        build_generator(config, tokens, TEXT_DIM, WINDOW)


def test_dropout_is_per_item_and_per_condition() -> None:
    config = DiffusionConfig(dim=32, depth=1, num_heads=2)
    assert config.conditioner.controls == {}
    conditioner = build_generator(config, SPEC, TEXT_DIM, WINDOW).conditioner.train()  # type: ignore[attr-defined,operator]
    conditions = make_conditions(1)
    many = Conditions(
        text=conditions.text.expand(400, -1, -1),
        text_mask=conditions.text_mask.expand(400, -1),
        pooled=conditions.pooled.expand(400, -1),
        controls={name: conditions.controls[name].expand(400) for name in ("seconds", "role")},
    )
    context = conditioner(many)
    without_prompt = ~context.mask[:, 1:].any(dim=1)
    assert 0.04 < float(without_prompt.float().mean()) < 0.18
    kinds = {tuple(vector.round(decimals=4).tolist()) for vector in context.vector.detach()}
    assert len(kinds) == 8  # prompt, seconds and role are each there or not


@pytest.mark.parametrize(
    ("hop_length", "given", "expected"),
    [(1024, None, 2), (512, None, 4), (4096, None, 1), (512, 3, 3)],
)
def test_frames_per_token_follow_the_frame_rate(
    hop_length: int, given: int | None, expected: int
) -> None:
    spec = LatentSpec(
        kind="continuous",
        channels=8,
        vocab_size=None,
        hop_length=hop_length,
        sample_rate=22050,
        audio_channels=1,
    )
    config = FlowConfig(dim=32, depth=1, num_heads=1, patch_frames=given)
    assert config.frames_per_token(spec) == expected


def test_diffusion_trains_and_samples_at_the_levels_of_a_flow() -> None:
    """At sigma = t / (1 - t), up to where sampling starts."""
    diffusion, flow = (build_generator(config, SPEC, TEXT_DIM, WINDOW) for config in CONFIGS)
    assert isinstance(diffusion, ODEGenerator)
    assert isinstance(flow, ODEGenerator)
    lengths = torch.tensor([WINDOW, 4 * WINDOW])
    for level in (60 / 61, 0.5):
        times = flow.times(8, lengths, level)
        sigmas = diffusion.times(8, lengths, level)
        torch.testing.assert_close(sigmas, times / (1 - times), rtol=1e-4, atol=0)
        assert times[0].tolist() == pytest.approx([level] * 2)
        assert not bool(times[-1].any())
    torch.testing.assert_close(
        diffusion.times(8, lengths, 1.0), diffusion.times(8, lengths, 60 / 61)
    )
    for steps in (1, 8, 100, 1000):  # a solver divides by the distance of two times
        for one in (diffusion, flow):
            assert bool((one.times(steps, lengths).diff(dim=0) < 0).all())
    many = torch.full((20_000,), WINDOW)
    drawn = []
    for generator in (flow, diffusion):
        torch.manual_seed(3)
        drawn.append(generator.draw_times(many))
    torch.testing.assert_close(
        drawn[1], (drawn[0] / (1 - drawn[0])).clamp_max(60), rtol=1e-3, atol=0
    )
    logarithms = drawn[1].log()
    assert float(logarithms.mean()) == pytest.approx(math.log(3), abs=0.03)
    assert float(logarithms.std()) == pytest.approx(1, abs=0.03)
