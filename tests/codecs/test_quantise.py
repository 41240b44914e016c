"""Residual quantisers: round trips, gradients, commitment, any number of codebooks."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.codecs.bottlenecks.quantise import (
    FSQ,
    FSQConfig,
    ResidualQuantiser,
    ResidualVQ,
    ResidualVQConfig,
    build_bottleneck,
)

DIM = 12
VECTORS = ResidualVQConfig(num_codebooks=4, vocab_size=32, code_dim=3, dropout=0)
SCALARS = FSQConfig(num_codebooks=4, levels=(5, 4, 3), dropout=0)


def frames(batch: int = 8, length: int = 40) -> Tensor:
    return torch.randn(batch, DIM, length)


@pytest.fixture(params=[VECTORS, SCALARS], ids=lambda config: config.type)
def bottleneck(request: pytest.FixtureRequest) -> ResidualQuantiser:
    """Of four stages, its codebooks fitted where there is something to fit."""
    made = build_bottleneck(request.param, DIM)
    for _ in range(20):
        made(frames())
    return made


def test_tokens_bring_back_what_was_quantised(bottleneck: ResidualQuantiser) -> None:
    x = frames()
    quantised, tokens, losses = bottleneck.eval()(x)
    assert tokens.shape == (8, 4, 40)
    assert tokens.dtype == torch.int64
    assert losses == {}
    assert torch.equal(bottleneck.tokens(x), tokens)
    torch.testing.assert_close(bottleneck.from_tokens(tokens), quantised, atol=1e-5, rtol=1e-5)


def test_every_stage_brings_it_nearer(bottleneck: ResidualQuantiser) -> None:
    """Also without training: a stage takes away what it has coded."""
    x = frames()
    tokens = bottleneck.eval().requires_grad_(requires_grad=False).tokens(x)
    errors = [float((bottleneck.from_tokens(tokens[:, :k]) - x).square().mean()) for k in (1, 2, 4)]
    assert errors[0] < 0.95
    assert errors == sorted(errors, reverse=True)


def test_gradients_reach_the_latents_and_every_projection(bottleneck: ResidualQuantiser) -> None:
    x = frames().requires_grad_()
    bottleneck.train()(x)[0].square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad.abs().sum(dim=1) > 0).all())
    for name, parameter in bottleneck.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


def test_dropout_leaves_some_items_fewer_codebooks() -> None:
    bottleneck = build_bottleneck(FSQConfig(num_codebooks=4, levels=(5, 5), dropout=0.5), DIM)
    x = frames(batch=200, length=2)
    quantised, tokens, _ = bottleneck.train()(x)
    by_count = torch.stack([bottleneck.from_tokens(tokens[:, :k]) for k in range(1, 5)])
    error = (by_count - quantised).abs().amax(dim=(2, 3))  # (4, items)
    assert bool((error.amin(dim=0) < 1e-5).all())
    kept = torch.bincount(error.argmin(dim=0) + 1, minlength=5)
    assert int(kept[4]) > 100  # half of the items, and a quarter of the rest
    assert int(kept[1:4].min()) > 8
    full = bottleneck.eval()(x)[0]
    torch.testing.assert_close(full, by_count[3], atol=1e-5, rtol=1e-5)


def test_every_stage_is_committed_to_its_entries() -> None:
    bottleneck = ResidualVQ(VECTORS, DIM)
    bottleneck(frames())
    x = frames()
    entries = bottleneck.codebooks.entries.clone()
    _, tokens, losses = bottleneck(x)
    assert losses.keys() == {"commitment"}
    residual, terms = x.transpose(1, 2), []
    for k in range(4):
        projected = bottleneck.down[k](residual)
        code = entries[k][tokens[:, k]]
        terms.append(F.mse_loss(projected, code))
        residual = residual - bottleneck.up[k](code)
    expected = 0.25 * torch.stack(terms).mean()
    torch.testing.assert_close(losses["commitment"], expected, atol=1e-6, rtol=1e-5)
    losses["commitment"].backward()
    for k in range(4):
        weight = bottleneck.down[k].weight
        assert isinstance(weight, nn.Parameter)
        assert weight.grad is not None
        assert float(weight.grad.norm()) > 1e-4, k


def test_the_first_stage_is_that_of_dac() -> None:
    """Looked up by direction, and the entry itself is taken."""
    transformers = pytest.importorskip("transformers")
    from transformers.models.dac.modeling_dac import DacVectorQuantize  # noqa: PLC0415

    config = transformers.DacConfig(
        encoder_hidden_size=3, downsampling_ratios=[2, 2], codebook_dim=3, codebook_size=32
    )
    other = DacVectorQuantize(config)
    ours = ResidualVQ(ResidualVQConfig(num_codebooks=1, vocab_size=32, code_dim=3), DIM).eval()
    other.in_proj.weight.data = ours.down[0].weight.data[..., None].clone()
    other.out_proj.weight.data = ours.up[0].weight.data[..., None].clone()
    other.in_proj.bias.data.zero_()
    other.out_proj.bias.data.zero_()
    ours.codebooks.entries[0] = other.codebook.weight.data
    x = frames()
    theirs, _, _, tokens, _ = other(x)
    quantised, found, _ = ours(x)
    assert torch.equal(found[:, 0], tokens)
    torch.testing.assert_close(quantised, theirs, atol=1e-5, rtol=1e-5)


def mixed(count: int) -> Tensor:
    """Correlated frames (1, DIM, count) of very different scales, far from zero."""
    generator = torch.Generator().manual_seed(5)
    mixing = torch.randn(DIM, DIM, generator=generator)
    scales = torch.logspace(-2, 2, DIM)
    return ((mixing @ torch.randn(DIM, count)) * scales[:, None] + 3)[None]


def perplexity(tokens: Tensor, vocab_size: int) -> float:
    share = torch.bincount(tokens, minlength=vocab_size) / len(tokens)
    return float((-share.xlogy(share).sum()).exp())


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (3,), (4, 4)])
def test_scalars_use_their_entries_equally_in_every_stage(levels: tuple[int, ...]) -> None:
    bottleneck = FSQ(FSQConfig(num_codebooks=3, levels=levels, dropout=0, decay=0.9), DIM)
    for _ in range(50):
        bottleneck.train()(mixed(4000))
    tokens = bottleneck.eval().tokens(mixed(100_000))[0]
    vocab_size = FSQConfig(levels=levels).vocab_size
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < vocab_size
    for row in tokens:
        assert len(row.unique()) > 0.95 * vocab_size
        assert perplexity(row, vocab_size) > 0.75 * vocab_size


def test_scalars_pay_for_uneven_use_over_the_whole_batch() -> None:
    """The divergence from even use, and its gradient though each frame pays by itself."""
    bottleneck = FSQ(FSQConfig(num_codebooks=1, levels=(5, 4), dropout=0, usage_weight=0.5), DIM)
    for _ in range(20):
        bottleneck.train()(frames())
    x = (frames() ** 3).requires_grad_()
    bottleneck.whitening.decay = 1  # the same statistics in both
    loss = bottleneck(x)[2]["usage"]
    [found] = torch.autograd.grad(loss, x)
    white = bottleneck.whitening.whiten(0, bottleneck.down[0](x.transpose(1, 2)).flatten(0, 1))
    share = torch.ones(())
    for dim, count in enumerate((5, 4)):
        apart = torch.special.ndtr(white[:, dim, None]) * count - torch.arange(count) - 0.5
        share = share[..., None] * F.softmax(-2 * apart.square(), dim=-1).view(
            -1, *[1] * dim, count
        )
    share = share.mean(dim=0).flatten()
    divergence = 0.5 * (share * (20 * share).log()).sum()
    [expected] = torch.autograd.grad(divergence, x)
    assert divergence.item() > 0.01
    torch.testing.assert_close(loss, divergence, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (7, 3)])
def test_scalars_number_their_entries_as_another_implementation(levels: tuple[int, ...]) -> None:
    library = pytest.importorskip("vector_quantize_pytorch")
    other = library.FSQ(levels=list(levels))
    ours = FSQ(FSQConfig(num_codebooks=1, levels=levels), len(levels))
    numbers = torch.arange(FSQConfig(levels=levels).vocab_size)
    assert len(numbers) == other.codebook_size
    steps = other.indices_to_level_indices(numbers)
    for dim, count in enumerate(levels):
        middles = torch.special.ndtr(ours.entries(0, numbers)[:, dim])
        torch.testing.assert_close(middles, (steps[:, dim] + 0.5) / count)
    code, tokens = ours.eval().nearest(0, ours.entries(0, numbers))
    assert torch.equal(tokens, numbers)
    torch.testing.assert_close(code, ours.entries(0, numbers))


def test_a_network_spreads_its_frames_over_the_entries() -> None:
    """Frames on a bent surface: whitening alone leaves out the cells that it does not cross."""
    perplexities = []
    for weight in (0.0, 0.1):
        torch.manual_seed(0)
        config = FSQConfig(num_codebooks=1, levels=(5, 4, 3), dropout=0, usage_weight=weight)
        bottleneck = FSQ(config, DIM).train()
        network = nn.Sequential(
            nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, DIM)
        )
        parameters = [*network.parameters(), *bottleneck.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=3e-3)
        for _ in range(200):
            quantised, _, losses = bottleneck(network(4 * torch.rand(500, 2) - 2).T[None])
            (0 * quantised.sum() + sum(losses.values())).backward()
            optimizer.step()
            optimizer.zero_grad()
        tokens = bottleneck.eval().tokens(network(4 * torch.rand(20_000, 2) - 2).T[None])
        perplexities.append(perplexity(tokens.flatten(), config.vocab_size))
    assert perplexities[1] > 1.4 * perplexities[0]  # 1.55 to 1.9 times with six seeds


def test_scalars_code_the_same_after_a_change_of_scale() -> None:
    x = frames()
    found = []
    for scale in (1e-3, 1.0, 1e3):
        torch.manual_seed(0)
        bottleneck = FSQ(SCALARS, DIM)
        bottleneck.train()(scale * x)
        found.append(bottleneck.eval().tokens(scale * x))
    same = [float((tokens == found[1]).float().mean()) for tokens in found]
    assert min(same) > 0.99
