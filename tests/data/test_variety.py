"""Controls that do not vary over the sounds: prepare says so, before anything is trained."""

import math
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from fake_text import FakeTextEncoder
from torch import Tensor

from audiogen.audio.io.files import write_audio
from audiogen.data.loading import variety
from audiogen.data.loading.long_sounds import LONG_SAMPLES
from audiogen.data.manifest import read_split
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.training.preparation import prepare

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "tiny"
RATE = 16_000


@pytest.fixture(autouse=True)
def _fake_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiogen.training.preparation.TextEncoder", FakeTextEncoder)


def tone(hertz: float, seconds: float = 0.5) -> Tensor:
    return 0.3 * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)[None]


def write(folder: Path, wavs: Iterable[Tensor]) -> None:
    """Write sounds that are all trained on."""
    rows = ["file,split"]
    for number, wav in enumerate(wavs):
        write_audio(folder / f"{number:03d}.wav", wav, RATE)
        rows.append(f"{number:03d}.wav,train")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def experiment(folder: Path, controls: str, *settings: str) -> ExperimentConfig:
    given = [
        f"data.path={folder / 'sounds'}",
        f"run_dir={folder / 'run'}",
        "data.i_own_these=true",
        f"generator.conditioner.controls=[{controls}]",
        *settings,
    ]
    return load_config(RECIPES / "diffusion.yaml", given)


@pytest.mark.parametrize(
    ("name", "wavs"),
    [
        ("brightness", [tone(440)]),
        ("brightness", [tone(440)] * 12),
        ("brightness", [tone(440)] * 149 + [tone(3000)]),  # the one beyond the 99th percentile
        ("tempo", [0.1 * torch.randn(1, RATE // 2) for _ in range(12)]),
        ("key", [tone(440 + number) for number in range(12)]),
    ],
    ids=["one", "twelve", "all but one", "no tempo", "one key"],
)
def test_what_does_not_vary_is_an_error_of_prepare(
    tmp_path: Path, name: str, wavs: list[Tensor]
) -> None:
    write(tmp_path / "sounds", wavs)
    config = experiment(tmp_path, name)
    with pytest.raises(ValueError, match=f"{name} cannot be learnt: no two different") as error:
        prepare(config)
    assert len(str(error.value).splitlines()) <= 4
    assert not config.run.manifest.exists()
    assert not config.run.config.exists()


def test_the_one_that_does_not_vary_is_named(tmp_path: Path) -> None:
    write(tmp_path / "sounds", [tone(200 + 100 * number) for number in range(6)])
    with pytest.raises(ValueError, match="tempo cannot be learnt"):
        prepare(experiment(tmp_path, "brightness,tempo"))


def test_a_range_that_is_given_needs_no_variety(tmp_path: Path) -> None:
    # as of a model that training begins from, whose other sounds had a tempo
    write(tmp_path / "sounds", [tone(440)] * 3)
    known = 'generator.conditioner.controls={"brightness": [200, 8000]}'
    config = experiment(tmp_path, "brightness", known)
    prepare(config)
    assert len(read_split(config.run.manifest, "train")) == 3


def test_what_is_rare_is_enough(tmp_path: Path) -> None:
    write(tmp_path / "sounds", [*[tone(440)] * 16, tone(900), tone(1800)])
    config = experiment(tmp_path, "brightness")
    prepare(config)
    assert len(read_split(config.run.manifest, "train")) == 18


def test_versions_vary_by_themselves(tmp_path: Path) -> None:
    write(tmp_path / "sounds", [tone(440)])
    prepare(experiment(tmp_path, "brightness", "train.generator.versions=3"))


def test_a_control_that_is_added_later_is_looked_at(tmp_path: Path) -> None:
    write(tmp_path / "sounds", [tone(200 + 100 * number) for number in range(6)])
    prepare(experiment(tmp_path, "brightness"))
    with pytest.raises(ValueError, match="tempo cannot be learnt"):
        prepare(experiment(tmp_path, "brightness,tempo"))


def test_of_many_and_of_long_sounds_a_few_windows_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 1.2 * LONG_SAMPLES / RATE / 40
    monkeypatch.setattr("audiogen.data.loading.clips.LONG_SAMPLES", LONG_SAMPLES // 40)
    rising = torch.cat([tone(300, seconds / 2), tone(2000, seconds / 2)], dim=1)
    write(tmp_path / "sounds", [rising, tone(700)])
    config = experiment(tmp_path, "brightness")
    heard = []
    measure = variety.measure_windows

    def counted(wav: Tensor, *rest: object) -> object:
        heard.append(wav.shape[1])
        return measure(wav, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(variety, "measure_windows", counted)
    monkeypatch.setattr(variety, "measure_blocks", None)
    prepare(config)
    assert 20 < len(heard) <= variety.FEW
    assert max(heard) == 16_384  # whole frames of 512 that hold a clip of a second
