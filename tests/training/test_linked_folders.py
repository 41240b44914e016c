"""Sounds behind links: intake, the check for changes and training see the same files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fake_text import FakeTextEncoder

from audiogen.audio.io.decoding import AudioReadError
from audiogen.audio.io.files import write_audio
from audiogen.data.loading.clips import read_clip
from audiogen.data.manifest import ManifestRow, read_manifest
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.training.preparation import prepare

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "tiny" / "diffusion.yaml"


@pytest.fixture(autouse=True)
def _fake_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiogen.training.preparation.TextEncoder", FakeTextEncoder)


def noise(path: Path, seconds: float = 0.5) -> None:
    write_audio(path, torch.randn(1, round(16_000 * seconds)) / 10, 16_000)


@pytest.fixture
def mine(tmp_path: Path) -> ExperimentConfig:
    """A run on a folder with a sound of its own, and links to a folder, a file and itself."""
    data, library = tmp_path / "data", tmp_path / "library"
    noise(data / "near.wav")
    for name in ("far", "deep/farther"):
        noise(library / "rain" / f"{name}.wav")
    noise(library / "single.wav")
    (data / "linked").symlink_to(library / "rain")
    (data / "one.wav").symlink_to(library / "single.wav")
    (data / "loop").symlink_to(data)
    (library / "rain" / "up").symlink_to(library)  # a way in by which there is one file more
    own = [f"run_dir={tmp_path / 'run'}", f"data.path={data}", "data.i_own_these=true"]
    return load_config(RECIPE, own)


def rows(config: ExperimentConfig) -> dict[str, ManifestRow]:
    return {row.path: row for row in read_manifest(config.run.manifest)}


def change(library: Path) -> None:
    noise(library / "rain" / "far.wav", 0.7)


def change_deep(library: Path) -> None:
    noise(library / "rain" / "deep" / "farther.wav", 0.7)


def change_linked_file(library: Path) -> None:
    noise(library / "single.wav", 0.7)


def add(library: Path) -> None:
    noise(library / "rain" / "new.wav", 0.7)


def remove(library: Path) -> None:
    (library / "rain" / "far.wav").unlink()


def test_each_file_behind_links_is_found_once(mine: ExperimentConfig) -> None:
    prepare(mine)
    found = rows(mine)
    assert {row.verdict for row in found.values()} == {"used"}
    assert found.keys() == {
        "near.wav",
        "one.wav",
        "linked/far.wav",
        "linked/deep/farther.wav",
        "linked/up/single.wav",
    }
    assert found["one.wav"].source_id == found["linked/up/single.wav"].source_id


@pytest.mark.parametrize("how", [change, change_deep, change_linked_file, add, remove])
def test_what_changes_behind_a_link_is_noticed(mine: ExperimentConfig, how: object) -> None:
    assert callable(how)
    prepare(mine)
    before, sound = mine.run.manifest.read_bytes(), rows(mine)["linked/far.wav"]
    prepare(mine)
    assert mine.run.manifest.read_bytes() == before
    how(mine.sounds.parent / "library")
    prepare(mine)
    assert mine.run.manifest.read_bytes() != before
    if how is change:
        now = rows(mine)["linked/far.wav"]
        assert (now.seconds, now.sha256 == sound.sha256) == (0.7, False)


def test_what_changed_behind_a_link_since_then_is_not_learnt(mine: ExperimentConfig) -> None:
    prepare(mine)
    row, spec = rows(mine)["linked/far.wav"], mine.codec.spec(1)
    read_clip(mine.sounds, row, spec)
    change(mine.sounds.parent / "library")
    with pytest.raises(AudioReadError, match="not the file that"):
        read_clip(mine.sounds, row, spec)


def test_a_link_to_the_run_itself_is_no_way_to_learn_from_it(mine: ExperimentConfig) -> None:
    (mine.sounds / "made").symlink_to(mine.run_dir)
    first = prepare(mine)
    noise(mine.run.takes / "rain-seed7.wav")
    assert prepare(mine) == first
    assert not any(
        row.verdict == "used" for path, row in rows(mine).items() if path.startswith("made")
    )


def test_a_link_to_nothing_is_told_and_the_rest_is_used(mine: ExperimentConfig) -> None:
    (mine.sounds / "gone.wav").symlink_to(mine.sounds.parent / "nowhere.wav")
    (mine.sounds / "gone").symlink_to(mine.sounds.parent / "nowhere")
    said = prepare(mine)
    assert "refused, missing" in said
    found = rows(mine)
    assert (found["gone.wav"].verdict, found["near.wav"].verdict) == ("refused", "used")
    noise(mine.sounds.parent / "nowhere.wav")
    prepare(mine)
    assert rows(mine)["gone.wav"].verdict == "used"
