"""What of published networks is opened, from where, and what is refused."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from audiogen.codecs import build_codec
from audiogen.codecs.pretrained.base import PretrainedCodec
from audiogen.codecs.pretrained.dac import DACConfig
from audiogen.codecs.pretrained.encodec import EnCodecConfig
from audiogen.codecs.pretrained.mimi import MimiConfig
from audiogen.codecs.pretrained.oobleck import OobleckConfig
from audiogen.schema import ConfigError, parse_config

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (
            DACConfig,
            {"revision": "main"},
            r"revision=main: expected a commit of descript/dac_44khz",
        ),
        (DACConfig, {"revision": COMMIT[:-1]}, "40 hexadecimal digits"),
        (
            DACConfig,
            {"source": "someone/dac"},
            r"revision=None.*huggingface.co/someone/dac/commits",
        ),
        (DACConfig, {"source": "dac"}, "expected a hub repository owner/name, or a local folder"),
        (OobleckConfig, {"source": "a/b/vae"}, "huggingface.co/a/b/commits"),
        (MimiConfig, {"num_codebooks": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_be(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(kind, settings, source="recipe")
    assert len(str(caught.value).splitlines()) <= 4


@pytest.mark.parametrize("kind", [EnCodecConfig, DACConfig, MimiConfig, OobleckConfig])
def test_the_default_source_is_pinned(kind: Any) -> None:
    config = kind()
    assert len(config.revision) == 40
    assert kind(source="./folder").revision is None
    assert kind(source="someone/else", revision=COMMIT).revision == COMMIT
    assert kind.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("kind", [DACConfig, OobleckConfig])
def test_without_a_network_it_says_what_to_do(kind: Any) -> None:
    if kind is OobleckConfig:
        pytest.importorskip("diffusers", reason="diffusers, an extra, is not installed")
    with pytest.raises(FileNotFoundError, match=r"not in the hub's cache") as caught:
        build_codec(kind())
    lines = str(caught.value).splitlines()
    assert len(lines) <= 4
    assert "set codec.source to a folder with config.json" in lines[-1]


@pytest.mark.parametrize("name", ["dac", "oobleck"])
def test_the_pinned_commit_is_looked_up_in_the_hub_cache(
    name: str, config_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(name)
    kind = type(config)
    owner, repository, *inner = kind().source.split("/")
    snapshots = tmp_path / f"models--{owner}--{repository}" / "snapshots"
    shutil.copytree(config.source, snapshots.joinpath(kind().revision, *inner))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    stated = {key: getattr(config, key) for key in ("sample_rate", "hop_length")}
    stated |= {} if name == "oobleck" else {"num_codebooks": 4}
    codec = build_codec(kind(**stated))
    wav = torch.randn(1, codec.spec.audio_channels, 8 * codec.spec.hop_length)
    assert torch.equal(codec.encode(wav), build_codec(config).encode(wav))
    with pytest.raises(FileNotFoundError, match=COMMIT):
        build_codec(kind(**stated, revision=COMMIT))


def test_numbers_that_differ_are_told(config_of: Any) -> None:
    config = config_of("mimi", sample_rate=24000, hop_length=1920, audio_channels=2)
    with pytest.raises(ValueError, match="is not what the settings state") as caught:
        build_codec(config)
    assert str(caught.value).splitlines()[1:] == [
        "  codec.sample_rate=24000, but there it is 16000",
        "  codec.audio_channels=2, but there it is 1",
        "  codec.hop_length=1920, but there it is 16",
    ]


def test_more_codebooks_than_there_are(config_of: Any) -> None:
    with pytest.raises(ValueError, match=r"num_codebooks=5, but codec.source=.* has 4"):
        build_codec(config_of("dac", num_codebooks=5))


def test_semantic_codebooks_stay_together(config_of: Any, network_of: Any, tmp_path: Path) -> None:
    network_of("mimi", num_semantic_quantizers=2).save_pretrained(tmp_path)
    config = config_of("mimi", source=str(tmp_path), num_codebooks=2)
    assert build_codec(config).spec.channels == 2
    with pytest.raises(ValueError, match="num_codebooks=1, but this Mimi needs its first 2"):
        build_codec(config.model_copy(update={"num_codebooks": 1}))


def test_loudness_scales_are_no_tokens(config_of: Any, network_of: Any, tmp_path: Path) -> None:
    network_of("encodec", normalize=True).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="scales chunks of audio by their loudness"):
        build_codec(config_of("encodec", source=str(tmp_path)))


def test_another_kind_of_network(config_of: Any, sources: Any) -> None:
    with pytest.raises(ValueError, match=r"its config.json is of encodec, expected dac"):
        build_codec(config_of("dac", source=str(sources("encodec"))))


def test_damaged_sources(config_of: Any, sources: Any, tmp_path: Path) -> None:
    config = config_of("dac", source=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no config.json and no model.safetensors"):
        build_codec(config)
    for file in sources("dac").iterdir():
        shutil.copy(file, tmp_path)
    weights, settings = tmp_path / "model.safetensors", tmp_path / "config.json"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:2000])
    with pytest.raises(ValueError, match=r"weights and config.json do not fit, or are damaged"):
        build_codec(config)
    weights.rename(tmp_path / "pytorch_model.bin")  # pickled weights are not looked at
    with pytest.raises(FileNotFoundError, match=r"there is no model.safetensors"):
        build_codec(config)
    weights.write_bytes(whole)
    text = settings.read_text(encoding="utf-8")
    tree = json.loads(text)
    settings.write_text(json.dumps({**tree, "codebook_dim": 5}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"weights and config.json do not fit, or are damaged"):
        build_codec(config)
    settings.write_text(json.dumps({**tree, "n_codebooks": 6}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"model.safetensors lacks \d+ weights of DacModel"):
        build_codec(config)
    settings.write_text(text[:-20], encoding="utf-8")
    with pytest.raises(ValueError, match=r"config.json: not valid JSON"):
        build_codec(config)


def test_a_source_cannot_name_code(config_of: Any, sources: Any, tmp_path: Path) -> None:
    """Some settings of transformers have it fetch and run code; only a network's own are taken."""
    for file in sources("mimi").iterdir():
        shutil.copy(file, tmp_path)
    tree = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    tree |= {"attn_implementation": "someone/kernel", "auto_map": {"AutoModel": "code.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(tree), encoding="utf-8")
    config = config_of("mimi", source=str(tmp_path))
    codec = build_codec(config)
    assert isinstance(codec, PretrainedCodec)
    assert codec.network.config._attn_implementation == "sdpa"
    known = codec.config.network or {}
    assert known
    assert not {"attn_implementation", "auto_map"} & known.keys()
    named = {**known, "attn_implementation": "someone/kernel"}
    with pytest.raises(ValueError, match="MimiModel does not know attn_implementation"):
        build_codec(config.model_copy(update={"network": named}))


def test_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ValueError, match=r"diffusers, which is not.*\n.*audiogen\[pretrained"):
        build_codec(OobleckConfig())
