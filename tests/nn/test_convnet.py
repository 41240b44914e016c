"""The strided network is DAC's: as many parameters, the same output; its contexts suffice."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from audiogen.nn.convnet import ConvDecoder, ConvEncoder, Snake, contexts


def dac(**config: object) -> nn.Module:
    """Return DAC as transformers makes it, weight-normalised."""
    transformers = pytest.importorskip("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: nn.Module = transformers.DacModel(transformers.DacConfig(**config)).eval()
        model.apply_weight_norm()
    return model


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def layers_in_order(module: nn.Module) -> list[nn.Module]:
    """Convolutions and activations in the order in which they are applied."""
    kinds = ("Snake", "Snake1d", "Conv1d", "ConvTranspose1d")
    return [part for part in module.modules() if type(part).__name__.endswith(kinds)]


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy from DAC, whose blocks name their layers out of order."""
    order = {"res_unit1": 0, "res_unit2": 1, "res_unit3": 2, "snake1": 3, "conv1": 4}
    up = {"snake1": 0, "conv_t1": 1, "res_unit1": 2, "res_unit2": 3, "res_unit3": 4}
    unit = {"snake1": 0, "conv1": 1, "snake2": 2, "conv2": 3}
    whole = {"conv1": 0, "block": 1, "snake1": 2, "conv2": 3}

    def place(name: str) -> list[int]:
        parts = name.split(".")
        found = [whole[parts[0]]]
        if parts[0] == "block":
            found += [
                int(parts[1]),
                (up if "decoder" in type(source).__name__.lower() else order)[parts[2]],
            ]
            found += [unit[parts[3]]] if parts[2].startswith("res") else []
        return found

    kinds = ("Snake1d", "Conv1d", "ConvTranspose1d")
    named = [(place(n), m) for n, m in source.named_modules() if type(m).__name__.endswith(kinds)]
    theirs = [part for _, part in sorted(named, key=lambda item: item[0])]
    ours = layers_in_order(target)
    for mine, other in zip(ours, theirs, strict=True):
        mine.load_state_dict(other.state_dict())


def test_it_has_as_many_parameters_as_dac_at_44_khz() -> None:
    with torch.device("meta"):
        encoder = ConvEncoder(1, 64, (2, 4, 8, 8), 1024)
        decoder = ConvDecoder(1, 1536, (2, 4, 8, 8), 1024)
        model = dac()
        parts = dict(model.named_children())
        assert count(encoder) == count(parts["encoder"])
        assert count(decoder) == count(parts["decoder"])
    assert 70e6 < count(encoder, decoder) < 76.7e6  # 76.6 M with the quantiser


def test_it_is_dac_with_the_same_weights() -> None:
    model = dac(encoder_hidden_size=4, decoder_hidden_size=32, downsampling_ratios=[2, 4, 4])
    parts = dict(model.named_children())
    encoder, decoder = ConvEncoder(1, 4, (2, 4, 4), 32), ConvDecoder(1, 32, (2, 4, 4), 32)
    for part in parts.values():
        for parameter in part.parameters():  # apart from each other, and away from their start
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    copy_weights(parts["encoder"], encoder)
    copy_weights(parts["decoder"], decoder)
    wav = torch.randn(2, 1, 32 * 20)
    latents = encoder(wav)
    torch.testing.assert_close(latents, parts["encoder"](wav), atol=1e-4, rtol=1e-4)
    assert float(latents.std().detach()) > 0.05
    torch.testing.assert_close(  # ours is not limited
        decoder(latents).tanh(), parts["decoder"](latents), atol=1e-4, rtol=1e-4
    )


def reach(network: nn.Module, x: Tensor, step: int, into: int) -> int:
    """Frames on each side of a frame that its output depends on.

    Args:
        network: that is looked at.
        x: input; the frame in its middle is asked for.
        step: input numbers per frame.
        into: output numbers per frame.
    """
    x = x.requires_grad_()
    middle = x.shape[2] // step // 2
    network(x)[..., middle * into : (middle + 1) * into].square().sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum(dim=(0, 1)).reshape(-1, step).sum(dim=1).nonzero().flatten() - middle
    return int(seen.abs().max())


@pytest.mark.parametrize("strides", [(2, 4, 4), (3, 5), (4, 4, 8)])
def test_the_contexts_cover_what_is_seen(strides: tuple[int, ...]) -> None:
    hop = int(torch.tensor(strides).prod())
    width = 2 ** (len(strides) + 1)
    encoder, decoder = ConvEncoder(2, 2, strides, 3), ConvDecoder(2, width, strides, 3)
    for parameter in [*encoder.parameters(), *decoder.parameters()]:
        parameter.data.add_(0.1)  # no weight is zero
    wav, latents = torch.rand(1, 2, 81 * hop), torch.rand(1, 3, 81)
    assert encoder(wav).shape == latents.shape
    assert decoder(latents).shape == wav.shape
    trunk = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
    seen = reach(encoder, wav, hop, 1), reach(decoder, latents, 1, hop)
    for needed, found in zip(seen, contexts(trunk, hop), strict=True):
        assert needed <= found <= 2 * needed + 1


def test_snake_is_its_formula() -> None:
    snake = Snake(2)
    with torch.no_grad():
        snake.alpha[:] = torch.tensor([0.5, 2.0])[:, None]
    x = torch.linspace(-3, 3, 7).expand(1, 2, 7)
    expected = torch.stack([x[0, k] + (a * x[0, k]).sin() ** 2 / a for k, a in enumerate((0.5, 2))])
    torch.testing.assert_close(snake(x)[0], expected, atol=1e-6, rtol=1e-6)
