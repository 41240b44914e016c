"""The command line: what it passes on, what it prints when something is wrong, what it imports."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import audiogen
from audiogen.cli import main as cli
from audiogen.conditioning.controls import MEASURES
from audiogen.generators import TokenSamplingConfig
from audiogen.schema import Config, ConfigError
from audiogen.take_request import TakeRequest, Tempo
from audiogen.takes.sources import EditRequest

CODINGS = ("encode", "decode")
COMMANDS = (
    "config",
    "prepare",
    "train",
    "evaluate",
    "compare",
    "sample",
    "redo",
    "edit",
    "codec",
    "data",
    "texture",
    "doctor",
    "models",
    "whois",
)
DATA = ("check", "fetch", "forget", "pack")
EDITS = ("vary", "inpaint", "extend", "morph")
TEXTURES = ("make", "page", "serve", "redo", "split", "export")


class FakeConfig(Config):
    recipe: str
    overrides: tuple[str, ...]


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand in for every function that a command calls; return what they were called with."""
    called: dict[str, Any] = {}

    def stand_in(function: str, answer: Any) -> None:
        def call(*given: Any, **settings: Any) -> Any:
            called[function.rpartition(".")[2]] = (*given, settings) if settings else given
            return answer

        monkeypatch.setattr(f"audiogen.{function}", call)

    def load(recipe: Path, overrides: Any, **_: Any) -> FakeConfig:
        return FakeConfig(recipe=str(recipe), overrides=tuple(overrides))

    takes = [Path("a.wav"), Path("b.wav")]
    model = SimpleNamespace(config=SimpleNamespace(sample=TokenSamplingConfig()))
    monkeypatch.setattr("audiogen.experiment.load_config", load)
    monkeypatch.setattr("audiogen.trees.read_derived", lambda _: {})
    monkeypatch.setattr("audiogen.run_folder.find_model", lambda path: path)
    monkeypatch.setattr("audiogen.run_folder.training_window", lambda _: 5.0)
    stand_in("training.preparation.prepare", "3 sounds used")
    stand_in("training.stages.train", Path("runs/x/generator/model"))
    stand_in("evaluation.evaluate.evaluate", Path("runs/x/report.html"))
    stand_in("pipeline.Pipeline.from_pretrained", model)
    stand_in("takes.making.write_takes", takes)
    stand_in("takes.editing.vary", takes)
    stand_in("takes.editing.inpaint", takes[0])
    stand_in("takes.editing.extend", takes[0])
    stand_in("takes.morph.morph", takes)
    stand_in("codecs.token_files.transcode.encode_sounds", ["a.tokens: 1 s"])
    stand_in("codecs.token_files.transcode.decode_sounds", ["a.wav: 1 s", "b.wav: 2 s"])
    return called


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process; return exit code, stdout and stderr."""
    monkeypatch.setenv(cli.DEBUG_VARIABLE, "")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["audiogen", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr()
        code = stopped.value.code
        return (code if isinstance(code, int) else 0), said.out, said.err

    return call


@pytest.mark.parametrize(
    ("given", "wanted"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_do_not_spin_long_unless_somebody_wants_that(
    run: Run, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], wanted: str | None
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert run("--version")[0] == 0
    assert os.environ.get("GOMP_SPINCOUNT") == wanted


def test_config_prints_yaml(run: Run, calls: dict[str, Any]) -> None:
    assert run("config", "r.yaml", "a=1", "b.c=2") == (
        0,
        "recipe: r.yaml\noverrides:\n- a=1\n- b.c=2\n",
        "",
    )


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("prepare", "3 sounds used\n"),
        ("train", "model: runs/x/generator/model\n"),
        ("evaluate", "report: runs/x/report.html\n"),
    ],
)
def test_a_stage_gets_the_config(
    run: Run, calls: dict[str, Any], command: str, printed: str
) -> None:
    assert run(command, "r.yaml", "run_dir=x") == (0, printed, "")
    device = ("auto",) if command == "evaluate" else ()
    assert calls == {command: (FakeConfig(recipe="r.yaml", overrides=("run_dir=x",)), *device)}


@pytest.mark.parametrize("command", ["prepare", "train"])
@pytest.mark.parametrize("spelling", ["--licence-policy", "--license-policy"])
def test_options_on_licences_are_settings(
    run: Run, calls: dict[str, Any], command: str, spelling: str
) -> None:
    assert run(command, "r.yaml", "seed=1", spelling, "research", "--i-own-these")[0] == 0
    overrides = ("seed=1", "data.licence_policy=research", "data.i_own_these=true")
    assert calls == {command: (FakeConfig(recipe="r.yaml", overrides=overrides),)}


def test_forget_says_when_something_could_not_be_searched(run: Run, tmp_path: Path) -> None:
    code, printed, _ = run("data", "forget", "17", "--runs", str(tmp_path))
    assert (code, printed.splitlines()[0]) == (0, "No model here was trained on 17.")
    (tmp_path / "manifest.jsonl").write_text("{")
    code, printed, _ = run("data", "forget", "17", "--runs", str(tmp_path))
    assert code == 1
    assert "Could not be searched" in printed


def test_whois_passes_its_options_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "audiogen.provenance.whois.whois", lambda file, **places: f"{file} {places}"
    )
    places = {"model": Path("runs/x"), "runs": Path("runs")}
    assert run("whois", "a.wav", "--model", "runs/x") == (0, f"a.wav {places}\n", "")


def test_evaluate_takes_a_run_where_it_is_now(
    run: Run, calls: dict[str, Any], tmp_path: Path
) -> None:
    assert run("evaluate", str(tmp_path), "evaluate.seed=3")[0] == 0
    overrides = (f"run_dir={tmp_path}", "evaluate.seed=3")
    assert calls["evaluate"] == (FakeConfig(recipe=str(tmp_path), overrides=overrides), "auto")


def test_sample_passes_its_options_on(run: Run, calls: dict[str, Any], tmp_path: Path) -> None:
    listed = tmp_path / "themes.txt"
    listed.write_text("sea waves\n\n  Bolivia \n", encoding="utf-8")
    options = "--seconds 8 --count 4 --seed 7 --guidance-scale 2.5 --batch-size 2 --device cuda:1"
    options += " --setting temperature=0.9 --setting top_k=20"
    options += " --control brightness=2500 --control key=F#min"
    given = ["--prompt", "rain", "--prompt", "", "--prompts", str(listed), "--out", "takes"]
    assert run("sample", "runs/x", *given, *options.split()) == (0, "a.wav\nb.wav\n", "")
    assert calls["from_pretrained"] == (Path("runs/x"), {"device": "cuda:1"})
    _, requests, place, batch_size = calls["write_takes"]
    assert (place, batch_size) == (Path("takes"), 2)
    prompts = ("rain", "", "sea waves", "Bolivia")
    assert [(one.prompt, one.seed) for one in requests] == [
        (prompt, seed) for prompt in prompts for seed in range(7, 11)
    ]
    sampling = TokenSamplingConfig(guidance_scale=2.5, temperature=0.9, top_k=20)
    controls = {"brightness": 2500.0, "key": "F#min"}
    alike = TakeRequest(prompt="", seed=0, seconds=8.0, sampling=sampling, controls=controls)
    assert {one.batch_key for one in requests} == {alike.batch_key}


def test_sample_defaults_leave_the_choice_to_the_recipe(run: Run, calls: dict[str, Any]) -> None:
    assert run("sample", "runs/x", "--prompt", "")[0] == 0
    _, requests, place, _ = calls["write_takes"]
    plain = TakeRequest(prompt="", seed=0, seconds=5.0, sampling=TokenSamplingConfig())
    assert (requests, place) == ([plain], Path("runs/x/takes"))


def test_the_help_of_sample_names_every_control_with_its_unit(run: Run) -> None:
    told = " ".join(run("sample", "--help")[1].split())
    for name, measure in MEASURES.items():
        assert f" {name}" in told
        assert measure.unit in told


@pytest.mark.parametrize("wrong", ["brightness", "=3", "brightness="])
def test_an_ill_formed_control_is_a_mistake_of_usage(
    run: Run, calls: dict[str, Any], wrong: str
) -> None:
    code, _, told = run("sample", "runs/x", "--prompt", "a", "--control", wrong)
    assert code == cli.EXIT_USAGE
    assert f"control {wrong!r}: expected NAME=VALUE, such as brightness=2500" in told


def test_compare_prints_the_table(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "audiogen.evaluation.scoreboard.scoreboard",
        lambda runs: f"table of {[str(run) for run in runs]}",
    )
    assert run("compare", "runs/a", "runs/b") == (0, "table of ['runs/a', 'runs/b']\n", "")


def test_sample_makes_loops_of_seconds_or_bars(run: Run, calls: dict[str, Any]) -> None:
    given = ["sample", "runs/x", "--prompt", "a", "--negative-prompt", "music", "--loop"]
    assert run(*given, "--seconds", "0.3")[0] == 0
    [request] = calls["write_takes"][1]
    assert (request.negative_prompt, request.loop, request.tempo) == ("music", True, None)
    assert request.seconds == 0.3
    assert run(*given, "--bpm", "90", "--bars", "4", "--beats-per-bar", "3")[0] == 0
    [request] = calls["write_takes"][1]
    assert request.tempo == Tempo(bpm=90, bars=4, beats_per_bar=3)
    assert request.seconds == request.tempo.seconds
    code, _, told = run(*given, "--to-end")
    assert (code, "a loop has no end" in told) == (cli.EXIT_USAGE, True)


@pytest.mark.parametrize(
    ("command", "passed", "settings"),
    [
        ("vary a.wav --amount 0.5 --count 3", ["a.wav"], {"amount": 0.5, "count": 3}),
        ("vary a.wav", ["a.wav"], {"amount": 0.3, "count": 1}),
        (
            "inpaint a.wav --region 1.2:2 --region :0.5",
            ["a.wav"],
            {"regions": ["1.2:2", ":0.5"]},
        ),
        ("extend a.wav --seconds 12 --before", ["a.wav"], {"seconds": 12.0, "before": True}),
        ("morph a.wav b.wav --steps 5", ["a.wav", "b.wav"], {"count": 5}),
    ],
)
def test_edits_pass_their_options_on(
    run: Run, calls: dict[str, Any], command: str, passed: list[str], settings: dict[str, Any]
) -> None:
    name, *rest = command.split()
    code, out, _ = run("edit", name, *rest, "--model", "runs/x", "--seed", "3", "--prompt", "rain")
    assert (code, out) == (0, "a.wav\nb.wav\n" if name in {"vary", "morph"} else "a.wav\n")
    request = EditRequest(out=Path("runs/x/edits"), seed=3, prompt="rain")
    files = [Path(one) for one in passed]
    assert calls[name] == (Path("runs/x"), *files, request, settings)


@pytest.mark.parametrize(
    ("command", "printed", "files", "settings"),
    [
        (
            "encode a.wav",
            "a.tokens: 1 s\n",
            ["a.wav"],
            {"out": None, "num_codebooks": None, "device": "auto"},
        ),
        (
            "encode a.wav b.mp3 --out t --codebooks 2",
            "a.tokens: 1 s\n",
            ["a.wav", "b.mp3"],
            {"out": Path("t"), "num_codebooks": 2, "device": "auto"},
        ),
        (
            "decode a.tokens b.tokens --seed 3 --codebooks 1",
            "a.wav: 1 s\nb.wav: 2 s\n",
            ["a.tokens", "b.tokens"],
            {"out": None, "num_codebooks": 1, "seed": 3, "device": "auto"},
        ),
    ],
)
def test_codings_pass_their_options_on(
    run: Run,
    calls: dict[str, Any],
    command: str,
    printed: str,
    files: list[str],
    settings: dict[str, Any],
) -> None:
    assert run("codec", *command.split(), "--model", "runs/x") == (0, printed, "")
    paths = [Path(file) for file in files]
    assert calls[f"{command.split(maxsplit=1)[0]}_sounds"] == (Path("runs/x"), paths, settings)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["codec", "encode", "a.wav"], "Missing option '--model'"),
        (["codec", "decode", "--model", "runs/x"], "Missing argument"),
        (["codec", "encode", "a.wav", "--model", "x", "--codebooks", "0"], "'--codebooks'"),
        (["sample", "runs/x"], "give --prompt TEXT or --prompts FILE"),
        (["sample", "runs/x", "--prompts", "none.txt"], "none.txt: no such file"),
        (["sample", "runs/x", "--prompt", "a", "--bpm", "90"], "both --bpm and --bars"),
        (
            ["sample", "runs/x", "--prompt", "a", "--bpm", "90", "--bars", "4"],
            "a tempo is for loops; add --loop",
        ),
        (
            [
                "sample",
                "runs/x",
                "--prompt",
                "a",
                "--loop",
                "--seconds",
                "3",
                "--bpm",
                "90",
                "--bars",
                "4",
            ],
            "--bpm and --bars set the length",
        ),
        (["edit", "inpaint", "a.wav", "--model", "runs/x"], "Missing option '--region'"),
        (["edit", "extend", "a.wav", "--model", "runs/x"], "Missing option '--seconds'"),
        (
            ["sample", "runs/x", "--prompt", "a", "--count", "0"],
            "--count': Input should be greater than or equal to 1",
        ),
        (["sample", "runs/x", "--promt", "a"], "--prompt"),
        (["train"], "Missing argument"),
        (["trian", "r.yaml"], "No such command"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    run: Run, calls: dict[str, Any], arguments: list[str], said: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert calls == {}


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("r.yaml:\n  a\n  b\n  c\n  d\n  e"), 2, "r.yaml:\n  a\n  b\n  c\n  d\n  e"),
        (ValueError("1\n2\n3\n4\n5"), 1, "1\n2\n3\n4"),
        (
            FileNotFoundError(2, "No such file", "x"),
            1,
            "x: No such file\n  give the path of one that is there",
        ),
        (
            PermissionError(13, "Permission denied", "/x/takes"),
            1,
            "/x/takes: Permission denied\n  choose a folder where you may write, or change the"
            " rights of this one",
        ),
        (
            OSError(28, "No space left on device", "/x/a.wav"),
            1,
            "/x/a.wav: No space left on device\n  free some space, or choose another folder; what"
            " is finished stays",
        ),
        (OSError(), 1, "OSError"),
    ],
)
def test_an_expected_error_is_told_in_few_lines(
    run: Run,
    calls: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: int,
    said: str,
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("audiogen.training.stages.train", fail)
    assert run("train", "r.yaml") == (code, "", f"error: {said}\n")
    monkeypatch.setattr(sys, "argv", ["audiogen", "--debug", "train", "r.yaml"])
    with pytest.raises(type(error)):
        cli.main()


def test_an_unexpected_error_keeps_its_traceback(
    calls: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("audiogen.training.stages.train", fail)
    monkeypatch.setattr(sys, "argv", ["audiogen", "train", "r.yaml"])
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main()


def test_version_and_module_are_the_same_program() -> None:
    command = [sys.executable, "-m", "audiogen", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"audiogen {audiogen.__version__}\n"


def test_help_of_every_command_loads_nothing_heavy() -> None:
    code = f"""
import sys
from typer.testing import CliRunner
from audiogen.cli.main import app
edits = [["edit", name] for name in {EDITS!r}]
codings = [["codec", name] for name in {CODINGS!r}]
data = [["data", name] for name in {DATA!r}]
textures = [["texture", name] for name in {TEXTURES!r}]
groups = [*edits, *codings, *data, *textures]
for arguments in ([], *groups, *([command] for command in {COMMANDS!r})):
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output
    print(result.output)
heavy = {{"torch", "numpy", "rich", "yaml", "transformers", "audiogen.schema"}} & set(sys.modules)
assert not heavy, heavy
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = (*COMMANDS, *EDITS, *CODINGS, *DATA, *TEXTURES)
    assert all(f"  {name} " in done.stdout for name in names)
    listing = done.stdout.partition("Commands:")[2].partition("Exit codes")[0]
    assert "..." not in listing  # no description is cut off


def test_import_audiogen_loads_no_torch_and_knows_its_names() -> None:
    code = "import sys, audiogen; print('torch' in sys.modules, dir(audiogen))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False ['Pipeline', '__version__', 'load_config']\n"
    with pytest.raises(AttributeError, match="no attribute 'Pipelines'"):
        _ = audiogen.Pipelines  # type: ignore[attr-defined]


def test_the_public_names_come_from_where_they_live(calls: dict[str, Any]) -> None:
    config = audiogen.load_config(Path("r.yaml"), ["a=1"])
    assert config == FakeConfig(recipe="r.yaml", overrides=("a=1",))
