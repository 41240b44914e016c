"""`audiogen texture` and `audiogen redo` as they are typed, on a small model."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from audiogen.audio.io.files import read_audio
from audiogen.cli import main as cli

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fake_text: None
) -> Run:
    """Run the command line in this process; return exit code, stdout and stderr."""
    monkeypatch.setenv(cli.DEBUG_VARIABLE, "")

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["audiogen", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr()
        code = stopped.value.code
        return (code if isinstance(code, int) else 0), said.out, said.err

    return call


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "list.txt"
    path.write_text("rain on a roof\nwind\n", encoding="utf-8")
    return path


def test_from_a_list_to_choices_and_takes_made_anew(
    run: Run, model: Path, listed: Path, tmp_path: Path
) -> None:
    pack = tmp_path / "pack"
    make = ("texture", "make", listed, "--model", model, "--out", pack, "--count", 2)
    code, out, err = run(*make, "--seconds", "0.6-0.9")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["4 takes: 0 were there, 4 made", str(pack / "index.html")]
    code, out, _ = run(*make, "--seconds", "0.6-0.9")
    assert out.splitlines()[0] == "4 takes: 4 were there, 0 made"
    names = sorted(path.stem for path in (pack / "takes").glob("*.wav"))
    choices = {"takes": {names[0]: {"status": "keep", "star": False, "note": "a"}}}
    (pack / "selection.json").write_text(json.dumps(choices), encoding="utf-8")
    code, out, _ = run("texture", "redo", pack, "--kept", "--vary", 2, "--amount", 0.5)
    assert (code, out.splitlines()[0]) == (0, "2 takes: 0 were there, 2 made")
    assert len(list((pack / "takes").glob("*.wav"))) == 6
    assert json.loads((pack / "selection.json").read_text(encoding="utf-8")) == choices
    assert run("texture", "page", pack) == (0, f"{pack / 'index.html'}\n", "")
    take = pack / "takes" / f"{names[0]}.wav"
    code, out, _ = run("redo", take)
    again = pack / "takes" / "redo" / take.name
    assert (code, out.splitlines()) == (0, [str(again), "bit-equal"])
    assert again.read_bytes() == take.read_bytes()


def test_a_take_that_differs_is_an_exit_code(run: Run, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "takes"
    assert run("sample", model, "--prompt", "rain", "--seconds", 0.6, "--out", out)[0] == 0
    [take] = out.glob("*.wav")
    note = json.loads(take.with_suffix(".json").read_text(encoding="utf-8"))
    take.with_suffix(".json").write_text(json.dumps({**note, "seed": 99}), encoding="utf-8")
    code, said, _ = run("redo", take, "--model", model)
    assert code == 1
    assert "samples differ by up to" in said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["make", "none.txt", "--model", "m", "--out", "p"], 2, "none.txt: no such file"),
        (["make", "LIST", "--model", "none", "--out", "p"], 1, "none: no finished model here"),
        (["make", "LIST", "--model", "m", "--out", "p", "--seconds", "long"], 2, "seconds"),
        (["page", "none"], 1, "none: no takes here"),
        (["serve", "none"], 1, "none: no index.html here"),
        (["redo", "none", "--steps", "3"], 2, "give --kept or --starred"),
        (["redo", "none", "--kept"], 1, "say how they are made again"),
        (["redo", "none", "--kept", "--bpm", "90"], 2, "give both --bpm and --bars"),
        (["redo", "none", "--kept", "--steps", "3"], 1, "none: no take is kept"),
    ],
)
def test_mistakes_are_said_in_few_lines(
    run: Run,
    listed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [str(listed) if one == "LIST" else one for one in arguments]
    found, out, err = run("texture", *given)
    assert (found, out) == (code, "")
    assert words in " ".join(err.split())
    assert len(err.splitlines()) <= 5
    assert not (tmp_path / "p").exists()


def test_a_server_is_ended_by_ctrl_c(run: Run, model: Path, listed: Path, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    assert run("texture", "make", listed, "--model", model, "--out", pack)[0] == 0
    command = [sys.executable, "-m", "audiogen", "texture", "serve", str(pack), "--no-browser"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # What a shell starts in the background ignores it, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as server:
        try:
            assert server.stdout is not None
            address = re.match(r"(http://127\.0\.0\.1:\d+/) ", server.stdout.readline())
            assert address is not None
            with urllib.request.urlopen(address[1], timeout=10) as answer:  # noqa: S310 - our own
                assert answer.status == 200
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=20) == 0
        finally:
            server.kill()


CHILD = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import fake_text, audiogen.pipeline
from audiogen.cli.main import main
audiogen.pipeline.TextEncoder = fake_text.FakeTextEncoder
main()
"""


@pytest.mark.slow
def test_two_launched_processes_make_the_takes_of_one(
    run: Run, model: Path, listed: Path, tmp_path: Path
) -> None:
    child = tmp_path / "child.py"
    child.write_text(CHILD, encoding="utf-8")
    arguments = [
        "texture",
        "make",
        str(listed),
        "--model",
        str(model),
        "--count",
        "5",
        "--seconds",
        "0.6-1.2",
        "--batch-size",
        "2",
        "--out",
    ]
    assert run(*arguments, tmp_path / "one")[0] == 0
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        str(child),
        str(ROOT / "tests"),
        *arguments,
        str(tmp_path / "two"),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("10 takes: 0 were there, 10 made") == 1
    names = sorted(path.name for path in (tmp_path / "one" / "takes").glob("*.wav"))
    assert names == sorted(path.name for path in (tmp_path / "two" / "takes").glob("*.wav"))
    for name in names:
        one, two = (read_audio(tmp_path / folder / "takes" / name)[0] for folder in ("one", "two"))
        assert float((one - two).abs().max()) <= 1e-5


@pytest.mark.parametrize("calls", [2, 9, 14])
def test_a_full_disk_is_told_in_four_lines_and_what_is_made_stays(
    calls: int,
    run: Run,
    model: Path,
    listed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pack, fsync, asked = tmp_path / "pack", os.fsync, []
    make = ("texture", "make", listed, "--model", model, "--out", pack, "--count", 2)

    def full_later(descriptor: int) -> None:
        asked.append(descriptor)
        if len(asked) > calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_later)
        code, _, said = run(*make, "--seconds", "0.6-0.9")
    assert code == 1
    assert len(said.splitlines()) <= cli.ERROR_LINES
    for words in (str(pack), "No space left on device", "make room", "the command again"):
        assert words in said
    made = {path: path.read_bytes() for path in pack.rglob("*.wav")}
    assert all(path.with_suffix(".json").exists() for path in made)
    code, out, _ = run(*make, "--seconds", "0.6-0.9")
    assert (code, out.splitlines()[0]) == (
        0,
        f"4 takes: {len(made)} were there, {4 - len(made)} made",
    )
    assert all(path.read_bytes() == data for path, data in made.items())


@pytest.mark.parametrize("command", ["sample", "vary", "split"])
def test_a_disk_that_refuses_a_sound_is_told_in_four_lines(
    command: str, run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("sample", model, "--prompt", "rain", "--seconds", 0.6, "--out", tmp_path / "takes")
    assert run(*asked)[0] == 0
    [take] = (tmp_path / "takes").glob("*.wav")
    out = tmp_path / "new"
    arguments = {
        "sample": (*asked[:-1], out),
        "vary": ("edit", "vary", take, "--model", model, "--out", out),
        "split": ("texture", "split", take, "--out", out),
    }[command]

    def refuse(descriptor: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        code, _, said = run(*arguments)
    assert code == 1
    assert len(said.splitlines()) <= cli.ERROR_LINES
    for words in (str(out), os.strerror(errno.EDQUOT), "make room", "the command again"):
        assert words in said
    assert list(out.rglob("*.wav")) == []
