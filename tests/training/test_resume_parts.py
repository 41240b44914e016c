"""Whatever part of a checkpoint is lost or changed, training refuses it or ends otherwise."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from resuming import checkpoints, differing, interrupt, poisoned, signal_at, train
from torch import Tensor

from audiogen.training.checkpoint.folder import load_latest, save_checkpoint

STOP = 4
"""Updates done, of 6; discriminators and their optimizer have been at work."""
Groups = dict[str, dict[str, Tensor]]
Content = tuple[str, int, Groups, dict[str, Any]]


def read(run: Path) -> tuple[Path, int, Groups, dict[str, Any]]:
    """What the newest checkpoint of a run holds, as copies."""
    (folder,) = run.glob("*/checkpoints")
    found = load_latest(folder)
    assert found is not None
    tensors = {group: dict(named) for group, named in found.tensors.items()}
    return folder, found.step, tensors, dict(found.state)


def rewrite(run: Path, content: Content) -> None:
    """Make what `spoiled` gave the only checkpoint of a run; its manifest is in order."""
    _, step, tensors, state = content
    (folder,) = run.glob("*/checkpoints")
    shutil.rmtree(folder)
    save_checkpoint(folder, step, tensors=tensors, state=state)


def changed(tensor: Tensor) -> Tensor:
    """The same but for the first number."""
    copy = tensor.clone()
    first = copy.view(-1)[:1]
    first += 1 if not copy.is_floating_point() else first.abs() / 100 + 1e-3
    return copy


def spoiled_tensors(step: int, tensors: Groups, state: dict[str, Any]) -> Iterator[Content]:
    """Every group lost; and of each kind of tensor in it one lost, one changed, all zero."""
    for group, named in tensors.items():
        others = {name: part for name, part in tensors.items() if name != group}
        yield f"{group} lost", step, others, state
        kinds = {name.split("/")[0] if "/" in name else "": name for name in named}
        for kind, name in kinds.items():
            without = {key: value for key, value in named.items() if key != name}
            yield f"{name} of {group} lost", step, {**others, group: without}, state
            other = {**named, name: changed(named[name])}
            yield f"{name} of {group} changed", step, {**others, group: other}, state
            is_kind = {key for key in named if not kind or key.startswith(f"{kind}/")}
            none = {k: v * 0 if k in is_kind else v for k, v in named.items()}
            yield f"{kind} of {group} zero", step, {**others, group: none}, state
            gone = {k: v for k, v in named.items() if k not in is_kind}
            yield f"{kind} of {group} lost", step, {**others, group: gone}, state


def spoiled_state(step: int, tensors: Groups, state: dict[str, Any]) -> Iterator[Content]:
    """Every other part lost or changed."""
    for key in state:
        yield f"{key} lost", step, tensors, {k: v for k, v in state.items() if k != key}
    yield "settings changed", step, tensors, {**state, "settings": {"seed": 3}}
    yield "changes changed", step, tensors, {**state, "changes": ["step 1: lr 1 -> 2"]}
    guard = state["guard"]
    for key in guard:
        less = {k: v for k, v in guard.items() if k != key}
        yield f"guard's {key} lost", step, tensors, {**state, "guard": less}
    for key, value in {"rollbacks": 1, "phase": 77, "losses": [1.0]}.items():
        yield f"guard's {key} changed", step, tensors, {**state, "guard": {**guard, key: value}}
    for other in (step - 1, step + 1):
        yield f"step {other}", other, tensors, state


@pytest.mark.parametrize(
    "family",
    [
        "autoregressive",
        pytest.param("rvq", marks=pytest.mark.slow),
        pytest.param("vae", marks=pytest.mark.nightly),
        pytest.param("flow", marks=pytest.mark.nightly),
    ],
)
def test_each_part_matters(family: str, tmp_path: Path) -> None:
    train(tmp_path / "whole", family)
    interrupt(tmp_path / "stopped", family, hook=signal_at(STOP - 1))
    _, step, tensors, state = read(tmp_path / "stopped")
    assert step == STOP
    cases = [("nothing", step, tensors, state)]
    cases += [*spoiled_tensors(step, tensors, state), *spoiled_state(step, tensors, state)]
    unnoticed, refusals = [], []
    for content in cases:
        run = tmp_path / "run"
        shutil.copytree(tmp_path / "stopped", run)
        rewrite(run, content)
        try:
            train(run, family)
        except ValueError as error:
            refusals.append(str(error))
        else:
            if not differing(run, tmp_path / "whole"):
                unnoticed.append(content[0])
        shutil.rmtree(run)
    assert unnoticed == ["nothing"]
    assert len(cases) > len(refusals) > len(tensors) + len(state)
    assert all(len(text.splitlines()) <= 4 for text in refusals)


def test_steps_left_out_before_the_stop_are_counted_after_it(tmp_path: Path) -> None:
    """Three in a row go back to a checkpoint, also when the training stopped within them."""

    def is_bad(step: int, rollbacks: int) -> bool:
        return step in {2, 3, 4} and rollbacks == 0

    def run(name: str, bad_steps: int | None) -> Path:
        with poisoned(is_bad):
            if bad_steps is not None:
                interrupt(tmp_path / name, "flow", hook=signal_at(3))
                _, step, tensors, state = read(tmp_path / name)
                assert state["guard"]["bad_steps"] == 2
                state["guard"]["bad_steps"] = bad_steps
                rewrite(tmp_path / name, ("", step, tensors, state))
            train(tmp_path / name, "flow")
        return tmp_path / name

    counted = read(run("counted", 2))[3]["guard"]
    forgotten = read(run("forgotten", 0))[3]["guard"]
    assert (counted["rollbacks"], forgotten["rollbacks"]) == (1, 0)


@pytest.mark.parametrize("key", ["guard", "changes", "settings"])
def test_what_a_checkpoint_lacks_is_named(key: str, tmp_path: Path) -> None:
    interrupt(tmp_path, "flow", hook=signal_at(STOP - 1))
    _, step, tensors, state = read(tmp_path)
    del state[key]
    rewrite(tmp_path, ("", step, tensors, state))
    with pytest.raises(ValueError, match=rf"lacks .*state {key}") as caught:
        train(tmp_path, "flow")
    text = str(caught.value)
    assert len(text.splitlines()) <= 4
    assert re.search(r"step-00000004.*\n.*\n.*delete that stage's folder", text)
    assert checkpoints(tmp_path) == [STOP]
