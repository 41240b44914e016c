"""A command that is refused changes nothing, and an evaluation knows what was learnt."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fake_text import FakeTextEncoder

from audiogen.audio.io.files import write_audio
from audiogen.evaluation.evaluate import evaluate
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.locking import LOCK_FILE, BusyError, hold
from audiogen.stage_settings import stage_settings, write_settings
from audiogen.training.preparation import prepare
from audiogen.training.stages import train

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "tiny" / "diffusion.yaml"


@pytest.fixture(autouse=True)
def _fake_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiogen.training.preparation.TextEncoder", FakeTextEncoder)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Recordings of two labels."""
    folder = tmp_path / "sounds"
    for label in ("rain", "sea"):
        for name in ("alpha", "beta", "gamma", "delta"):
            write_audio(folder / label / f"{name} {label}.wav", torch.randn(1, 8000) / 10, 16000)
    return folder


def mine(sounds: Path, *overrides: str) -> ExperimentConfig:
    run = sounds.parent / "runs" / "mine"
    own = [f"run_dir={run}", f"data.path={sounds}", "data.i_own_these=true"]
    return load_config(RECIPE, [*own, *overrides])


def trained(config: ExperimentConfig) -> None:
    """Leave what a finished codec leaves of its settings."""
    prepare(config)
    folder = config.run.model("codec")
    folder.mkdir(parents=True)
    write_settings(folder, config, "codec")


def begun(config: ExperimentConfig) -> None:
    """Leave what an unfinished codec leaves of its settings."""
    prepare(config)
    folder = config.run.checkpoints("codec") / "step-00000008"
    folder.mkdir(parents=True)
    state = {"step": 8, "state": {"settings": stage_settings(config, "codec")}}
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOCK_FILE
    }


def other_sources(sounds: Path) -> None:
    rows = [f"{path.relative_to(sounds).as_posix()},one" for path in sorted(sounds.rglob("a*.wav"))]
    (sounds / "metadata.csv").write_text("\n".join(["file,source_id", *rows]), encoding="utf-8")


def one_more(sounds: Path) -> None:
    write_audio(sounds / "rain" / "epsilon rain.wav", torch.randn(1, 8000) / 10, 16000)


def one_less(sounds: Path) -> None:
    (sounds / "sea" / "beta sea.wav").unlink()


def another_content(sounds: Path) -> None:
    write_audio(sounds / "sea" / "beta sea.wav", torch.randn(1, 9000) / 10, 16000)


def another_caption(sounds: Path) -> None:
    (sounds / "sea" / "beta sea.txt").write_text("waves far away", encoding="utf-8")


@pytest.mark.parametrize("state", [trained, begun])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_sources, "with another source_id"),
        (one_more, "1 new ('rain/epsilon rain.wav')"),
        (one_less, "1 gone or refused ('sea/beta sea.wav')"),
        (another_content, "1 with another content ('sea/beta sea.wav')"),
        (another_caption, "1 with another caption or label ('sea/beta sea.wav')"),
    ],
)
@pytest.mark.parametrize("command", [prepare, train])
def test_other_sounds_are_refused_in_words_and_nothing_changes(
    sounds: Path,
    state: Callable[[ExperimentConfig], None],
    change: Callable[[Path], None],
    said: str,
    command: Callable[[ExperimentConfig], object],
) -> None:
    config = mine(sounds)
    state(config)
    before = files(config.run_dir)
    change(sounds)
    with pytest.raises(ValueError, match="other sounds; nothing was changed") as caught:
        command(config)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4
    assert files(config.run_dir) == before


@pytest.mark.parametrize("state", [trained, begun])
def test_other_settings_are_refused_before_the_sounds_are_read(
    sounds: Path, state: Callable[[ExperimentConfig], None]
) -> None:
    config = mine(sounds)
    state(config)
    before = files(config.run_dir)
    one_more(sounds)
    with pytest.raises(ValueError, match=r"codec\.latent_channels 8 -> 12"):
        prepare(mine(sounds, "codec.latent_channels=12"))
    assert files(config.run_dir) == before


def test_what_has_only_begun_may_go_on_with_other_sounds_where_it_is_allowed(sounds: Path) -> None:
    config = mine(sounds)
    begun(config)
    one_more(sounds)
    assert "9  " in prepare(mine(sounds, "train.allow_change=true"))


def test_sounds_that_are_put_back_are_prepared_again(sounds: Path) -> None:
    config = mine(sounds)
    trained(config)
    summary = prepare(config)
    one_more(sounds)
    with pytest.raises(ValueError, match="1 new"):
        prepare(config)
    (sounds / "rain" / "epsilon rain.wav").unlink()
    assert prepare(config) == summary


def test_a_run_that_could_not_begin_leaves_no_folder(sounds: Path) -> None:
    config = mine(sounds)
    shutil.rmtree(sounds / "rain")
    shutil.rmtree(sounds / "sea")
    with pytest.raises(ValueError, match="holds no usable sound"):
        prepare(config)
    assert not config.run_dir.exists()


def test_an_evaluation_is_of_the_sounds_that_were_learnt(sounds: Path) -> None:
    config = mine(sounds, "generator=null", "sample={}")
    trained(config)
    config.run.manifest.write_text(
        config.run.manifest.read_text().replace('"train"', '"held_out"'), encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"not of the sounds that .* learnt from") as caught:
        evaluate(config)
    assert len(str(caught.value).splitlines()) <= 4


@pytest.mark.parametrize("command", [prepare, train, evaluate])
def test_two_commands_at_once_on_a_run(
    sounds: Path, command: Callable[[ExperimentConfig], object]
) -> None:
    config = mine(sounds)
    prepare(config)
    before = files(config.run_dir)
    with hold(config.run_dir), pytest.raises(BusyError, match="at work"):
        command(mine(sounds, "train.codec.steps=9"))
    assert files(config.run_dir) == before


@pytest.mark.parametrize("place", ["", "mine", "deeper/mine"])
def test_a_run_inside_the_data_does_not_learn_from_itself(sounds: Path, place: str) -> None:
    run = sounds / place / "runs"
    config = load_config(RECIPE, [f"run_dir={run}", f"data.path={sounds}", "data.i_own_these=true"])
    first = prepare(config)
    write_audio(config.run.takes / "rain-seed7.wav", torch.randn(1, 8000) / 10, 16000)
    write_audio(config.run.demos("codec") / "00.wav", torch.randn(1, 8000) / 10, 16000)
    manifest = config.run.manifest.read_bytes()
    assert prepare(config) == first
    assert config.run.manifest.read_bytes() == manifest
    assert f"{run.relative_to(sounds).as_posix()}\n" in f"{first}\n"
    assert "nothing is learnt from it" in first
