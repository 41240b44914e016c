"""A token model in the latents of a finished VAE: made, documented, handed on and refused."""

from pathlib import Path

import pytest

from audiogen.codecs import load_codec
from audiogen.codecs.quantised import QuantisedCodec
from audiogen.experiment import load_config
from audiogen.pipeline import Pipeline
from audiogen.provenance.attribution import read_attribution
from audiogen.schema import ConfigError
from audiogen.training.stages import train

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny"
STEPS = ["train.codec.steps=2", "train.generator.steps=3"]
TOKENS = "codec={type: saved, path: %s, tokens: {num_codebooks: 2, vocab_size: 32}}"


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "vae"
    train(load_config(TINY / "base.yaml", [f"run_dir={run}", *STEPS]))
    return run


@pytest.fixture(scope="module")
def run(vae: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens of that VAE, of other sounds."""
    run = tmp_path_factory.mktemp("runs") / "tokens"
    given = [f"run_dir={run}", TOKENS % vae, "data.textures.seed=5", *STEPS]
    train(load_config(TINY / "autoregressive.yaml", given))
    return run


def test_takes_are_made_of_its_tokens(run: Path) -> None:
    pipeline = Pipeline.from_pretrained(run)
    assert isinstance(pipeline.codec, QuantisedCodec)
    assert pipeline(["rain"], seconds=1.0, seeds=[1]).shape == (1, 1, 16000)


def test_its_codebooks_are_found_in_the_run_s_own_sounds(vae: Path, run: Path) -> None:
    folder = run / "codec" / "model"
    codec, before = load_codec(folder), load_codec(vae / "codec" / "model")
    assert isinstance(codec, QuantisedCodec)
    weights = codec.vae.state_dict()
    assert all(bool((weights[name] == one).all()) for name, one in before.state_dict().items())
    known = {row["sha256"] for row in read_attribution(vae / "codec" / "model" / "ATTRIBUTION.csv")}
    told = {row["sha256"] for row in read_attribution(folder / "ATTRIBUTION.csv")}
    own = {
        row["sha256"] for row in read_attribution(run / "generator" / "model" / "ATTRIBUTION.csv")
    }
    assert told == known | own
    assert own - known
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "of type `quantised`" in card
    assert f"had learnt from {len(known - own)} other files" in card


def test_it_is_handed_on_as_it_is(run: Path, tmp_path: Path) -> None:
    given = [f"run_dir={tmp_path}", f"codec={{type: saved, path: {run}}}", *STEPS]
    train(load_config(TINY / "autoregressive.yaml", given))
    first, second = (one / "codec" / "model" / "weights.safetensors" for one in (run, tmp_path))
    assert first.read_bytes() == second.read_bytes()


def test_what_cannot_be(vae: Path, run: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be taken in tokens, .* of type quantised"):
        load_config(TINY / "autoregressive.yaml", [TOKENS % run])
    with pytest.raises(ConfigError, match="diffusion"):  # which models no tokens
        load_config(TINY / "diffusion.yaml", [TOKENS % vae])
