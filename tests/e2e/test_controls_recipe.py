"""Models trained with controls: what is stored on the way, and that takes follow the numbers."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from audiogen.audio.io.files import write_audio
from audiogen.audio.measure.measures import measure_some
from audiogen.data.manifest import read_manifest
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.pipeline import Pipeline
from audiogen.storage import read_json
from audiogen.training.stages import train

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny"
CONTROLS = "generator.conditioner.controls=[brightness,density,stationarity]"
RATE = 16_000


def tiny(run: Path, *overrides: str) -> ExperimentConfig:
    few = ("data.textures.num_clips=28", "train.codec.steps=2", "train.generator.steps=2")
    fewer = ("distil.num_paths=40", "distil.train.steps=2")
    return load_config(TINY / "flow-fewstep.yaml", [f"run_dir={run}", *few, *fewer, *overrides])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """A run of all three stages, with windows of half the clips."""
    run = tmp_path_factory.mktemp("runs") / "controlled"
    config = tiny(run, CONTROLS, "data.clip_seconds=0.5")
    train(config)
    return config


def entries_of(config: ExperimentConfig) -> list[dict[str, Any]]:
    """What is said of the encoded files; nothing is measured of mixtures."""
    [index] = (config.run_dir / "latents").rglob("index.json")
    entries = read_json(index)
    assert all(not one["windows"] for one in entries if one["path"].startswith("mixture "))
    return [one for one in entries if not one["path"].startswith("mixture ")]


def test_windows_are_measured_and_stored(finished: ExperimentConfig) -> None:
    entries = entries_of(finished)
    rows = read_manifest(finished.run_dir / "manifest.jsonl")
    assert len(entries) == sum(row.split == "train" for row in rows)
    for entry in entries:
        assert [window["start"] for window in entry["windows"]] == [0, 8, 16]
        for window in entry["windows"]:
            assert window["measures"].keys() == {"brightness", "density", "stationarity"}
            assert window["measures"]["density"] is not None


def test_models_of_both_stages_know_their_ranges(finished: ExperimentConfig) -> None:
    found = [
        window["measures"]["brightness"]
        for entry in entries_of(finished)
        for window in entry["windows"]
    ]
    for stage in ("generator", "distil"):
        model = finished.run_dir / stage / "model"
        ranges = Pipeline.from_pretrained(model).config.generator.conditioner.ranges
        low, high = ranges["brightness"]
        assert min(found) <= low < high <= max(found)
        assert ranges.keys() == {"brightness", "density", "stationarity"}
        assert "- brightness (" in (model / "README.md").read_text(encoding="utf-8")
        settings = read_json(model / "settings.json")
        assert settings["generator"]["conditioner"]["controls"]["brightness"] == "auto"


def test_recorded_paths_have_some_of_the_measures(finished: ExperimentConfig) -> None:
    [folder] = (finished.run_dir / "paths").iterdir()
    paths = [entry for shard in folder.iterdir() for entry in read_json(shard / "index.json")]
    counts = {len(entry.get("measures", {})) for entry in paths}
    assert counts == {0, 1, 2, 3}
    assert not any("NaN" in json.dumps(entry) for entry in paths)


def test_takes_of_such_a_model_have_their_seed(finished: ExperimentConfig) -> None:
    pipeline = Pipeline.from_pretrained(finished.run_dir)
    span = pipeline.config.generator.conditioner.ranges["brightness"]
    controls = {"brightness": math.sqrt(span[0] * span[1])}
    together = pipeline(["rain", "", "wind"], seconds=0.7, seeds=[3, 4, 5], controls=controls)
    alone = pipeline([""], seconds=0.7, seeds=[4], controls=controls)
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=0)


def test_other_controls_are_another_model_of_the_same_codec(
    finished: ExperimentConfig, caplog: pytest.LogCaptureFixture
) -> None:
    removed = r"generator\.conditioner\.controls\.stationarity auto -> absent"
    with pytest.raises(ValueError, match=removed):
        train(
            tiny(
                finished.run_dir,
                "generator.conditioner.controls=[brightness,density]",
                "data.clip_seconds=0.5",
            )
        )
    saved = ("codec.type=saved", f"codec.path={finished.run_dir}")
    other = tiny(finished.run_dir.with_name("plain"), "data.clip_seconds=0.5", *saved)
    other = other.model_copy(update={"distil": None})
    with caplog.at_level("INFO"):
        train(other)
    assert "codec: taken from" in caplog.text
    [theirs], [ours] = (
        [path.name for path in (run / "latents").iterdir()]
        for run in (finished.run_dir, other.run_dir)
    )
    assert theirs != ours


def test_what_does_not_vary_is_refused_before_training(tmp_path: Path) -> None:
    sounds = noises(tmp_path / "sounds", num_files=6)
    config = controlled(tmp_path / "run", sounds, "generator.conditioner.controls=[tempo]")
    with pytest.raises(ValueError, match="tempo cannot be learnt"):
        train(config)
    assert not (tmp_path / "run" / "generator").exists()


def noises(folder: Path, *, num_files: int) -> Path:
    """Noise in a band of an octave, at another place in each file, from 300 Hz to 5 kHz."""
    source = torch.Generator().manual_seed(0)
    for number in range(num_files):
        centre = 300 * (5000 / 300) ** (number / (num_files - 1))
        spectrum = torch.fft.rfft(torch.randn(RATE, generator=source))
        hertz = torch.arange(len(spectrum))
        spectrum[(hertz < centre / 2**0.5) | (hertz > centre * 2**0.5)] = 0
        wav = torch.fft.irfft(spectrum)[None]
        write_audio(folder / "noise" / f"{number:03d}.wav", 0.5 * wav / wav.abs().max(), RATE)
    return folder


def controlled(run: Path, sounds: Path, *overrides: str) -> ExperimentConfig:
    """A small diffusion model of mel bands, whose vocoder needs no training."""
    codec = "{type: mel, sample_rate: 16000, hop_length: 512, n_fft: 1024, num_bands: 24,"
    return load_config(
        TINY / "diffusion.yaml",
        [
            f"run_dir={run}",
            f"data.path={sounds}",
            "data.i_own_these=true",
            f"codec={codec} vocoder: griffin_lim}}",
            "generator={type: diffusion, dim: 64, depth: 2, num_heads: 2}",
            "generator.conditioner.controls=[brightness]",
            "train.generator={steps: 600, batch_size: 16, ema_decay: 0.97,"
            " optim: {lr: 2.0e-3, warmup_steps: 10}}",
            "train.log_every=100",
            "train.checkpoint_every=1000",
            "train.demo_every=1000",
            *overrides,
        ],
    )


@pytest.mark.slow
def test_takes_are_as_bright_as_they_are_asked_to_be(tmp_path: Path) -> None:
    train(controlled(tmp_path / "run", noises(tmp_path / "sounds", num_files=60)))
    pipeline = Pipeline.from_pretrained(tmp_path / "run")
    sampling = pipeline.config.sample.model_copy(update={"steps": 12, "guidance_scale": 1.0})

    def octaves(hertz: float | None) -> torch.Tensor:
        """How bright takes of six seeds are, in octaves above 1 Hz."""
        controls = {} if hertz is None else {"brightness": hertz}
        wavs = pipeline(
            ["noise"] * 6, seconds=1.0, seeds=range(6), sampling=sampling, controls=controls
        )
        found = [measure_some(wav, RATE, ["brightness_hz"])["brightness_hz"] for wav in wavs]
        return torch.tensor(found).log2()

    asked = (450.0, 1300.0, 3800.0)
    heard = [octaves(hertz) for hertz in asked]
    for lower, higher in itertools.pairwise(heard):
        assert float(lower.max()) < float(higher.min())  # each take, not only their mean
    for hertz, one in zip(asked, heard, strict=True):
        assert float(one.median()) == pytest.approx(math.log2(hertz), abs=0.6)
    free = octaves(None)
    assert float(free.max() - free.min()) > 1.5  # without the control the sounds are any of them
