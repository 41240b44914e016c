"""Every step is in metrics.jsonl once, demos can be opened, and wandb can do no harm."""

import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from audiogen.audio.io.files import read_audio
from audiogen.training.loop import display, wandb_run
from audiogen.training.loop.tracking import Tracker
from audiogen.training.loop.wandb_run import WandbMode


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def train(
    run: Path, stage: str, first: int, last: int, *, start: int = 0, total: int = 100
) -> None:
    with Tracker(run, stage, total_steps=total, start_step=start) as tracker:
        for step in range(first, last + 1):
            tracker.log(step, {"loss": step / 2, "lr": 1e-4})


def test_lines_hold_stage_step_seconds_and_metrics(tmp_path: Path) -> None:
    with Tracker(tmp_path / "run", "codec", total_steps=2) as tracker:
        tracker.log(1, {"loss": 0.5, "mel": float("nan"), "kl": 3})
    (line,) = rows(tmp_path / "run")
    assert 0 <= line.pop("seconds") < 5
    assert line == {"stage": "codec", "step": 1, "loss": 0.5, "mel": None, "kl": 3.0}


@pytest.mark.parametrize("torn", ["", '{"stage": "generator", "step": 8, "se', "\x00\x00", "12\n"])
def test_a_resumed_run_has_every_step_once(tmp_path: Path, torn: str) -> None:
    train(tmp_path, "codec", 1, 30)
    train(tmp_path, "generator", 1, 7)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(torn)
    train(tmp_path, "generator", 5, 9, start=4)
    by_stage: dict[str, list[int]] = {"codec": [], "generator": []}
    for row in rows(tmp_path):
        by_stage[row["stage"]].append(row["step"])
    assert by_stage["codec"] == list(range(1, 31))
    assert by_stage["generator"] == list(range(1, 10))
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path: Path) -> None:
    train(tmp_path, "codec", 1, 5)
    train(tmp_path, "codec", 1, 3)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3]


def test_seconds_go_on_after_a_resume(tmp_path: Path) -> None:
    line = {"stage": "codec", "step": 3, "seconds": 1000.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    train(tmp_path, "codec", 4, 4, start=3)
    assert 1000 <= rows(tmp_path)[-1]["seconds"] < 1005


def test_several_lines_of_one_step_are_kept(tmp_path: Path) -> None:
    with Tracker(tmp_path, "codec", total_steps=2) as tracker:
        tracker.log(1, {"loss": 1})
        tracker.log(1, {"held_out_loss": 2})
    assert len(rows(tmp_path)) == 2


def test_other_processes_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it would fail
    arguments: dict[str, Any] = {"total_steps": 2, "is_main": False, "wandb_mode": "online"}
    with Tracker(tmp_path, "codec", **arguments) as tracker:
        tracker.log(1, {"loss": 1})
        tracker.advance(2)
        tracker.checkpoint_saved(2)
        tracker.audio(1, "00", torch.zeros(1, 100), 16000, "rain")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_demos_are_written_with_sidecar_and_picture(tmp_path: Path) -> None:
    wav = 2 * torch.sin(torch.arange(22050) / 9).repeat(2, 1)
    with Tracker(tmp_path, "generator", total_steps=2) as tracker:
        tracker.audio(500, "00", wav.requires_grad_(), 22050, "rain on a $tin$ roof")
        tracker.audio(500, "short", torch.zeros(1, 3), 22050, "")
    folder = tmp_path / "demos" / "generator" / "step-00000500"
    names = {f"{name}.{suffix}" for name in ("00", "short") for suffix in ("wav", "json", "png")}
    assert {path.name for path in folder.iterdir()} == names
    heard, rate = read_audio(folder / "00.wav")
    assert rate == 22050
    torch.testing.assert_close(heard, wav.detach() / wav.abs().max(), atol=1e-6, rtol=0)
    sidecar = json.loads((folder / "00.json").read_text())
    assert sidecar["prompt"] == "rain on a $tin$ roof"
    assert sidecar["gain_db"] == pytest.approx(-6.02, abs=0.01)
    assert (folder / "00.png").read_bytes().startswith(b"\x89PNG")


def test_plain_lines_come_every_30_seconds_and_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(display, "time", SimpleNamespace(monotonic=lambda: now))
    with Tracker(tmp_path, "codec", total_steps=200) as tracker:
        for step in range(1, 101):
            now += 1
            if step == 60:
                tracker.checkpoint_saved(60)
            tracker.log(step, {"loss": 1.5, "audio_seconds_per_second": 31.25})
    out, lines = capsys.readouterr()
    assert out == ""
    assert [line.split()[2] for line in lines.splitlines()] == [
        "1/200",
        "31/200",
        "61/200",
        "91/200",
        "100/200",
    ]
    assert lines.splitlines()[-1] == (
        "codec  step 100/200  loss 1.5  31.2 s audio/s  ETA 0:01:40  checkpoint 60"
    )


def test_a_terminal_gets_a_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        display, "Console", lambda **_: Console(stderr=True, force_terminal=True, width=120)
    )
    train(tmp_path, "codec", 1, 40, total=80)
    shown = capsys.readouterr().err
    assert "40/80" in shown
    assert "loss 20" in shown
    assert "━" in shown


class FakeWandb(SimpleNamespace):
    """Stands in for wandb; the named call raises, or hangs."""

    def __init__(self, fails: str, how: Callable[[], object]) -> None:
        def act(what: str) -> Callable[..., Any]:
            def call(*_: object, **__: object) -> object:
                self.called.append(what)
                return how() if what == fails else None

            return call

        run = SimpleNamespace(log=act("log"), finish=act("finish"))
        super().__init__(called=[], Settings=lambda **_: None, Audio=act("Audio"))
        self.Image = act("Image")
        self.init = lambda **_: act("init")() or run


def boom() -> None:
    raise ConnectionError("no route to host")


def hang() -> None:
    time.sleep(600)


@pytest.mark.parametrize(
    ("fails", "how"),
    [
        ("import", boom),
        ("init", boom),
        ("log", boom),
        ("Audio", boom),
        ("finish", boom),
        ("init", hang),
        ("log", hang),
        ("Audio", hang),
        ("finish", hang),
    ],
)
def test_wandb_may_fail_at_any_time(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fails: str,
    how: Callable[[], object],
) -> None:
    fake = FakeWandb(fails, how)
    monkeypatch.setitem(sys.modules, "wandb", None if fails == "import" else fake)
    monkeypatch.setattr(wandb_run, "ANSWER_SECONDS", 0.5)
    caplog.set_level(logging.WARNING)
    with Tracker(tmp_path, "codec", total_steps=3, wandb_mode="online") as tracker:
        for step in (1, 2, 3):
            tracker.log(step, {"loss": 1})
            tracker.audio(step, "00", torch.zeros(1, 9), 16000, "")
    assert len(rows(tmp_path)) == 3
    assert len(caplog.records) == 1, "said once"
    assert "wandb" in caplog.text
    assert fake.called.count("log") <= (6 if fails == "finish" else 1)


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_wandb_is_told_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: WandbMode
) -> None:
    fake = FakeWandb("nothing", boom)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with Tracker(tmp_path, "codec", total_steps=3, wandb_mode=mode) as tracker:
        tracker.log(1, {"loss": 1})
        tracker.audio(1, "00", torch.zeros(1, 9), 16000, "")
    assert fake.called == ["init", "log", "Audio", "Image", "log", "finish"]
