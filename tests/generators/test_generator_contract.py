"""What every generator promises, over all members of the table and one that a test adds."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toys import ToyGeneratorConfig

from audiogen.generators import (
    GENERATORS,
    GeneratorConfig,
    LatentGenerator,
    SamplingConfig,
    build_generator,
)
from audiogen.generators.abilities import EndsSounds, HasPaths, PredictsLatents, PredictsTokens
from audiogen.generators.request import Request, Start
from audiogen.storage import read_tensors, write_tensors
from audiogen.types import Batch, Conditions, LatentSpec

pytestmark = pytest.mark.usefixtures("_toys_added")
TEXT_DIM, WINDOW, CHANNELS, VOCABULARY = 12, 12, 3, 11
SMALL = {
    "dim": 32,
    "depth": 1,
    "num_heads": 2,
    "dropout": 0,
    "token_dropout": 0,
    "conditioner": {"controls": {"brightness": (200, 8000)}},
}
SHORT = {"steps": 3, "passes": (3, 2), "guidance_scale": 2.0}


def spec_of(member: type[GeneratorConfig]) -> LatentSpec:
    kind = GENERATORS[member].accepts
    return LatentSpec(
        kind=kind,
        channels=CHANNELS,
        vocab_size=VOCABULARY if kind == "tokens" else None,
        hop_length=512,
        sample_rate=16000,
        audio_channels=1,
    )


def made(member: type[GeneratorConfig]) -> LatentGenerator:
    """Return a small generator without parameters that are zero, behind which mistakes hide."""
    settings = {name: value for name, value in SMALL.items() if name in member.model_fields}
    config = member.model_validate(settings)
    generator = build_generator(config, spec_of(member), TEXT_DIM, WINDOW)
    for name, parameter in generator.named_parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.05)
        elif parameter.ndim == 2 and name.startswith("decoder"):
            # Weak weights would make all logits alike.
            torch.nn.init.normal_(parameter, std=1.5 * parameter.shape[1] ** -0.5)
    return generator


def sampling_of(generator: LatentGenerator) -> SamplingConfig:
    kind = generator.sampling
    return kind.model_validate({k: v for k, v in SHORT.items() if k in kind.model_fields})


def conditions_of(batch: int) -> Conditions:
    return Conditions(
        text=torch.randn(batch, 6, TEXT_DIM),
        text_mask=torch.arange(6)[None] < torch.randint(1, 7, (batch, 1)),
        pooled=torch.randn(batch, TEXT_DIM),
        controls={
            "seconds": torch.rand(batch) * 10,
            "role": torch.randint(3, (batch,)).float(),
            "brightness": 200 * 40 ** torch.rand(batch),
        },
    )


def latents_of(generator: LatentGenerator, batch: int) -> torch.Tensor:
    if generator.spec.vocab_size is None:
        return torch.randn(batch, CHANNELS, WINDOW)
    return torch.randint(generator.spec.vocab_size, (batch, CHANNELS, WINDOW))


def batch_of(generator: LatentGenerator, batch: int) -> Batch:
    frames = torch.randint(WINDOW // 2, WINDOW + 1, (batch, 1))
    return Batch(
        latents=latents_of(generator, batch),
        mask=torch.arange(WINDOW)[None] < frames,
        conditions=conditions_of(batch),
    )


@pytest.fixture(params=[*GENERATORS, ToyGeneratorConfig], ids=lambda member: member.__name__)
def generator(request: pytest.FixtureRequest) -> LatentGenerator:
    return made(request.param).eval()


def test_every_parameter_gets_a_gradient(generator: LatentGenerator) -> None:
    generator.train()
    batch = batch_of(generator, 64)
    controls = {name: value.clone() for name, value in batch.conditions.controls.items()}
    for value in controls.values():
        value[:8] = torch.nan  # the vectors for "not given" must be trained too
    conditions = replace(batch.conditions, controls=controls)
    generator(replace(batch, conditions=conditions)).loss.backward()
    silent = [
        name
        for name, parameter in generator.named_parameters()
        if parameter.grad is None or not bool(parameter.grad.any())
    ]
    assert silent == []


def test_it_learns_one_batch(generator: LatentGenerator) -> None:
    generator.train()
    batch = batch_of(generator, 8)
    optimizer = torch.optim.AdamW(generator.parameters(), lr=5e-3)
    losses = []
    for step in range(120):
        torch.manual_seed(step % 4)
        loss = generator(batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])


def test_the_mask_hides_padding_and_nothing_else(generator: LatentGenerator) -> None:
    batch = batch_of(generator, 8)

    def loss(changed: Batch) -> torch.Tensor:
        torch.manual_seed(1)
        found: torch.Tensor = generator(changed).loss
        return found

    spoiled = torch.where(batch.mask[:, None], batch.latents, latents_of(generator, 8))
    torch.testing.assert_close(loss(batch), loss(replace(batch, latents=spoiled)))
    assert not torch.isclose(loss(batch), loss(replace(batch, mask=torch.ones_like(batch.mask))))


@pytest.mark.parametrize("num_frames", [3, WINDOW, 3 * WINDOW])
def test_a_seed_gives_the_same_sound_in_any_batch(
    generator: LatentGenerator, num_frames: int
) -> None:
    conditions, sampling = conditions_of(4), sampling_of(generator)
    together = generator.sample(conditions, num_frames, sampling=sampling, seeds=[3, 4, 5, 6])
    assert together.shape == (4, CHANNELS, num_frames)
    alone = generator.sample(conditions[2:3], num_frames, sampling=sampling, seeds=[5])
    torch.testing.assert_close(together[2:3], alone, atol=1e-4, rtol=1e-4)
    other = generator.sample(conditions[2:3], num_frames, sampling=sampling, seeds=[77])
    assert not torch.allclose(alone.float(), other.float(), atol=1e-2)


def test_a_batch_of_mixed_lengths_samples_each_as_if_alone(generator: LatentGenerator) -> None:
    conditions, sampling = conditions_of(3), sampling_of(generator)
    lengths, seeds = [WINDOW, 7, 2 * WINDOW + 1], [1, 2, 3]
    together = generator.sample(conditions, lengths, sampling=sampling, seeds=seeds)
    for item, length in enumerate(lengths):
        alone = generator.sample(conditions[[item]], length, sampling=sampling, seeds=[seeds[item]])
        torch.testing.assert_close(together[[item], :, :length], alone, atol=1e-4, rtol=1e-4)
        assert not bool(together[item, :, length:].any())


def test_weights_that_are_saved_and_loaded_sample_the_same(
    generator: LatentGenerator, tmp_path: Path
) -> None:
    write_tensors(tmp_path / "weights.safetensors", generator.state_dict())
    other = made(type(generator.config)).eval()
    other.load_state_dict(read_tensors(tmp_path / "weights.safetensors"))
    conditions, sampling = conditions_of(2), sampling_of(generator)
    first, second = (
        model.sample(conditions, WINDOW, sampling=sampling, seeds=[1, 2])
        for model in (generator, other)
    )
    assert torch.equal(first, second)


def test_it_samples_by_the_settings_it_declares_and_by_no_others(
    generator: LatentGenerator,
) -> None:
    for kind in {model.sampling for model in GENERATORS.values()} - {generator.sampling}:
        with pytest.raises(ValueError, match="sample: expected sampling of type"):
            generator.sample(conditions_of(1), WINDOW, sampling=kind(), seeds=[1])
        with pytest.raises(ValueError, match="sample: expected sampling of type"):
            generator.network_evaluations(kind(), WINDOW)
    assert generator.network_evaluations(sampling_of(generator), WINDOW) >= 1


def test_it_makes_rings_only_if_it_says_so(generator: LatentGenerator) -> None:
    def ring(*items: int) -> torch.Tensor:
        seeds = [7 + item for item in items]
        sampling = sampling_of(generator)
        chosen = conditions[list(items)]
        return generator.sample(chosen, WINDOW, sampling=sampling, seeds=seeds, ring=True)

    conditions = conditions_of(2)
    if not generator.loops:
        with pytest.raises(ValueError, match="no ring"):
            ring(0)
        return
    torch.testing.assert_close(ring(0, 1)[1:], ring(1), atol=1e-4, rtol=1e-4)


def test_it_keeps_the_frames_that_it_says_it_keeps(generator: LatentGenerator) -> None:
    known, place = latents_of(generator, 1), torch.arange(WINDOW)[None]
    masks = {"beginnings": place < 5, "anything": (place < 3) | (place > 8)}
    can = {"nothing": [], "beginnings": ["beginnings"], "anything": list(masks)}[generator.keeps]
    for name, keep in masks.items():
        start = Start(latents=known, keep=keep)

        def sample(start: Start = start) -> torch.Tensor:
            return generator.sample(
                conditions_of(1), WINDOW, sampling=sampling_of(generator), seeds=[1], start=start
            )

        if name in can:
            torch.testing.assert_close(
                sample()[..., keep[0]], known[..., keep[0]], atol=1e-4, rtol=1e-4
            )
        else:
            with pytest.raises(ValueError, match="keeps"):
                sample()


def test_what_it_can_do_besides_it_does(generator: LatentGenerator) -> None:
    sampling, batch = sampling_of(generator), batch_of(generator, 2)
    if isinstance(generator, EndsSounds):
        request = Request(
            conditions=conditions_of(1), lengths=[WINDOW], sampling=sampling, seeds=[1]
        )
        [one] = generator.sample_to_end(request)
        assert 1 <= one.shape[1] <= WINDOW
    if isinstance(generator, HasPaths):
        request = Request(
            conditions=batch.conditions, lengths=[WINDOW] * 2, sampling=sampling, seeds=[1, 2]
        )
        points, times, end = generator.trace(request)
        assert len(points) == len(times)
        again = generator.sample(batch.conditions, WINDOW, sampling=sampling, seeds=[1, 2])
        torch.testing.assert_close(end, again)
        assert not bool((generator.draw_kept_frames(batch.mask) & ~batch.mask).any())
    if isinstance(generator, PredictsLatents):
        bits = generator.bits_per_dimension(batch, seeds=[1, 2])
        assert bits.shape == (2,)
        assert bool((bits > -4.6).all())
    if isinstance(generator, PredictsTokens):
        likelihood = generator.log_likelihood(batch)
        assert likelihood.shape == (2, CHANNELS)
        assert bool((likelihood < 0).all())


def test_latents_of_the_other_kind_are_refused(generator: LatentGenerator) -> None:
    kind = "continuous" if generator.accepts == "tokens" else "tokens"
    other = replace(generator.spec, kind=kind, vocab_size=None if kind == "continuous" else 16)
    with pytest.raises(ValueError, match=r"generator\.type=\w+ models \w+ latents, but the codec"):
        build_generator(generator.config, other, TEXT_DIM, WINDOW)
