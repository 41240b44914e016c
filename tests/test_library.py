"""Models that come with audiogen are found by their names, wherever a model is asked for."""

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import soundfile
import torch
from fake_text import FakeTextEncoder
from tool_modules import load_tool

from audiogen import Pipeline
from audiogen.cli import main as cli
from audiogen.codecs import load_codec
from audiogen.codecs.saved import find_codec
from audiogen.conditioning.vocabulary import Vocabulary
from audiogen.library import in_library, library_folders
from audiogen.model_folder import read_model
from audiogen.run_folder import WEIGHTS, find_model
from audiogen.storage import read_tensors

Run = Callable[..., tuple[int, str, str]]
SOUNDS = (("rain", ["heavy rain"]), ("rain", []), ("bell", ["a small bell"]))


@pytest.fixture
def base(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_text: None) -> Path:
    """Put a small model that has met a few words into a library, as `base`, in bfloat16."""
    library = tmp_path / "library"
    monkeypatch.setattr("audiogen.library.LIBRARY", library)
    words = Vocabulary.of(SOUNDS, FakeTextEncoder())  # type: ignore[arg-type]
    small = replace(read_model(model), vocabulary=words)
    Pipeline(small).save_pretrained(library / "base", dtype=torch.bfloat16)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return library / "base"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process; return exit code, stdout and stderr."""
    monkeypatch.setenv(cli.DEBUG_VARIABLE, "")

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["audiogen", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said, code = capsys.readouterr(), stopped.value.code
        return (code if isinstance(code, int) else int(code is not None)), said.out, said.err

    return call


def test_a_name_is_a_model_and_a_path_is_not(base: Path) -> None:
    assert library_folders() == [base]
    assert in_library(Path("base")) == base == find_model(Path("base"))
    assert find_codec(Path("base")) == base / "codec"
    for path in (Path("./runs/base"), base.parent / "base", Path("bas"), Path("base.wav")):
        assert in_library(path) is None
    Path("base").mkdir()  # what is there is what was typed
    assert in_library(Path("base")) is None


def test_an_error_names_the_models_there_are(base: Path) -> None:
    with pytest.raises(FileNotFoundError, match="with audiogen came: base") as caught:
        find_model(Path("bass"))
    assert len(str(caught.value).splitlines()) <= 4


def test_weights_in_half_precision_are_half_the_size(base: Path, model: Path) -> None:
    whole = find_model(model)
    narrow, wide = (read_tensors(folder / WEIGHTS) for folder in (base, whole))
    assert {one.dtype for one in narrow.values() if one.dim() > 1} == {torch.bfloat16}
    assert {one.dtype for one in narrow.values() if one.dim() <= 1} == {torch.float32}
    matrices = sum(one.nbytes for one in wide.values() if one.dim() > 1)
    assert sum(one.nbytes for one in narrow.values() if one.dim() > 1) == matrices / 2
    for name, tensor in narrow.items():
        torch.testing.assert_close(tensor.float(), wide[name].float(), rtol=2**-8, atol=1e-30)
    for parameter in (
        *load_codec(base / "codec").parameters(),
        *read_model(base).generator.parameters(),
    ):
        assert parameter.dtype == torch.float32  # what computes is as wide as ever


def test_takes_are_made_and_made_again_by_name(base: Path, run: Run) -> None:
    code, out, err = run("sample", "base", "--prompt", "rain", "--seconds", 0.6, "--seed", 3)
    assert (code, err) == (0, "")
    take = Path(out.strip())
    assert take.parent == Path("takes")
    assert soundfile.info(take).samplerate == 16_000
    assert json.loads(take.with_suffix(".json").read_text())["model"] == "small"
    code, out, _ = run("redo", take)
    assert code == 0
    Path("base").mkdir()  # hides the name, and not what made the take
    assert run("redo", take)[0] == 0
    Path("base").rmdir()
    code, out, _ = run("whois", take)
    assert code == 0
    assert f"found     {base}\n" in out
    code, out, _ = run("edit", "vary", take, "--count", 1)  # of base, where no model is named
    assert (code, Path(out.strip()).parent) == (0, Path("edits"))


def test_a_pack_is_made_by_name(base: Path, run: Run, tmp_path: Path) -> None:
    prompts = tmp_path / "list.txt"
    prompts.write_text("rain\nbell\n", encoding="utf-8")
    make = ("texture", "make", prompts, "--model", "base", "--out", "pack", "--seconds", "0.6-0.8")
    for _ in range(2):  # the second finds all made
        code, _, err = run(*make)
        assert code == 0, err
    assert len(list(Path("pack").rglob("*.wav"))) == 2


def test_a_prompt_without_a_known_word_is_doubted_once(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = Pipeline.from_pretrained("base")
    with caplog.at_level(logging.WARNING, "audiogen"):
        pipeline(["rains", "", "small thing"], seconds=0.6, seeds=[1, 2, 3])
        assert not caplog.text
        for seed in (4, 5):
            pipeline(["xqzzy"], seconds=0.6, seeds=[seed])
    (said,) = [one.getMessage() for one in caplog.records]
    assert said.startswith("prompt 'xqzzy': no word of it was said of a sound that small learnt")
    assert "rain" in said
    assert "bell" in said


def test_the_models_and_their_words_are_listed(base: Path, run: Run, model: Path) -> None:
    code, out, _ = run("models", "--runs", model.parent)
    assert code == 0
    assert out.startswith("base: flow, 16 kHz, mono, takes of 0.5 to 12 s\n")
    assert "2 labels: rain (2), bell (1)\n" in out
    assert str(model) in out
    assert "its words were not counted" in out  # of the model without a list
    code, out, _ = run("models", "base")
    assert "4 words: rain (2), bell (1), heavy (1), small (1)" in out
    code, _, err = run("models", "no-such-model")
    assert code == 1
    assert "base" in err


@pytest.fixture
def tool() -> ModuleType:
    return load_tool("ship")


def test_a_model_is_shipped_whole_or_not_at_all(
    base: Path, tool: ModuleType, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="words were not counted"):
        tool.ship(model, "other")
    finished = base.parent.parent / "finished"
    documents = {"README.md": "The card.\n", "ATTRIBUTION.csv": "path\n"}
    Pipeline.from_pretrained("base").save_pretrained(finished, documents)
    monkeypatch.setattr(tool, "MOST_MB", 0.001)
    with pytest.raises(SystemExit, match="MB at most"):
        tool.ship(finished, "other")
    assert library_folders() == [base]
    monkeypatch.setattr(tool, "MOST_MB", 45.0)
    tool.ship(finished, "other")
    assert library_folders() == [base, base.with_name("other")]
    card = (base.with_name("other") / "README.md").read_text(encoding="utf-8")
    assert card.startswith("The card.\n")
    assert "CC-BY-4.0" in card
    assert (base.with_name("other") / "ATTRIBUTION.csv").read_text() == "path\n"
    assert Pipeline.from_pretrained("other").model.vocabulary is not None


def test_no_model_is_said_so(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("audiogen.library.LIBRARY", tmp_path / "nowhere")
    code, out, _ = run("models", "--runs", tmp_path / "runs")
    assert code == 0
    assert out.startswith("no model came with audiogen")
