"""The examples in docstrings run, and the public entry points have some."""

import doctest
import importlib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "audiogen").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # examples name recipes as they are called there
    module = importlib.import_module(name)
    found = doctest.testmod(module, extraglobs={"torch": torch}, optionflags=doctest.ELLIPSIS)
    assert found.failed == 0
    assert found.attempted > 0


def test_public_entry_points_have_examples() -> None:
    wanted = {
        "audiogen.audio.dsp",
        "audiogen.audio.loops",
        "audiogen.codecs.mel",
        "audiogen.codecs.rvq",
        "audiogen.codecs.vae",
        "audiogen.experiment",
        "audiogen.generators.base",
        "audiogen.pipeline",
    }
    assert wanted <= set(MODULES)
