"""The README's promises: its code runs, its commands exist, its links and files are there."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from audiogen import library
from audiogen.audio.io.files import write_audio
from audiogen.cli.main import main
from audiogen.experiment import load_config
from audiogen.training.stages import train

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [line.split("#")[0].strip() for line in lines if line.strip()]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recipes, a recording, and tiny models where the README has its own."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    for name in ("diffusion", "rvq"):
        recipe = ROOT / "recipes" / "tiny" / f"{name}.yaml"
        train(load_config(recipe, [f"run_dir={folder / 'runs' / name}"]))
    trained = folder / "runs" / "diffusion" / "generator" / "model"
    shutil.copytree(trained, folder / "models" / "base")
    write_audio(folder / "recording.wav", 0.1 * torch.randn(1, 22050), 22050)
    return folder


def test_python_blocks_run(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    assert blocks("python")
    for block in blocks("python"):
        names: dict[str, object] = {}
        code = compile(block, "README.md", "exec")
        exec(code, names)  # noqa: S102 - the README is ours
        assert tuple(names["wav"].shape) == (2, 2, 4 * 44100)  # type: ignore[attr-defined]


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("audiogen ")])
def test_command_lines_run(line: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, one after the other, with a tiny model that is called `base`."""
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(library, "LIBRARY", workplace / "models")
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("make ")])
def test_make_targets_exist(line: str) -> None:
    command = ["make", "-n", *shlex.split(line)[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [name for name in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in name]
    named = re.findall(r"\b(?:audiogen|recipes|tests|tools)/[\w./-]*\w", text)
    paths = [page.parent / name for name in links] + [ROOT / name for name in named]
    assert [str(path) for path in paths if not path.exists()] == []
