"""Small networks of random weights, as they would be published, for tests of pretrained codecs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from audiogen.codecs import build_codec
from audiogen.codecs.pretrained.dac import DACConfig
from audiogen.codecs.pretrained.encodec import EnCodecConfig
from audiogen.codecs.pretrained.mimi import MimiConfig
from audiogen.codecs.pretrained.oobleck import OobleckConfig

RATE = 16000


def encodec_network(**changes: Any) -> Any:
    import transformers  # noqa: PLC0415 (slow to import)

    settings = {
        "sampling_rate": RATE,
        "target_bandwidths": [8.0, 16.0],
        "hidden_size": 8,
        "num_filters": 4,
        "upsampling_ratios": [4, 2, 2],
        "num_lstm_layers": 1,
        "codebook_size": 16,
    }
    network: Any = transformers.EncodecModel(transformers.EncodecConfig(**{**settings, **changes}))
    with torch.no_grad():  # as made, the sound is lost behind the biases, and codebooks are zeros
        for name, parameter in network.named_parameters():
            if "bias" in name:
                parameter.zero_()
            elif name.endswith("original0"):  # of weight normalisation
                parameter.mul_(1.6)
        for layer in network.quantizer.layers:
            layer.codebook.embed.normal_(std=0.1)
    return network


def dac_network(**changes: Any) -> Any:
    import transformers  # noqa: PLC0415 (slow to import)

    settings = {
        "sampling_rate": RATE,
        "encoder_hidden_size": 4,
        "downsampling_ratios": [2, 8],
        "decoder_hidden_size": 16,
        "n_codebooks": 4,
        "codebook_size": 16,
        "codebook_dim": 4,
    }
    network = transformers.DacModel(transformers.DacConfig(**{**settings, **changes}))
    for part in network.modules():  # made nearly silent
        if isinstance(part, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            torch.nn.init.xavier_normal_(part.weight)
    return network


def mimi_network(**changes: Any) -> Any:
    import transformers  # noqa: PLC0415 (slow to import)

    settings = {
        "sampling_rate": RATE,
        "hidden_size": 16,
        "num_filters": 4,
        "upsampling_ratios": [4, 2],
        "codebook_size": 16,
        "codebook_dim": 8,
        "num_quantizers": 4,
        "upsample_groups": 16,
        "vector_quantization_hidden_dimension": 8,
        "num_hidden_layers": 2,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "sliding_window": 6,
        "layer_scale_initial_scale": 1.0,
    }
    network = transformers.MimiModel(transformers.MimiConfig(**{**settings, **changes}))
    for name, buffer in network.named_buffers():
        if name.endswith("embed_sum"):  # made as zeros
            buffer.normal_(std=0.1)
    return network


def oobleck_network(**changes: Any) -> Any:
    settings = {
        "sampling_rate": RATE,
        "encoder_hidden_size": 8,
        "downsampling_ratios": [2, 8],
        "channel_multiples": [1, 2],
        "decoder_channels": 4,
        "decoder_input_channels": 4,
    }
    diffusers = pytest.importorskip("diffusers", reason="diffusers, an extra, is not installed")
    return diffusers.AutoencoderOobleck(**{**settings, **changes})


MADE: dict[str, tuple[Callable[..., Any], type[Any], dict[str, Any]]] = {
    "encodec": (encodec_network, EnCodecConfig, {}),
    "dac": (dac_network, DACConfig, {}),
    "dac-odd": (dac_network, DACConfig, {"downsampling_ratios": [2, 5, 3]}),
    "mimi": (mimi_network, MimiConfig, {}),
    "oobleck": (oobleck_network, OobleckConfig, {}),
}
HOPS = {"encodec": 16, "dac": 16, "dac-odd": 30, "mimi": 16, "oobleck": 16}


@pytest.fixture
def network_of() -> Callable[..., Any]:
    """Return a function that makes a small network of a library by its name."""
    return lambda name, **changes: MADE[name][0](**{**MADE[name][2], **changes})


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the folder of a small published network."""
    root = tmp_path_factory.mktemp("published")

    def folder_of(name: str) -> Path:
        make, _, changes = MADE[name]
        folder = root / name
        if not folder.is_dir():
            torch.manual_seed(0)
            make(**changes).save_pretrained(folder)
        return folder

    return folder_of


@pytest.fixture
def config_of(sources: Callable[[str], Path]) -> Callable[..., Any]:
    """Return a function that states what the small network of that name is."""

    def make(name: str, **changes: Any) -> Any:
        stated = {"source": str(sources(name)), "sample_rate": RATE, "hop_length": HOPS[name]}
        if name != "oobleck":
            stated["num_codebooks"] = 4
        return MADE[name][1](**{**stated, **changes})

    return make


@pytest.fixture
def codec_of(config_of: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that builds the codec of that name."""
    return lambda name, **changes: build_codec(config_of(name, **changes))
