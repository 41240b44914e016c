"""Masked decoding: what is masked while training, and how passes fill tokens in."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from audiogen.generators import TokenSamplingConfig, build_generator
from audiogen.generators.request import Start
from audiogen.generators.tokens.masked import MaskedConfig, MaskedGenerator, draw_masked, passes_of
from audiogen.types import Batch, Conditions, LatentSpec

K, V, WINDOW, TEXT_DIM = 3, 11, 12, 12
SPEC = LatentSpec(
    kind="tokens", channels=K, vocab_size=V, hop_length=512, sample_rate=16000, audio_channels=1
)
SAMPLING = TokenSamplingConfig(guidance_scale=2.0, passes=(5, 2))


def make_conditions(batch: int) -> Conditions:
    return Conditions(
        text=torch.randn(batch, 4, TEXT_DIM),
        text_mask=torch.ones(batch, 4, dtype=torch.bool),
        pooled=torch.randn(batch, TEXT_DIM),
        controls={"seconds": torch.rand(batch) * 10, "role": torch.zeros(batch)},
    )


class Spy:
    """Stands before `predict` and keeps the tokens and codebooks that it is given."""

    def __init__(self, generator: MaskedGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.real, self.seen = generator.predict, list[tuple[Tensor, Tensor]]()
        monkeypatch.setattr(generator, "predict", self)

    def __call__(self, tokens: Tensor, level: Tensor, *rest: Any) -> Tensor:
        self.seen.append((tokens, level))
        return self.real(tokens, level, *rest)


@pytest.fixture
def generator() -> MaskedGenerator:
    made = build_generator(MaskedConfig(dim=16, depth=2, num_heads=2), SPEC, TEXT_DIM, WINDOW)
    assert isinstance(made, MaskedGenerator)
    for name, parameter in made.named_parameters():
        if parameter.ndim == 2 and name.startswith("decoder"):
            # Weak weights would make all logits alike and hide mistakes before them.
            torch.nn.init.normal_(parameter, std=1.5 * parameter.shape[1] ** -0.5)
    return made.eval()


def test_a_share_of_the_real_frames_is_masked() -> None:
    lengths = torch.randint(1, 101, (4000, 1))
    mask = torch.arange(100)[None] < lengths
    masked = draw_masked(mask)
    assert not bool((masked & ~mask).any())
    count = masked.sum(dim=1)
    assert int(count.min()) == 1
    share = (count / lengths[:, 0])[lengths[:, 0] > 50]
    # The cosine of a uniform angle: mean 2 / pi, and above 1 / sqrt 2 half of the time.
    assert abs(float(share.mean()) - 2 / math.pi) < 0.03
    assert abs(float((share > 0.5**0.5).float().mean()) - 0.5) < 0.04


def test_coarser_tokens_are_given_and_finer_ones_are_not(
    generator: MaskedGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = torch.arange(WINDOW)[None] < torch.randint(4, WINDOW + 1, (64, 1))
    tokens = torch.randint(V, (64, K, WINDOW))
    spy = Spy(generator, monkeypatch)
    generator(Batch(latents=tokens, mask=mask, conditions=make_conditions(64)))
    ((seen, level),) = spy.seen
    assert set(level.tolist()) == {0, 1, 2}
    for row, own, original, real in zip(seen, level.tolist(), tokens, mask, strict=True):
        assert torch.equal(row[:own, real], original[:own, real])
        assert bool((row[own + 1 :] == V).all())
        assert bool((row[:, ~real] == V).all())
        given = real & (row[own] != V)
        assert torch.equal(row[own, given], original[own, given])
        assert int(given.sum()) < int(real.sum())


def test_passes_fill_in_codebook_after_codebook(
    generator: MaskedGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(generator, monkeypatch)
    generator.sample(make_conditions(2), [WINDOW, 7], sampling=SAMPLING, seeds=[1, 2])
    assert [passes_of(SAMPLING, level) for level in range(K)] == [5, 2, 2]
    assert len(spy.seen) == 9 == generator.network_evaluations(SAMPLING, WINDOW)
    before = torch.full((2, K, WINDOW), V)
    for number, (both, level) in enumerate(spy.seen):
        seen, own = both[:2], int(level[0])
        assert torch.equal(both[2:], seen)  # with and without the prompt
        done, passes = (number, 5) if own == 0 else ((number - 5) % 2, 2)
        for row, length in zip(seen, (WINDOW, 7), strict=True):
            left = math.floor(math.cos(math.pi / 2 * done / passes) * length)
            hidden = (row[:, :length] == V).sum(dim=1).tolist()
            assert hidden == [0] * own + [left] + [length] * (K - own - 1)
        assert torch.equal(seen[before != V], before[before != V])  # what is filled in stays
        before = seen


def test_one_pass_without_temperature_takes_the_most_likely(generator: MaskedGenerator) -> None:
    conditions = make_conditions(2)
    sampling = TokenSamplingConfig(temperature=0, guidance_scale=1.0, passes=(1,))
    made = generator.sample(conditions, WINDOW, sampling=sampling, seeds=[1, 2])
    expected = torch.full_like(made, V)
    for k in range(K):
        level, context = torch.full((2,), k), generator.conditioner(conditions)
        logits = generator.predict(expected, level, context, None, generator.decoder)
        expected[:, k] = logits.argmax(dim=-1)
    assert torch.equal(made, expected)


@pytest.mark.parametrize("num_frames", [WINDOW, 3 * WINDOW])
def test_any_kept_frames_stay(generator: MaskedGenerator, num_frames: int) -> None:
    known, conditions = torch.randint(V, (3, K, num_frames)), make_conditions(3)
    keep = torch.zeros(3, num_frames, dtype=torch.bool)
    keep[0, 3:6] = keep[1, 4:] = keep[2, ::2] = True
    where = keep[:, None].expand_as(known)

    def filled(latents: Tensor) -> Tensor:
        start = Start(latents=latents, keep=keep)
        return generator.sample(
            conditions, num_frames, sampling=SAMPLING, seeds=[1, 2, 3], start=start
        )

    made = filled(known)
    assert torch.equal(made[where], known[where])
    assert torch.equal(filled(torch.where(where, known, torch.randint(V, known.shape))), made)
    assert not torch.equal(filled((known + 1) % V)[~where], made[~where])


@pytest.mark.parametrize("num_frames", [9, WINDOW, 2 * WINDOW + 5])
def test_a_ring_is_sampled_the_same_in_any_batch(
    generator: MaskedGenerator, num_frames: int
) -> None:
    conditions, seeds = make_conditions(3), [1, 2, 3]
    rings = generator.sample(conditions, num_frames, sampling=SAMPLING, seeds=seeds, ring=True)
    alone = generator.sample(conditions[1:2], num_frames, sampling=SAMPLING, seeds=[2], ring=True)
    assert torch.equal(rings[1:2], alone)
    lines = generator.sample(conditions, num_frames, sampling=SAMPLING, seeds=seeds)
    assert not torch.equal(rings, lines)


def test_on_a_ring_the_end_is_seen_beside_the_beginning(
    generator: MaskedGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = torch.arange(WINDOW).clamp_max(V - 1).expand(1, K, -1)
    keep = torch.ones(1, WINDOW, dtype=torch.bool)
    keep[:, -1] = False
    spy = Spy(generator, monkeypatch)
    generator.sample(
        make_conditions(1),
        WINDOW,
        sampling=SAMPLING,
        seeds=[1],
        ring=True,
        start=Start(latents=known, keep=keep),
    )
    firsts = {int(seen[0, -1, 0]) for seen, _ in spy.seen}
    assert len(firsts) > 3  # every pass turns the ring
    for seen, _ in spy.seen:
        turned = (torch.arange(WINDOW) + int(seen[0, -1].argmin())) % WINDOW
        assert torch.equal(seen[0, -1, turned][:-2], known[0, -1, :-2])


def test_it_learns_which_sound_belongs_to_a_prompt() -> None:
    config = MaskedConfig(dim=32, depth=1, num_heads=2, dropout=0)
    generator = build_generator(config, SPEC, TEXT_DIM, WINDOW).train()
    place = torch.arange(WINDOW)
    rows = torch.stack([(place * (k + 1) + s) % V for s in (0, 4) for k in range(K)])
    tokens, conditions = rows.reshape(2, K, WINDOW), make_conditions(2)
    batch = Batch(
        latents=tokens.repeat(8, 1, 1),
        mask=torch.ones(16, WINDOW, dtype=torch.bool),
        conditions=conditions[[0, 1] * 8],
    )
    optimizer = torch.optim.AdamW(generator.parameters(), lr=1e-2)
    for _ in range(80):
        loss = generator(batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    generator.eval()
    sampling = TokenSamplingConfig(temperature=0, guidance_scale=1.0, passes=(4, 2))
    made = generator.sample(conditions, WINDOW, sampling=sampling, seeds=[1, 2])
    assert float((made == tokens).float().mean()) > 0.95
