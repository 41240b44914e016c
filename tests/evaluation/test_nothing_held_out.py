"""What cannot be measured, as of sounds of which none is held out: the report does without."""

import html
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from fake_text import FakeTextEncoder
from torch import Tensor

from audiogen.audio.io.files import write_audio
from audiogen.data.intake.scan import scan_folder, summarise
from audiogen.evaluation.evaluate import evaluate
from audiogen.evaluation.scoreboard import scoreboard
from audiogen.evaluation.scores import NOTHING_HELD_OUT, Scores, read_scores
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.generators.ode import likelihood
from audiogen.schema import ConfigError
from audiogen.training.preparation import prepare
from audiogen.training.stages import train

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "tiny"
ONE_FILE = {"Rain/long.wav": "a"}
ONE_RECORDING = {f"Rain/part{letter}.wav": "a" for letter in "xyz"}
ONE_EACH = {f"{label}/{label}.wav": label for label in ("Rain", "Wind", "Dogs")}
FOLDERS = pytest.mark.parametrize(
    "files", [ONE_FILE, ONE_RECORDING, ONE_EACH], ids=["file", "recording", "each"]
)
STEPS = ("train.codec.steps=3", "train.generator.steps=3", "data.i_own_these=true")


def write_sounds(folder: Path, files: Mapping[str, str], *, seconds: float = 2.0) -> None:
    """Noise of different colours under the given names, of the given recordings."""
    rows = ["file,source_id"]
    for number, (name, source) in enumerate(files.items()):
        wav = torch.randn(1, round(16000 * seconds)).cumsum(dim=-1)
        wav = torch.diff(wav, n=1 + number) / 2 ** (number + 3)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_audio(folder / name, 0.5 * wav / wav.abs().max(), 16000)
        rows.append(f"{name},{source}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def experiment(folder: Path, recipe: str, *settings: str) -> ExperimentConfig:
    """A tiny recipe on the sounds below `folder`."""
    given = [f"data.path={folder / 'sounds'}", f"run_dir={folder / 'run'}", *STEPS, *settings]
    return load_config(RECIPES / f"{recipe}.yaml", given)


def measured(config: ExperimentConfig) -> Scores:
    """Prepare, train and evaluate."""
    with pytest.MonkeyPatch.context() as patch:
        for place in ("audiogen.training.preparation", "audiogen.pipeline"):
            patch.setattr(f"{place}.TextEncoder", FakeTextEncoder)
        prepare(config)
        train(config)
        assert evaluate(config).is_file()
    return read_scores(config.run.scores)


@FOLDERS
def test_prepare_says_what_it_means(tmp_path: Path, files: Mapping[str, str]) -> None:
    write_sounds(tmp_path, files)
    text = " ".join(summarise(scan_folder(tmp_path)).split())
    assert "nothing is held out at all: training works, but" in text
    assert "no metrics of held-out sounds and no distance of takes to them" in text
    assert "source_id" in text
    assert "add recordings" in text


@pytest.mark.parametrize(("count", "few"), [(1, True), (3, True), (9, False)])
def test_labels_with_too_few_clips_are_told(tmp_path: Path, count: int, few: bool) -> None:
    names = [f"Rain/{number}.wav" for number in range(12)]
    names += [f"Wind/{'abcdefghi'[number]}.wav" for number in range(count)]
    write_sounds(tmp_path, {name: name for name in names}, seconds=0.5)
    metadata = (tmp_path / "metadata.csv").read_text(encoding="utf-8").splitlines()
    sides = [f"{metadata[0]},split", *(f"{line},train" for line in metadata[1:])]
    (tmp_path / "metadata.csv").write_text("\n".join(sides), encoding="utf-8")
    text = summarise(scan_folder(tmp_path))
    clips = f"{count} clip" + "s" * (count != 1)
    assert (
        f"too few clips to learn more than copies from, add some: 1\n  wind: {clips}," in text
    ) == few
    assert "  rain: " not in text


def test_a_long_recording_in_two_files_is_enough_to_learn(tmp_path: Path) -> None:
    write_sounds(tmp_path, {"Rain/a.wav": "a", "Rain/b.wav": "a"}, seconds=31.0)
    assert "too few clips to learn" not in summarise(scan_folder(tmp_path))


def test_too_few_for_a_distance_is_said(tmp_path: Path) -> None:
    write_sounds(tmp_path, {"Rain/a.wav": "a", "Rain/b.wav": "b"})
    text = " ".join(summarise(scan_folder(tmp_path)).split())
    assert "1 held out and 1 to train on: too few for a distance" in text


@FOLDERS
@pytest.mark.parametrize("recipe", ["diffusion", "autoregressive"])
def test_the_report_is_made_without(
    tmp_path: Path, recipe: str, files: Mapping[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="audiogen")
    write_sounds(tmp_path / "sounds", files)
    config = experiment(tmp_path, recipe)
    scores = measured(config)
    assert scores.codec is None
    assert scores.takes is not None
    assert (scores.takes.frechet, scores.takes.mmd) == (None, None)
    assert len(scores.takes.copies.nearest) == 2 * len({Path(name).parent for name in files})
    assert scores.takes.diversity.per_label.keys() == (
        {"rain"} if files is ONE_RECORDING else set()
    )
    if scores.recognised is not None:
        assert scores.recognised.all.takes is not None
        assert scores.recognised.all.real is None
    assert (scores.recognised is not None) == (files is ONE_EACH)
    assert scores.likelihood is not None
    assert scores.likelihood.held_out is None
    assert 1 <= scores.likelihood.train.clips <= len(files)
    page = config.run.report.read_text(encoding="utf-8")
    assert NOTHING_HELD_OUT in page
    assert "which training never saw" not in page
    assert NOTHING_HELD_OUT in caplog.text
    assert "None" not in scoreboard([config.run_dir])


def test_a_codec_alone_has_a_report_too(tmp_path: Path) -> None:
    write_sounds(tmp_path / "sounds", ONE_FILE)
    config = experiment(tmp_path, "rvq")
    scores = measured(config)
    assert (scores.codec, scores.takes, scores.recognised) == (None, None, None)
    assert NOTHING_HELD_OUT in config.run.report.read_text(encoding="utf-8")
    assert "None" not in scoreboard([config.run_dir])


@pytest.mark.parametrize("recipe", ["mel", "flow-fewstep"])
def test_other_recipes_do_without_too(tmp_path: Path, recipe: str) -> None:
    write_sounds(tmp_path / "sounds", {"long.wav": "a"})
    scores = measured(experiment(tmp_path, recipe))
    assert scores.codec is None
    assert (scores.takes is None) == (recipe == "mel")


def test_three_equal_clips_span_no_space(tmp_path: Path) -> None:
    write_sounds(tmp_path / "sounds", {f"Rain/{one}.wav": one for one in "abcde"})
    rain = tmp_path / "sounds" / "Rain"
    for one in "bc":
        (rain / f"{one}.wav").write_bytes((rain / "a.wav").read_bytes())
    sides = [f"Rain/{one}.wav,{'train' if one in 'abc' else 'test'}\n" for one in "abcde"]
    (tmp_path / "sounds" / "metadata.csv").write_text("file,split\n" + "".join(sides))
    scores = measured(experiment(tmp_path, "diffusion"))
    assert scores.codec is not None
    assert scores.takes is not None
    assert scores.takes.frechet is None


def test_nothing_to_train_on_is_an_error_of_prepare(tmp_path: Path) -> None:
    write_sounds(tmp_path / "sounds", ONE_EACH)
    sides = "".join(f"{name},test\n" for name in ONE_EACH)
    (tmp_path / "sounds" / "metadata.csv").write_text("file,split\n" + sides)
    config = experiment(tmp_path, "diffusion")
    with pytest.raises(ValueError, match=r"nothing to train on\n.*hold out every recording"):
        prepare(config)
    assert not config.run.manifest.exists()


def test_demos_are_no_shorter_than_a_take_may_be(tmp_path: Path) -> None:
    write_sounds(tmp_path / "sounds", ONE_EACH)
    config = experiment(tmp_path, "diffusion", "data.clip_seconds=0.3")
    assert measured(config).takes is not None


@pytest.mark.parametrize(("seconds", "is_fine"), [(0.4, False), (12, True), (20, False)])
def test_takes_too_long_to_evaluate_are_an_error_of_the_recipe(
    tmp_path: Path, seconds: float, is_fine: bool
) -> None:
    given = f"evaluate.seconds={seconds}"
    if is_fine:
        assert experiment(tmp_path, "diffusion", given).evaluate.seconds == seconds
    else:
        with pytest.raises(ConfigError, match=rf"{given}: .* makes 0\.5 to 12 s"):
            experiment(tmp_path, "diffusion", given)
    assert experiment(tmp_path, "mel", given).evaluate.seconds == seconds


@pytest.mark.parametrize("count", [2, 3])
def test_too_few_held_out_clips_give_no_distance(tmp_path: Path, count: int) -> None:
    write_sounds(tmp_path / "sounds", {f"Rain/{one}.wav": one for one in "abc"[:count]})
    scores = measured(experiment(tmp_path, "diffusion"))
    assert scores.codec is not None
    assert scores.takes is not None
    assert scores.takes.frechet is None
    assert scores.likelihood is not None
    assert scores.likelihood.held_out is not None


def no_step(patch: pytest.MonkeyPatch) -> str:
    patch.setattr(likelihood, "MAX_STEPS", 1)
    return "no step of the solver meets a tolerance of 0.0001"


def not_finite(patch: pytest.MonkeyPatch) -> str:
    patch.setattr(likelihood, "estimated_trace", lambda out, x, signs: out.sum(dim=(1, 2)) / 0)
    return "the generator's output at t=0.01 is not finite; its training has failed"


def not_finite_later(patch: pytest.MonkeyPatch) -> str:
    def trace(out: Tensor, x: Tensor, signs: Tensor) -> Tensor:
        return 1 / (x.std(dim=(1, 2)) < 2)

    patch.setattr(likelihood, "estimated_trace", trace)
    return "is not finite; its training has failed"


@pytest.mark.parametrize("broken", [no_step, not_finite, not_finite_later])
def test_a_likelihood_that_cannot_be_had_takes_nothing_with_it(
    tmp_path: Path,
    broken: Callable[[pytest.MonkeyPatch], str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_sounds(tmp_path / "sounds", ONE_EACH)
    config = experiment(tmp_path, "diffusion")
    reason = broken(monkeypatch)
    scores = measured(config)
    assert scores.likelihood is None
    assert scores.takes is not None
    [note] = scores.notes
    assert reason in note
    assert note in html.unescape(config.run.report.read_text(encoding="utf-8"))
    [warned] = [one for one in caplog.records if "no likelihood" in one.message]
    assert (warned.levelname, warned.message) == ("WARNING", f"{config.run_dir}: {note}")
    assert "None" not in scoreboard([config.run_dir])


def test_a_likelihood_that_is_asked_for_wrongly_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sounds(tmp_path / "sounds", ONE_FILE)
    monkeypatch.setattr(likelihood, "_check", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measured(experiment(tmp_path, "diffusion"))
