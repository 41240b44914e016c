"""Recomputed and compiled blocks give the gradients of plain ones."""

import shutil
from pathlib import Path

import pytest
import torch
from few_steps import TEXT_DIM, WINDOW, Numbers, collate
from torch import Tensor, nn

from audiogen.codecs import VAEConfig, build_codec
from audiogen.data.loading.clips import Position
from audiogen.generators import AutoregressiveConfig, DiffusionConfig, build_generator
from audiogen.nn.chance import draws_of
from audiogen.train_config import TrainConfig
from audiogen.training.loop.blocks import blocks_of, prepare_blocks
from audiogen.types import LatentSpec

KINDS = ("diffusion", "autoregressive", "vae")
COUNT = 6


def model_and_loss(kind: str) -> tuple[nn.Module, object]:
    """A small model with random weights, and a batch for it."""
    torch.manual_seed(0)
    if kind == "vae":
        return build_codec(VAEConfig(sample_rate=16000, latent_channels=4)), torch.randn(6, 1, 8192)
    tokens = kind == "autoregressive"
    spec = LatentSpec(
        kind="tokens" if tokens else "continuous",
        channels=4,
        vocab_size=16 if tokens else None,
        hop_length=512,
        sample_rate=16000,
        audio_channels=1,
    )
    size = {"dim": 32, "depth": 3, "num_heads": 2}
    config = AutoregressiveConfig(**size) if tokens else DiffusionConfig(**size)
    model = build_generator(config, spec, TEXT_DIM, WINDOW)
    for parameter in model.parameters():  # a DiT begins with zeros, which pass no gradient
        parameter.data.add_(0.05 * torch.randn(parameter.shape))
    numbers = Numbers(4, WINDOW, spec.vocab_size)
    return model, collate([numbers[Position(0, index)] for index in range(COUNT)])


def gradients(kind: str, config: TrainConfig) -> tuple[dict[str, Tensor], int]:
    """Gradients of one step, and bytes that the blocks kept for the backward pass."""
    model, batch = model_and_loss(kind)
    model.train()
    prepare_blocks(model, config)
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with draws_of(1, 2, range(COUNT)):
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            output = model(batch)
        loss = output.loss if kind != "vae" else output.reconstructions[0].square().mean()
        loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, kept


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_blocks_have_the_same_gradients_and_keep_less(kind: str) -> None:
    plain, kept = gradients(kind, TrainConfig())
    light, kept_light = gradients(kind, TrainConfig(activation_checkpointing=True))
    assert plain.keys() == light.keys()
    assert all(torch.equal(plain[name], light[name]) for name in plain)
    assert kept_light < 0.8 * kept


def test_blocks_are_found() -> None:
    assert len(blocks_of(model_and_loss("diffusion")[0])) == 3
    assert len(blocks_of(model_and_loss("vae")[0])) > 2


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
@pytest.mark.parametrize(
    ("kind", "light"),
    [
        *(pytest.param(kind, False, marks=pytest.mark.slow) for kind in ("autoregressive", "vae")),
        *(pytest.param(kind, True, marks=pytest.mark.nightly) for kind in KINDS),
        pytest.param("diffusion", False, marks=pytest.mark.nightly),
    ],
)
def test_compiled_blocks_have_nearly_the_same_gradients(
    kind: str, light: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a killed process left half written in the shared folder would be loaded.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, _ = gradients(kind, TrainConfig())
    fast, _ = gradients(kind, TrainConfig(compile=True, activation_checkpointing=light))
    for name, gradient in plain.items():
        torch.testing.assert_close(fast[name], gradient, rtol=1e-3, atol=1e-5)
