"""A step with a loss or gradient that is not finite, or far too high, changes nothing."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_text import FakeTextEncoder
from torch import nn

from audiogen.data.manifest import read_split
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.storage import read_tensors
from audiogen.training import preparation, stages
from audiogen.training.loop import codec_loop, reading
from audiogen.training.loop.divergence import BAD_STEPS, WINDOW, Guard, Undo
from audiogen.training.loop.reading import read
from audiogen.training.loop.stage import Learner, StepResult

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def guard() -> Guard:
    return Guard(spike_factor=10.0)


@pytest.mark.parametrize(
    ("loss", "norm"),
    [(float("nan"), 1.0), (float("inf"), 1.0), (1.0, float("nan")), (1.0, float("inf"))],
)
def test_what_is_not_finite_is_left_out_and_three_are_too_many(
    guard: Guard, loss: float, norm: float
) -> None:
    for count in range(1, 3):
        assert str(loss if loss != 1 else norm) in guard.judge(loss, norm)
        assert guard.bad_steps == count < BAD_STEPS
    assert guard.judge(1.0, 1.0) == ""
    assert guard.bad_steps == 0
    for _ in range(3):
        guard.judge(loss, norm)
    assert guard.bad_steps == BAD_STEPS


def test_a_spike_is_measured_against_a_full_window_of_one_phase(guard: Guard) -> None:
    for _ in range(WINDOW):
        assert not guard.judge(50.0, 1.0)
        assert not guard.judge(1.0, 1.0)
    assert not guard.judge(200.0, 1.0)
    assert "far above" in guard.judge(600.0, 1.0)
    copy = Guard(spike_factor=10.0)
    copy.load_state(json.loads(json.dumps(guard.state())))
    assert copy.state() == guard.state()
    assert copy.judge(600.0, 1.0)
    assert not guard.judge(600.0, 1.0, phase=1)  # other terms, another scale


def test_losses_below_zero_are_no_spikes(guard: Guard) -> None:
    for _ in range(2 * WINDOW):
        assert not guard.judge(-1.0, 1.0)
    assert not guard.judge(5.0, 1.0)


def test_undo_puts_everything_back() -> None:
    layer = nn.BatchNorm1d(2)
    before = [one.clone() for one in layer.buffers()]
    undo = Undo(layer.buffers())
    layer(torch.randn(4, 2))
    assert not all(map(torch.equal, before, layer.buffers()))
    undo.restore()
    assert all(map(torch.equal, before, layer.buffers()))


def test_the_numbers_of_a_step_are_read_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"loss": torch.tensor(3.0), "none": torch.tensor(torch.nan), "mel": torch.tensor(2.0)}
    found = read(told, torch.tensor(0.5), torch.tensor(0.25))
    assert found.own == {"loss": 3.0, "mel": 2.0}
    assert (found.norms, found.loss, found.norm) == ((0.5, 0.25), 3.0, 0.75)
    assert not found.stops
    monkeypatch.setattr(reading, "is_stop_asked", lambda: True)
    lost = read({"loss": torch.tensor(torch.nan)}, torch.tensor(torch.inf))
    assert lost.stops
    assert math.isnan(lost.own["loss"])
    assert math.isnan(lost.loss)
    assert math.isinf(lost.norm)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Sounds of a run whose training may be poisoned; its text encoder is a fake one."""
    run = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "TextEncoder", FakeTextEncoder)
        preparation.prepare(tiny(run))
        yield run


def tiny(run: Path) -> ExperimentConfig:
    settings = [
        "generator=null",
        "data.textures.num_clips=34",
        f"run_dir={run}",
        "train.checkpoint_every=2",
        "train.log_every=1",
        "train.codec.steps=8",
    ]
    return load_config(ROOT / "recipes" / "tiny" / "diffusion.yaml", settings)


def poison(monkeypatch: pytest.MonkeyPatch, is_bad: Any) -> list[bool]:
    """Make the update of some calls see a NaN sample; return whether a bad call changed nothing."""
    unchanged = []
    run_steps = codec_loop.run_steps

    def poisoned(learner: Learner, *given: Any) -> None:
        def update(step: int, wav: torch.Tensor) -> StepResult:
            if not is_bad(step):
                return learner.update(step, wav)
            modules = learner.modules.values()
            before = [value.clone() for one in modules for value in one.state_dict().values()]
            wav = wav.clone()
            wav[0, 0, 5] = float("nan")
            result = learner.update(step, wav)
            assert result.left_out
            after = [value for one in modules for value in one.state_dict().values()]
            unchanged.append(all(map(torch.equal, before, after)))
            return result

        run_steps(replace(learner, update=update), *given)

    monkeypatch.setattr(codec_loop, "run_steps", poisoned)
    return unchanged


def events(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "event" in row]


def fresh(prepared: Path, tmp_path: Path) -> ExperimentConfig:
    import shutil  # noqa: PLC0415

    return tiny(Path(shutil.copytree(prepared, tmp_path / "run")))


def test_one_bad_step_is_left_out_and_its_files_named(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = fresh(prepared, tmp_path)
    unchanged = poison(monkeypatch, lambda step: step in {1, 5})  # 5: with discriminators
    stages.train(config)
    assert unchanged == [True, True]
    found = events(config.run_dir)
    assert [row["step"] for row in found] == [2, 6]
    used = {row.path for row in read_split(config.run.manifest, "train")}
    assert all(row["files"] and set(row["files"]) <= used for row in found)
    for file in (config.run_dir / "codec" / "checkpoints").rglob("*.safetensors"):
        assert all(bool(v.isfinite().all()) for v in read_tensors(file).values())


def test_three_bad_steps_go_back_once_and_training_ends_well(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, calls = fresh(prepared, tmp_path), []

    def is_bad(step: int) -> bool:
        calls.append(step)
        return step in {4, 5, 6} and calls.count(step) == 1

    poison(monkeypatch, is_bad)
    stages.train(config)
    found = [(row["event"], row["step"]) for row in events(config.run_dir)]
    assert found.count(("rolled back", 4)) == 1
    assert [step for event, step in found if event == "left out"] == [5, 6, 7]
    assert (config.run_dir / "codec" / "model").is_dir()


def test_training_that_stays_bad_stops_with_a_message(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = fresh(prepared, tmp_path)
    poison(monkeypatch, lambda step: step >= 4)
    with pytest.raises(ValueError, match="after 3 roll-backs") as caught:
        stages.train(config)
    assert len(str(caught.value).splitlines()) <= 4


def test_changed_settings_go_on_only_where_allowed_and_are_recorded(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = fresh(prepared, tmp_path)
    with monkeypatch.context() as patch:
        poison(patch, lambda step: step >= 4)
        with pytest.raises(ValueError, match="diverged"):
            stages.train(config)  # leaves checkpoints and no model
    optim = config.train.codec.optim.model_copy(update={"lr": 1e-5})
    plan = config.train.codec.model_copy(update={"optim": optim})
    changed = config.train.model_copy(update={"codec": plan})
    with pytest.raises(ValueError, match=r"train\.codec\.optim\.lr .* -> 1e-05") as caught:
        stages.train(config.model_copy(update={"train": changed}))
    assert "--allow-change" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4
    allowed = changed.model_copy(update={"allow_change": True})
    stages.train(config.model_copy(update={"train": allowed}))
    last = config.run_dir / "codec" / "checkpoints" / "step-00000008" / "state.json"
    changes = json.loads(last.read_text())["state"]["changes"]
    assert len(changes) == 1
    assert "train.codec.optim.lr" in changes[0]
