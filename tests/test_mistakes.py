"""Forty mistakes of users' hands: each ends in a few lines that say what, where and how to mend."""

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiogen.cli import main as cli
from audiogen.cli.options import MAX_TAKES
from audiogen.experiment import load_config
from audiogen.limits import MAX_SEED
from audiogen.schema import dump_config

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "recipes" / "tiny" / "diffusion.yaml"
MOST_LINES = 4

Run = Callable[[str], tuple[int, str, str]]


@dataclass(frozen=True)
class Mistake:
    """A command as it is typed, its exit code, and what the message must name."""

    command: str
    code: int
    names: tuple[str, ...]


def mistake(command: str, code: int, *names: str) -> Mistake:
    return Mistake(command, code, names)


MISTAKES = (
    # a text without quotes, a number beyond its range
    mistake("sample run --prompt light rain", 2, "(rain)", "quotes", '"light rain"'),
    mistake("edit vary take.wav --model run --prompt light rain", 2, "(rain)", "quotes"),
    mistake("sample run", 2, "--prompt TEXT", "--prompts FILE"),
    mistake("sample run --prompt a --seconds 500", 2, "--seconds", "500 s is too long", "12 s"),
    mistake("sample run --prompt a --seconds 0.1", 2, "--seconds", "0.1 s is too short", "0.5"),
    mistake("sample run --prompt a --seconds nan", 2, "--seconds"),
    mistake("sample run --prompt a --seconds five", 2, "--seconds", "number"),
    mistake("sample run --prompt a --loop --bpm 1 --bars 10", 2, "2400 s is too long", "12 s"),
    mistake("sample run --prompt a --loop --bpm 90", 2, "--bpm and --bars"),
    mistake(f"sample run --prompt a --seed {MAX_SEED + 1}", 2, "--seed", str(MAX_SEED)),
    mistake("sample run --prompt a --seed -1", 2, "--seed", "0"),
    mistake("sample run --prompt a --count 0", 2, "--count", "1"),
    mistake(f"sample run --prompt a --count {10**12}", 2, "--count", str(MAX_TAKES)),
    mistake("sample run --prompt a --steps 0", 2, "--steps", "1"),
    mistake("sample run --prompt a --guidance-scale -2", 2, "--guidance-scale"),
    mistake("sample run --prompt a --setting stpes=3", 2, "stpes", "did you mean", "steps"),
    mistake("sample run --prompt a --setting steps", 2, "steps", "key.path=value"),
    mistake("sample run --prompt a --control brightness", 2, "brightness", "NAME=VALUE"),
    mistake("sample run --prompt a --control brightness=2500", 2, "brightness"),
    mistake("sample run --promt a", 2, "--promt", "--prompt"),
    mistake("sample run --prompts lst.txt", 2, "lst.txt", "did you mean list.txt"),
    mistake("sample run --prompts empty.txt", 2, "empty.txt", "no prompt"),
    # a folder that is not there, is no run, or is not done
    mistake("sample rnu --prompt a", 1, "rnu", "did you mean run?"),
    mistake("sample sounds --prompt a", 1, "sounds", "generator/model", "audiogen train"),
    mistake("sample half --prompt a", 1, "half", "codec done, generator at step 20 of 50"),
    mistake("evaluate half", 1, "half", "codec done, generator at step 20 of 50"),
    mistake("evaluate rnu", 2, "rnu", "did you mean run?"),
    mistake("compare", 2, "RUN"),
    mistake("compare rnu", 1, "rnu", "did you mean run?", "audiogen evaluate"),
    mistake("compare half", 1, "half: not evaluated", "generator at step 20 of 50"),
    mistake("codec encode take.wav --model rnu", 1, "rnu", "did you mean run?"),
    # files and places
    mistake("sample run --prompt a --seconds 0.5 --out take.wav", 1, "take.wav", "a file"),
    mistake("sample run --prompt a --seconds 0.5 --out take.wav/x", 1, "take.wav", "a file"),
    mistake("sample run --prompt a --seconds 0.5 --out locked/x", 1, "locked", "may write"),
    mistake("redo tkae.wav", 1, "tkae.wav", "did you mean take.wav?"),
    mistake("redo take.wav", 1, "take.wav", "JSON file beside it"),
    mistake("whois tkae.wav", 1, "tkae.wav", "did you mean take.wav?"),
    mistake("whois take.wav", 1, "take.json", "side by side"),
    mistake("whois notes.txt", 1, "notes.txt"),
    # edits
    mistake("edit vary take.wav --model run --amount 30", 2, "--amount", "less than or equal to 1"),
    mistake("edit vary take.wav --model run --amount nan", 2, "--amount"),
    mistake("edit vary take.wav --model run --seed 9999999999999999999", 2, "--seed"),
    mistake("edit vary tkae.wav --model run", 1, "tkae.wav", "did you mean take.wav?"),
    mistake("edit vary notes.txt --model run", 1, "notes.txt"),
    mistake("codec encode take.wav", 2, "--model"),
    mistake("edit inpaint take.wav --model run --region 2:1", 2, "--region", "2:1", "START"),
    mistake("edit inpaint take.wav --model run --region 0:inf", 2, "--region", "0:inf", "START"),
    mistake("edit inpaint take.wav --model run --region 1-2", 2, "--region", "1-2", "1.2:2.0"),
    mistake("edit inpaint take.wav --model run --region 0.5:9", 1, "0.5:9", "0 to 1.000 s"),
    mistake("edit inpaint take.wav --model run", 2, "--region"),
    mistake("edit extend take.wav --model run --seconds 0.5", 1, "0.5"),
    mistake("edit extend take.wav --model run --seconds 500", 1, "499.5 s", "12 s at the most"),
    mistake("edit extend take.wav --model run --seconds inf", 2, "--seconds", "finite"),
    mistake("edit transpose take.wav --model run", 2, "--semitones"),
    mistake("edit transpose take.wav --model run --semitones 25", 2, "--semitones", "24"),
    mistake("edit transpose take.wav --model run --semitones nan", 2, "--semitones"),
    mistake("edit morph take.wav --model run", 2, "SECOND"),
    mistake("edit morph take.wav tkae.wav --model run", 1, "tkae.wav", "did you mean take.wav?"),
    mistake("edit morph take.wav take.wav --model run --steps 1", 2, "--steps", "2"),
    mistake("edit blur take.wav", 2, "blur"),
    # textures
    mistake("texture split tkae.wav", 1, "tkae.wav", "did you mean take.wav?"),
    mistake("texture split take.wav --by drums", 2, "--by", "drums", "hpss"),
    mistake("texture split take.wav --stems-model htdemucs", 1, "htdemucs", "--by stems"),
    mistake("texture make lst.txt --model run --out p", 2, "lst.txt", "did you mean list.txt?"),
    mistake("texture make list.txt --model rnu --out p", 1, "rnu", "did you mean run?"),
    mistake("texture make list.txt --model run --out p --seconds 10-5", 2, "shorter to the longer"),
    mistake("texture make list.txt --model run --out p --seconds 500", 2, "seconds=500", "12 s"),
    mistake("texture make take.wav --model run --out p", 2, "take.wav", ".csv"),
    mistake("texture make list.txt --model run --out take.wav", 1, "take.wav", "a file"),
    mistake("texture make list.txt --model run", 2, "--out"),
    mistake("texture redo pack --kept --vary 1 --amount 30", 2, "--amount", "equal to 1"),
    mistake("texture redo pack --kept --steps 3", 1, "pack", "no take is kept"),
    mistake("texture redo pack --steps 3", 2, "--kept or --starred"),
    mistake("texture redo pcak --kept --steps 3", 1, "pcak", "did you mean pack?"),
    mistake("texture serve pack --port PORT --no-browser", 1, "PORT", "in use", "--port"),
    mistake("texture serve pack --port 99999", 2, "--port", "65535"),
    mistake("texture serve pcak", 1, "pcak", "did you mean pack?"),
    mistake("texture export pcak --to out", 1, "pcak", "did you mean pack?"),
    mistake("texture export pack --to sounds", 1, "sounds"),
    mistake("texture export pack --to out --format mp3", 2, "--format", "mp3", "wav24"),
    mistake("texture export pack", 2, "--to"),
    # data
    mistake("data check sonuds", 1, "sonuds", "did you mean sounds?"),
    mistake("data check take.wav", 1, "take.wav", "folder"),
    mistake("data fetch esc500 new", 2, "esc500", "esc50"),
    mistake("data fetch esc50 sounds", 1, "sounds"),
    mistake("data forget 17 --runs rnus", 1, "rnus", "--runs"),
    mistake("data forget ''", 2, "argument 3", "empty"),
    mistake("data check ''", 2, "argument 3", "empty", "the current folder is ."),
    mistake("sample '' --prompt a", 2, "argument 2", "empty"),
    mistake("sample run --prompt a --out ''", 2, "--out", "empty"),
    mistake("texture split take.wav --out=", 2, "--out", "empty"),
    # recipes
    mistake(f"config {TINY.with_name('difusion.yaml')}", 2, "did you mean", "diffusion.yaml?"),
    mistake(f"config {TINY} generator.dmi=3", 2, "generator.dmi", "did you mean generator.dim?"),
    mistake(f"config {TINY} seed={MAX_SEED + 1}", 2, "seed", str(MAX_SEED)),
    mistake("config take.wav", 2, "take.wav"),
    mistake("config", 2, "recipe"),
    mistake(f"prepare {TINY} data.path= run_dir=new", 2, "data.path=", "data.path=null"),
    mistake(f"prepare {TINY} data.path='\"\"' run_dir=new", 2, "data.path", "empty"),
    mistake(f"prepare {TINY} data.path=sonuds run_dir=new", 1, "sonuds", "did you mean sounds?"),
    mistake(f"prepare {TINY} --licence-policy free run_dir=new", 2, "licence_policy", "'cc0'"),
    mistake(f"train {TINY} data.path sounds", 2, "data.path", "key.path=value"),
    mistake(f"train {TINY} run_dir=take.wav", 1, "take.wav", "a file"),
    mistake(f"train {TINY} codec.type=saved codec.path=rnu run_dir=new", 2, "codec.path", "rnu"),
    mistake(f"trian {TINY}", 2, "trian"),
    # doctor
    mistake("doctor all", 2, "(all)"),
    mistake("doctor --fix", 2, "--fix"),
)


TYPED = (  # what only the settings of a model or a recipe can tell, whose types need torch
    "--setting stpes",
    "--control",
    "--bpm 1 ",
    "empty.txt",
    "generator.dmi",
    f"config {TINY} seed=",
    "data.path='",
    "--licence-policy",
    "codec.type=saved",
    "--seconds 10-5",
    "make list.txt --model run --out p --seconds 500",
    "make take.wav",
)

CHILD = """
import json, sys
from audiogen.cli.main import main
for words in json.load(sys.stdin):
    sys.argv = ["audiogen", *words]
    try:
        main()
    except SystemExit as stopped:
        assert stopped.code == 2, (words, stopped.code)
    assert "torch" not in sys.modules, words
"""


@pytest.fixture(scope="session")
def port() -> Iterator[int]:
    """Return a port of this machine that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """Return a folder with a run, a run that was stopped, sounds, a take, a list and a pack."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "run").symlink_to(model, target_is_directory=True)
    half = folder / "half"
    (half / "codec" / "model").mkdir(parents=True)
    for step in (10, 20):
        (half / "generator" / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    config = load_config(TINY, ["train.generator.steps=50"])
    (half / "config.yaml").write_text(dump_config(config), encoding="utf-8")

    noise = np.random.default_rng(0).standard_normal(16_000) / 10
    for place in (folder / "take.wav", folder / "sounds" / "rain.wav", folder / "pack" / "a.wav"):
        place.parent.mkdir(exist_ok=True)
        soundfile.write(place, noise, 16_000)
    (folder / "pack" / "index.html").write_text("<p>", encoding="utf-8")
    (folder / "list.txt").write_text("rain\nwind\n", encoding="utf-8")
    (folder / "empty.txt").write_text("\n", encoding="utf-8")
    (folder / "notes.txt").write_text("no sound\n", encoding="utf-8")
    return folder


@pytest.fixture
def run(
    desk: Path,
    port: int,
    fake_text: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run the command line in this process, in the desk; return exit code, stdout and stderr."""
    monkeypatch.setenv(cli.DEBUG_VARIABLE, "")
    monkeypatch.chdir(desk)
    _lock(monkeypatch, desk / "locked")

    def call(command: str) -> tuple[int, str, str]:
        words = shlex.split(command.replace("PORT", str(port)))
        monkeypatch.setattr(sys, "argv", ["audiogen", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr()
        code = stopped.value.code
        return (code if isinstance(code, int) else 0), said.out, said.err

    return call


def _lock(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let nobody write in a folder, not even who may write everywhere."""
    make = os.mkdir

    def refuse(path: str | Path, *rest: int) -> None:
        if str(folder) in str(Path(path).absolute()):
            raise PermissionError(13, "Permission denied", str(path))
        make(path, *rest)

    monkeypatch.setattr(os, "mkdir", refuse)


def test_there_are_forty_mistakes_and_every_command_has_one() -> None:
    assert len({one.command for one in MISTAKES}) == len(MISTAKES) >= 40
    told = {" ".join(one.command.split()[:2]) for one in MISTAKES}
    told |= {name.partition(" ")[0] for name in told}
    edits = [f"edit {name}" for name in ("vary", "inpaint", "extend", "morph")]
    textures = [f"texture {name}" for name in ("make", "redo", "serve", "split", "export")]
    data = [f"data {name}" for name in ("check", "fetch", "forget")]
    others = [
        "prepare",
        "train",
        "evaluate",
        "sample",
        "whois",
        "config",
        "compare",
        "doctor",
        "redo",
        "codec",
    ]
    assert {*edits, *textures, *data, *others} <= told


@pytest.mark.parametrize("wrong", MISTAKES, ids=lambda one: one.command.replace(str(ROOT), ""))
def test_a_mistake_is_told_in_four_lines(run: Run, port: int, desk: Path, wrong: Mistake) -> None:
    code, out, err = run(wrong.command)
    assert (code, out) == (wrong.code, ""), err
    lines = err.splitlines()
    assert 1 <= len(lines) <= MOST_LINES, err
    assert "Traceback" not in err
    said = " ".join(err.split())
    missing = [name for name in wrong.names if name.replace("PORT", str(port)) not in said]
    assert not missing, err


def test_mistakes_in_arguments_are_told_before_torch_is_imported(desk: Path) -> None:
    commands = [
        shlex.split(one.command)
        for one in MISTAKES
        if one.code == cli.EXIT_USAGE and not any(part in one.command for part in TYPED)
    ]
    assert len(commands) >= 40
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(commands),
        cwd=desk,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
