"""What the generators of tokens promise, over both families, both backbones and all patterns."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from audiogen.conditioning.conditioner import ConditionerConfig
from audiogen.generators import (
    GeneratorConfig,
    LatentGenerator,
    ODESamplingConfig,
    TokenSamplingConfig,
    build_generator,
)
from audiogen.generators.request import Start
from audiogen.generators.tokens import autoregressive
from audiogen.generators.tokens.autoregressive import AutoregressiveConfig, AutoregressiveGenerator
from audiogen.generators.tokens.masked import MaskedConfig
from audiogen.nn.decoder import Begin, Decoder, Step
from audiogen.nn.lowbit import WeightKind
from audiogen.types import Batch, Conditions, Context, LatentSpec

K, V, WINDOW, TEXT_DIM = 3, 11, 12, 12
SPEC = LatentSpec(
    kind="tokens", channels=K, vocab_size=V, hop_length=512, sample_rate=16000, audio_channels=1
)
CONTROLLED = {"controls": {"brightness": (200, 8000), "tempo": (60, 200)}}
SIZE = {"dim": 16, "depth": 2, "num_heads": 2, "dropout": 0, "conditioner": CONTROLLED}
CERTAIN = {**SIZE, "token_dropout": 0}
CONFIGS = {
    "delay": AutoregressiveConfig(**CERTAIN),
    "parallel": AutoregressiveConfig(**CERTAIN, pattern="parallel"),
    "flattened": AutoregressiveConfig(**CERTAIN, pattern="flattened"),
    "coarse_first": AutoregressiveConfig(**CERTAIN, pattern="coarse_first"),
    "lstm": AutoregressiveConfig(**CERTAIN, backbone="lstm"),
    "masked": MaskedConfig(**SIZE),
}
SAMPLING = TokenSamplingConfig(guidance_scale=2.0, passes=(3, 2))


def make_conditions(batch: int) -> Conditions:
    mask = torch.arange(6)[None] < torch.randint(1, 7, (batch, 1))
    return Conditions(
        text=torch.randn(batch, 6, TEXT_DIM),
        text_mask=mask,
        pooled=torch.randn(batch, TEXT_DIM),
        controls={
            "seconds": torch.rand(batch) * 10,
            "role": torch.randint(3, (batch,)).float(),
            "brightness": 200 * 40 ** torch.rand(batch),
            "tempo": torch.full((batch,), 90.0).masked_fill(torch.rand(batch) < 0.3, torch.nan),
        },
    )


def make_batch(batch: int, num_frames: int = WINDOW) -> Batch:
    frames = torch.randint(num_frames // 2, num_frames + 1, (batch, 1))
    return Batch(
        latents=torch.randint(V, (batch, K, num_frames)),
        mask=torch.arange(num_frames)[None] < frames,
        conditions=make_conditions(batch),
    )


def make(config: GeneratorConfig) -> LatentGenerator:
    generator = build_generator(config, SPEC, TEXT_DIM, WINDOW)
    for name, parameter in generator.named_parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.05)
        elif parameter.ndim == 2 and name.startswith("decoder"):
            # Weak weights would make all logits alike and hide mistakes before them.
            torch.nn.init.normal_(parameter, std=1.5 * parameter.shape[1] ** -0.5)
    return generator


@pytest.fixture(params=CONFIGS)
def generator(request: pytest.FixtureRequest) -> LatentGenerator:
    return make(CONFIGS[request.param]).eval()


def is_masked(generator: LatentGenerator) -> bool:
    return isinstance(generator.config, MaskedConfig)


def test_every_parameter_gets_a_gradient(generator: LatentGenerator) -> None:
    generator.train()
    batch = make_batch(64)
    controls = {name: value.clone() for name, value in batch.conditions.controls.items()}
    for value in controls.values():
        value[:8] = torch.nan  # the vectors for "not given" must be trained too
    conditions = replace(batch.conditions, controls=controls)
    output = generator(replace(batch, conditions=conditions))
    output.loss.backward()
    silent = [
        name
        for name, parameter in generator.named_parameters()
        if parameter.grad is None or not bool(parameter.grad.any())
    ]
    assert silent == []
    assert set(output.metrics) == {f"loss_codebook_{k}" for k in range(K)}


@pytest.mark.parametrize("name", CONFIGS)
def test_it_learns_one_batch(name: str) -> None:
    """Without controls: which of them an item has is drawn, and so is another batch each time."""
    generator = make(CONFIGS[name].model_copy(update={"conditioner": ConditionerConfig()})).train()
    batch = make_batch(8)
    known = {name: batch.conditions.controls[name] for name in ("seconds", "role")}
    batch = replace(batch, conditions=replace(batch.conditions, controls=known))
    optimizer = torch.optim.AdamW(generator.parameters(), lr=1e-2)
    losses = []
    for step in range(30):
        torch.manual_seed(step % 4)
        output = generator(batch)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(float(output.loss.detach()))
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])


def test_the_mask_hides_padding(generator: LatentGenerator) -> None:
    batch = make_batch(8)
    spoiled = torch.where(batch.mask[:, None], batch.latents, torch.randint(V, (8, K, WINDOW)))
    losses = []
    for latents in (batch.latents, spoiled):
        torch.manual_seed(1)
        losses.append(generator(replace(batch, latents=latents)).loss)
    torch.testing.assert_close(*losses, rtol=0, atol=0)
    torch.manual_seed(1)
    whole = replace(batch, mask=torch.ones_like(batch.mask))
    assert not torch.isclose(losses[0], generator(whole).loss)


@pytest.mark.parametrize("num_frames", [1, WINDOW, 2 * WINDOW + 1])
def test_a_seed_gives_the_same_sound_in_any_batch(
    generator: LatentGenerator, num_frames: int
) -> None:
    conditions, seeds = make_conditions(5), [3, 4, 5, 6, 7]
    together = generator.sample(conditions, num_frames, sampling=SAMPLING, seeds=seeds)
    assert together.shape == (5, K, num_frames)
    assert together.dtype == torch.int64
    assert 0 <= int(together.min()) <= int(together.max()) < V
    alone = generator.sample(conditions[2:3], num_frames, sampling=SAMPLING, seeds=[5])
    assert torch.equal(together[2:3], alone)
    other = generator.sample(conditions, num_frames, sampling=SAMPLING, seeds=[50, 51, 52, 53, 54])
    assert not torch.equal(together, other)


def test_a_batch_of_mixed_lengths_samples_each_as_if_alone(generator: LatentGenerator) -> None:
    conditions, lengths, seeds = make_conditions(4), [WINDOW, 7, 2 * WINDOW + 1, 9], [1, 2, 3, 4]
    together = generator.sample(conditions, lengths, sampling=SAMPLING, seeds=seeds)
    assert together.shape[-1] == max(lengths)
    for index, length in enumerate(lengths):
        alone = generator.sample(
            conditions[[index]], length, sampling=SAMPLING, seeds=[seeds[index]]
        )
        assert torch.equal(together[index : index + 1, :, :length], alone)
        assert not bool(together[index, :, length:].any())


def test_the_prompt_matters_and_guidance_leads_to_it(generator: LatentGenerator) -> None:
    conditions, other, seeds = make_conditions(4), make_conditions(4), [1, 2, 3, 4]
    off = SAMPLING.model_copy(update={"guidance_scale": 1.0})

    def sampled(of: Conditions, how: TokenSamplingConfig, away: Conditions | None = None) -> Tensor:
        return generator.sample(of, WINDOW, sampling=how, seeds=seeds, negative=away)

    plain, guided, free = (
        sampled(conditions, off),
        sampled(conditions, SAMPLING),
        sampled(conditions.without_prompt(), off),
    )
    assert not torch.equal(plain, guided)
    assert not torch.equal(plain, free)
    none = SAMPLING.model_copy(update={"guidance_scale": 0.0})
    assert torch.equal(sampled(conditions, none), free)
    assert torch.equal(sampled(conditions, SAMPLING, conditions.without_prompt()), guided)
    # Away from the prompt itself there is no direction left: guidance is off.
    assert torch.equal(sampled(conditions, SAMPLING, conditions), plain)
    assert not torch.equal(sampled(conditions, SAMPLING, other), guided)
    with pytest.raises(ValueError, match="guidance, which is off"):
        sampled(conditions, off, other)


def test_text_padding_is_not_seen(generator: LatentGenerator) -> None:
    conditions, seeds = make_conditions(3), [1, 2, 3]
    spoiled = torch.where(conditions.text_mask[..., None], conditions.text, 50.0)
    first = generator.sample(conditions, WINDOW, sampling=SAMPLING, seeds=seeds)
    second = generator.sample(
        replace(conditions, text=spoiled), WINDOW, sampling=SAMPLING, seeds=seeds
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("num_frames", [WINDOW, 2 * WINDOW])
def test_a_beginning_is_kept_and_continued(generator: LatentGenerator, num_frames: int) -> None:
    known, conditions = torch.randint(V, (3, K, num_frames)), make_conditions(3)
    kept = [5, 0, num_frames - 2]
    keep = torch.arange(num_frames)[None] < torch.tensor(kept)[:, None]
    where = keep[:, None].expand_as(known)

    def continued(start: Start) -> Tensor:
        return generator.sample(
            conditions, num_frames, sampling=SAMPLING, seeds=[1, 2, 3], start=start
        )

    made = continued(Start(latents=known, keep=keep))
    assert torch.equal(made[where], known[where])
    spoiled = torch.where(where, known, torch.randint(V, known.shape))
    assert torch.equal(continued(Start(latents=spoiled, keep=keep)), made)  # nothing leaks
    moved = continued(Start(latents=(known + 1) % V, keep=keep))
    assert not torch.equal(moved[~where], made[~where])  # and what is kept is looked at
    alone = generator.sample(
        conditions[[0]],
        num_frames,
        sampling=SAMPLING,
        seeds=[1],
        start=Start(latents=known[[0]], keep=keep[[0]]),
    )
    assert torch.equal(alone[0], made[0])
    whole = Start(latents=known, keep=torch.ones_like(keep))
    assert torch.equal(continued(whole), known)


def test_starts_of_another_family_are_refused(generator: LatentGenerator) -> None:
    conditions, tokens = make_conditions(1), torch.randint(V, (1, K, WINDOW))
    every = torch.ones(1, WINDOW, dtype=torch.bool)
    refused = {
        "not made of noise": Start(noise=torch.randn(1, K, WINDOW)),
        r"Start\.level say": Start(latents=tokens, level=0.5),
        r"must be tokens, .* 0 to 10": Start(latents=tokens + V, keep=every),
        r"whole numbers": Start(latents=tokens.float(), keep=every),
        r"expected Start\.latents \(1, 3, 12\)": Start(latents=tokens[..., :4], keep=every[:, :4]),
    }
    for message, start in refused.items():
        with pytest.raises(ValueError, match=message):
            generator.sample(conditions, WINDOW, sampling=SAMPLING, seeds=[1], start=start)
    with pytest.raises(ValueError, match="sampling of type tokens, got ODESamplingConfig"):
        generator.sample(conditions, WINDOW, sampling=ODESamplingConfig(), seeds=[1])
    with pytest.raises(ValueError, match="1 items but 2 seeds"):
        generator.sample(conditions, WINDOW, sampling=SAMPLING, seeds=[1, 2])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        generator.sample(conditions, 0, sampling=SAMPLING, seeds=[1])


def test_a_control_matters_and_what_is_not_given_is_as_if_absent(
    generator: LatentGenerator,
) -> None:
    conditions = make_conditions(2)

    def context(**controls: Tensor) -> Tensor:
        given = {name: conditions.controls[name] for name in ("seconds", "role")} | controls
        found: Tensor = generator.conditioner(replace(conditions, controls=given)).vector
        return found

    missing = torch.full((2,), torch.nan)
    assert torch.equal(context(brightness=missing, tempo=missing), context())
    dark, bright = (context(brightness=torch.full((2,), hertz)) for hertz in (300.0, 6000.0))
    assert not torch.allclose(dark, bright, atol=1e-3)

    def sampled(hertz: float) -> Tensor:
        given = {**conditions.controls, "brightness": torch.full((2,), hertz)}
        return generator.sample(
            replace(conditions, controls=given), WINDOW, sampling=SAMPLING, seeds=[1, 2]
        )

    assert not torch.equal(sampled(300.0), sampled(6000.0))


def test_continuous_latents_are_refused(generator: LatentGenerator) -> None:
    continuous = replace(SPEC, kind="continuous", vocab_size=None)
    with pytest.raises(ValueError, match=r"generator\.type=\w+ models tokens latents"):
        build_generator(generator.config, continuous, TEXT_DIM, WINDOW)


def test_batches_of_another_shape_are_refused(generator: LatentGenerator) -> None:
    with pytest.raises(ValueError, match=r"\(B, 3, L\) of at most 12 frames, got \(2, 3, 13\)"):
        generator(make_batch(2, WINDOW + 1))
    batch = make_batch(2)
    with pytest.raises(ValueError, match=r"got \(2, 2, 12\)"):
        generator(replace(batch, latents=batch.latents[:, :2]))


def test_evaluations_are_counted(
    generator: LatentGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    count = calls.append
    if isinstance(generator, AutoregressiveGenerator):

        def begin(decoder: Decoder, weights: WeightKind) -> Begin:
            del weights

            def counted(context: Context, max_steps: int) -> Step:
                step = decoder.begin(context, max_steps)
                return lambda x: (count(1), step(x))[1]

            return counted

        monkeypatch.setattr(autoregressive, "compiled", begin)
    else:
        generator.decoder.register_forward_hook(lambda *_: count(1))
    for num_frames in (1, 5, WINDOW, *([] if is_masked(generator) else [2 * WINDOW + 5])):
        calls.clear()
        generator.sample(make_conditions(2), num_frames, sampling=SAMPLING, seeds=[1, 2])
        assert generator.network_evaluations(SAMPLING, num_frames) == len(calls)
