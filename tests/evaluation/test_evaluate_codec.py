"""A run that has a codec and no generator: what is measured, said and left out."""

import json
import logging
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from audiogen.codecs import build_codec, save_codec
from audiogen.data.intake.scan import scan_folder
from audiogen.data.manifest import read_split, write_manifest
from audiogen.data.synthetic import write_textures
from audiogen.evaluation.evaluate import evaluate
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.schema import dump_config
from audiogen.stage_settings import write_settings

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "tiny" / "mel.yaml"


def make_run(run: Path, *overrides: str) -> ExperimentConfig:
    """Return the experiment of a run folder with sounds, manifest and an untrained codec."""
    config = load_config(RECIPE, [f"run_dir={run}", *overrides])
    textures = config.data.textures
    write_textures(
        config.sounds,
        num_clips=48,
        seconds=textures.seconds,
        sample_rate=16000,
        audio_channels=1,
        seed=0,
    )
    write_manifest(run / "manifest.jsonl", scan_folder(config.sounds, held_out=0.3, seed=0))
    (run / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    write_codec(config, seed=0)
    return config


def write_codec(config: ExperimentConfig, seed: int) -> None:
    torch.manual_seed(seed)
    codec = build_codec(config.codec)
    codec.set_scale(torch.randn(codec.spec.channels, 50) + seed)
    folder = config.run_dir / "codec" / "model"
    folder.mkdir(parents=True, exist_ok=True)
    save_codec(folder, codec)
    write_settings(folder, config, "codec")


def metrics_of(config: ExperimentConfig) -> dict[str, Any]:
    path = config.run_dir / "evaluation" / "metrics.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


class Sections(HTMLParser):
    """The text of each section of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text: dict[str, str] = {}
        self._now = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "section":
            self._now = dict(attrs)["id"] or ""

    def handle_data(self, data: str) -> None:
        self.text[self._now] = self.text.get(self._now, "") + data


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    config = make_run(tmp_path_factory.mktemp("runs") / "mel")
    evaluate(config)
    return config


def test_the_codec_is_measured_beside_griffin_lim(evaluated: ExperimentConfig) -> None:
    metrics = metrics_of(evaluated)
    assert metrics.keys() == {"key", "codec", "recognised", "character", "machine", "notes"}
    codec = metrics["codec"]
    assert codec["num_clips"] == len(read_split(evaluated.run.manifest, "held_out"))
    for key in ("stft_distance", "mel_distance"):
        assert codec[key] > 0
        assert codec["griffin_lim"][key] > 0
        assert codec["griffin_lim"][key] != codec[key]
    recognised = metrics["recognised"]
    assert recognised["all"]["real"] > recognised["chance"]
    assert recognised["all"].keys() == {"reconstructions", "real"}
    for kinds in metrics["character"].values():
        assert kinds.keys() == {"reconstructions", "real"}
        assert 0 < kinds["real"]["periodicity"] <= 1
    pairs = list((evaluated.run_dir / "evaluation" / "reconstructions").glob("*.codec.wav"))
    assert len(pairs) == 10
    assert not (evaluated.run_dir / "evaluation" / "takes").exists()


def test_the_report_has_what_applies(evaluated: ExperimentConfig) -> None:
    found = Sections(evaluated.run_dir / "report.html").text
    assert list(found)[1:] == [
        *("codec", "demos", "metrics", "training", "data", "machine", "config")
    ]
    assert "A codec of sounds" in found[""]
    assert "log-mel codec" in found[""]
    assert "of reconstructions recognised" in found[""]
    for words in ("Griffin-Lim", "Mel distance", "reconstructions"):
        assert words in found["metrics"]
    for words in ("Fréchet", "Copy check", "Diversity", "Cost of a take", "does not have it"):
        assert words not in found["metrics"]
    assert "CC0-1.0" in found["data"]
    assert "generator" not in found["training"]


def test_the_same_again_does_nothing_and_other_weights_are_measured(
    evaluated: ExperimentConfig, caplog: pytest.LogCaptureFixture
) -> None:
    files = [evaluated.run_dir / "report.html", evaluated.run_dir / "evaluation" / "metrics.json"]
    before, metrics = [path.stat().st_mtime_ns for path in files], metrics_of(evaluated)
    with caplog.at_level(logging.INFO, "audiogen"):
        evaluate(evaluated)
    assert "STFT distance" in caplog.text
    assert "(Griffin-Lim " in caplog.text
    assert [path.stat().st_mtime_ns for path in files] == before
    write_codec(evaluated, seed=1)
    evaluate(evaluated)
    after = metrics_of(evaluated)
    assert after["key"]["model_digest"] != metrics["key"]["model_digest"]
    assert after["codec"]["mel_distance"] != metrics["codec"]["mel_distance"]


def test_griffin_lim_itself_has_no_second_figures(tmp_path: Path) -> None:
    config = make_run(tmp_path / "run", "codec.vocoder=griffin_lim")
    evaluate(config)
    metrics = metrics_of(config)
    assert "griffin_lim" not in metrics["codec"]
    assert metrics["codec"]["mel_distance"] > 0


def test_no_codec_is_a_clear_error(tmp_path: Path) -> None:
    config = load_config(RECIPE, [f"run_dir={tmp_path}"])
    with pytest.raises(FileNotFoundError, match="no finished codec here") as caught:
        evaluate(config)
    assert len(str(caught.value).splitlines()) == 2
