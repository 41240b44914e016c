"""The language model over tokens: exact likelihood, cached decoding, ends of sounds."""

import itertools
import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from audiogen.generators import TokenSamplingConfig, build_generator
from audiogen.generators.request import Request, Start
from audiogen.generators.tokens.autoregressive import (
    AutoregressiveConfig,
    AutoregressiveGenerator,
)
from audiogen.generators.tokens.patterns import PATTERNS, build
from audiogen.types import Batch, Conditions, LatentSpec

TEXT_DIM, WINDOW = 12, 8
# Nothing is hidden while training: these tests want the model to learn by heart.
SIZE = {"dim": 16, "depth": 2, "num_heads": 2, "dropout": 0, "token_dropout": 0}
CONFIGS = {
    **{name: AutoregressiveConfig(**SIZE, pattern=name) for name in PATTERNS},
    "lstm": AutoregressiveConfig(**SIZE, backbone="lstm"),
}
PLAIN = TokenSamplingConfig(guidance_scale=1.0)


def make(
    name: str, *, channels: int = 3, vocab_size: int = 11, window: int = WINDOW
) -> AutoregressiveGenerator:
    spec = LatentSpec(
        kind="tokens",
        channels=channels,
        vocab_size=vocab_size,
        hop_length=512,
        sample_rate=16000,
        audio_channels=1,
    )
    generator = build_generator(CONFIGS[name], spec, TEXT_DIM, window)
    assert isinstance(generator, AutoregressiveGenerator)
    # So that tokens are not all alike.
    torch.nn.init.normal_(generator.decoder.heads.weight, std=0.4)
    return generator.eval()


def make_conditions(batch: int, role: float = 0.0) -> Conditions:
    return Conditions(
        text=torch.randn(batch, 4, TEXT_DIM),
        text_mask=torch.ones(batch, 4, dtype=torch.bool),
        pooled=torch.randn(batch, TEXT_DIM),
        controls={"seconds": torch.full((batch,), torch.nan), "role": torch.full((batch,), role)},
    )


def sampled_to_end(
    generator: AutoregressiveGenerator,
    conditions: Conditions,
    max_frames: int,
    sampling: TokenSamplingConfig,
    seeds: list[int],
) -> list[Tensor]:
    lengths = [max_frames] * len(seeds)
    request = Request(conditions=conditions, lengths=lengths, sampling=sampling, seeds=seeds)
    return generator.sample_to_end(request)


def make_batch(frames: list[int], *, channels: int = 3, vocab_size: int = 11) -> Batch:
    return Batch(
        latents=torch.randint(vocab_size, (len(frames), channels, WINDOW)),
        mask=torch.arange(WINDOW)[None] < torch.tensor(frames)[:, None],
        conditions=make_conditions(len(frames)),
    )


@pytest.fixture(params=CONFIGS)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def logits_of(generator: AutoregressiveGenerator, batch: Batch) -> Tensor:
    """Logits (B, S, K, V + 1), all steps at once."""
    return generator._logits(batch, generator.decoder)


@torch.no_grad()
def naive(generator: AutoregressiveGenerator, batch: Batch) -> Tensor:
    """Nats (B, K), with one pass of the network over each step's past alone."""
    total = torch.zeros(len(batch.latents), generator.num_codebooks, dtype=torch.float64)
    for item, tokens in enumerate(batch.latents):
        length = int(batch.mask[item].sum())
        seen = [[generator.nothing] * generator.num_codebooks]
        context = generator.conditioner(batch.conditions[[item]])
        for row in generator.layout.tolist():
            held = [
                int(tokens[k, f]) if 0 <= f < length else generator.nothing
                for k, f in enumerate(row)
            ]
            raw = generator.decoder(generator.embed(torch.tensor([seen]).mT), context)[0, -1]
            logits = raw.reshape(len(row), -1)[:, :-1]
            for k, frame in enumerate(row):
                if 0 <= frame < length:
                    total[item, k] += logits[k].log_softmax(dim=0)[held[k]]
            seen.append(held)
    return total


def test_likelihood_is_that_of_one_step_after_the_other(name: str) -> None:
    generator, batch = make(name), make_batch([WINDOW, 5, 1])
    found = generator.log_likelihood(batch)
    torch.testing.assert_close(found, naive(generator, batch), rtol=1e-4, atol=1e-4)
    shorter = replace(batch, latents=batch.latents[1:, :, :5], mask=batch.mask[1:, :5])
    alone = generator.log_likelihood(replace(shorter, conditions=batch.conditions[[1, 2]]))
    torch.testing.assert_close(found[1:], alone, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="training mode"):
        generator.train().log_likelihood(batch)


def test_the_likelihoods_of_all_sounds_sum_to_one(name: str) -> None:
    generator = make(name, channels=2, vocab_size=3, window=WINDOW)
    every = torch.tensor(list(itertools.product(range(3), repeat=4))).reshape(-1, 2, 2)
    conditions = make_conditions(1)[[0] * len(every)]
    mask = torch.ones(len(every), 2, dtype=torch.bool)
    batch = Batch(latents=every, mask=mask, conditions=conditions)
    nats = generator.log_likelihood(batch).sum(dim=1)
    assert math.isclose(float(nats.exp().sum()), 1, abs_tol=1e-5)


def test_a_model_that_knows_nothing_guesses() -> None:
    generator, batch = make("delay"), make_batch([WINDOW, 5])
    torch.nn.init.zeros_(generator.decoder.heads.weight)
    expected = -math.log(11) * torch.tensor([[WINDOW] * 3, [5] * 3], dtype=torch.float64)
    torch.testing.assert_close(generator.log_likelihood(batch), expected, rtol=1e-5, atol=0)


def test_a_step_sees_the_steps_before_it_alone(name: str) -> None:
    generator, batch = make(name), make_batch([WINDOW])
    before = logits_of(generator, batch)
    for k, frame in itertools.product(range(3), range(WINDOW)):
        changed = batch.latents.clone()
        changed[0, k, frame] = (changed[0, k, frame] + 1) % 11
        after = logits_of(generator, replace(batch, latents=changed))
        moved = (after - before).abs().amax(dim=(0, 2, 3)) > 1e-5
        place = int((generator.layout[:, k] == frame).nonzero())
        assert not bool(moved[: place + 1].any())
        assert place + 1 == len(moved) or bool(moved[place + 1])


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_what_is_most_likely_with_a_cache_is_so_without(name: str, scale: float) -> None:
    generator, conditions = make(name), make_conditions(3)
    sampling = TokenSamplingConfig(temperature=0, guidance_scale=scale)
    tokens = generator.sample(conditions, WINDOW, sampling=sampling, seeds=[1, 2, 3])
    mask = torch.ones(3, WINDOW, dtype=torch.bool)
    batch = Batch(latents=tokens, mask=mask, conditions=conditions)
    logits = logits_of(generator, batch)
    free = logits_of(generator, replace(batch, conditions=conditions.without_prompt()))
    best = (free + scale * (logits - free))[..., :-1].argmax(dim=-1)  # (B, S, K)
    extra = torch.nn.functional.pad(tokens, (0, 1), value=0)
    expected, frames = build(generator.layout, extra, 0), generator.layout.T
    valid = (frames >= 0) & (frames < WINDOW)
    assert torch.equal(best.mT[:, valid], expected[:, valid])


def test_only_whole_sounds_teach_the_end() -> None:
    generator, batch = make("delay"), make_batch([WINDOW, 5, 5, 5])
    roles = torch.tensor([0.0, 0.0, 1.0, torch.nan])
    controls = {**batch.conditions.controls, "role": roles}
    batch = replace(batch, conditions=replace(batch.conditions, controls=controls))
    targets = generator._targets(batch, ends=True)
    assert (targets == generator.nothing).nonzero().tolist() == [[0, 0, WINDOW], [1, 0, 5]]
    real = torch.nn.functional.pad(batch.mask, (0, 1))[:, None].expand_as(targets)
    kept = batch.mask[:, None].expand_as(batch.latents)
    assert torch.equal(targets[real], batch.latents[kept])
    assert bool((targets[~real & (targets != generator.nothing)] == -100).all())


@pytest.mark.parametrize("name", ["delay", "coarse_first", "lstm"])
def test_the_length_that_a_prompt_has_is_learnt(name: str) -> None:
    lengths = [3, WINDOW, 6]
    generator, batch = make(name).train(), make_batch(lengths)
    optimizer = torch.optim.AdamW(generator.parameters(), lr=2e-2)
    for _ in range(60):
        loss = generator(batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sampling = TokenSamplingConfig(temperature=0, guidance_scale=1.0)
    generator.eval()
    sounds = sampled_to_end(generator, batch.conditions, 2 * WINDOW, sampling, [1, 2, 3])
    assert [sound.shape[1] for sound in sounds] == lengths
    for sound, tokens in zip(sounds, batch.latents, strict=True):
        assert torch.equal(sound, tokens[:, : sound.shape[1]])


@pytest.mark.parametrize(("bias", "expected"), [(50.0, 1), (-50.0, 2 * WINDOW + 3)])
def test_the_end_is_drawn_only_where_it_may_be(name: str, bias: float, expected: int) -> None:
    generator, conditions = make(name), make_conditions(2)
    with torch.no_grad():  # of all codebooks, though the first alone may end a sound
        generator.decoder.heads.bias.view(3, 12)[:, -1] = bias
    made = generator.sample(conditions, 2 * WINDOW + 3, sampling=PLAIN, seeds=[1, 2])
    assert made.shape[-1] == 2 * WINDOW + 3
    assert int(made.max()) < 11
    sounds = sampled_to_end(generator, conditions, 2 * WINDOW + 3, PLAIN, [1, 2])
    assert [sound.shape for sound in sounds] == [(3, expected)] * 2
    assert all(int(sound.max()) < 11 for sound in sounds)


def test_where_a_sound_ends_does_not_depend_on_its_batch(name: str) -> None:
    generator, conditions, seeds = make(name), make_conditions(6), [1, 2, 3, 4, 5, 6]
    with torch.no_grad():
        generator.decoder.heads.bias.view(3, 12)[0, -1] = 1.0
    most = 2 * WINDOW
    together = sampled_to_end(generator, conditions, most, PLAIN, seeds)
    assert len({sound.shape[1] for sound in together}) > 2
    for index, seed in enumerate(seeds):
        (alone,) = sampled_to_end(generator, conditions[[index]], most, PLAIN, [seed])
        assert torch.equal(alone, together[index])


def test_a_window_looks_back_on_half_of_the_one_before() -> None:
    generator, conditions = make("delay"), make_conditions(1)
    half, total = WINDOW // 2, 2 * WINDOW
    long = generator.sample(conditions, total, sampling=PLAIN, seeds=[1])
    greedy = PLAIN.model_copy(update={"temperature": 0.0})
    keep = torch.arange(total)[None] < WINDOW
    made = generator.sample(
        conditions, total, sampling=greedy, seeds=[1], start=Start(latents=long, keep=keep)
    )
    forgotten = (torch.arange(total) < half)[None, None]
    spoiled = torch.where(forgotten, (long + 1) % 11, long)
    again = generator.sample(
        conditions, total, sampling=greedy, seeds=[1], start=Start(latents=spoiled, keep=keep)
    )
    assert torch.equal(made[..., WINDOW:], again[..., WINDOW:])
    # What a window makes is what a sound of its own makes that begins with that half.
    piece = Start(latents=long[..., half : half + WINDOW], keep=keep[:, half : half + WINDOW])
    alone = generator.sample(conditions, WINDOW, sampling=greedy, seeds=[7], start=piece)
    assert torch.equal(made[..., half : half + WINDOW], alone)


@pytest.mark.parametrize("weights", ["bf16", "int8"])
def test_smaller_weights_say_about_the_same(name: str, weights: Literal["bf16", "int8"]) -> None:
    generator, batch = make(name), make_batch([WINDOW] * 8)
    state = {key: value.clone() for key, value in generator.state_dict().items()}
    exact = generator.log_likelihood(batch).sum()
    found = generator.log_likelihood(batch, weights=weights).sum()
    assert found != exact
    torch.testing.assert_close(found, exact, rtol=5e-3, atol=0)
    sampling = PLAIN.model_copy(update={"weights": weights})
    made = generator.sample(batch.conditions, WINDOW, sampling=sampling, seeds=range(8))
    plain = generator.sample(batch.conditions, WINDOW, sampling=PLAIN, seeds=range(8))
    assert float((made == plain).float().mean()) > 0.5
    assert state.keys() == generator.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in generator.state_dict().items())


def test_what_it_cannot_do_is_said() -> None:
    generator, conditions = make("delay"), make_conditions(1)
    with pytest.raises(ValueError, match="no ring\n  make loops with a generator of type masked"):
        generator.sample(conditions, 4, sampling=PLAIN, seeds=[1], ring=True)
    keep = torch.tensor([[True, False, True, False]])
    start = Start(latents=torch.randint(11, (1, 3, 4)), keep=keep)
    with pytest.raises(ValueError, match=r"keeps the beginning .*\n  to fill gaps"):
        generator.sample(conditions, 4, sampling=PLAIN, seeds=[1], start=start)


def test_hiding_tokens_and_dropout_act_in_training_alone() -> None:
    config = AutoregressiveConfig(dim=16, depth=2, num_heads=2)
    spec = make("delay").spec
    generator = build_generator(config, spec, TEXT_DIM, WINDOW)
    batch = make_batch([WINDOW, 5])
    assert isinstance(generator, AutoregressiveGenerator)
    losses = {float(generator.train()(batch).loss.detach()) for _ in range(3)}
    assert len(losses) == 3
    generator.eval()
    assert torch.equal(generator.log_likelihood(batch), generator.log_likelihood(batch))
