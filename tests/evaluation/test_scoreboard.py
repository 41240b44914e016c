"""The scoreboard: what it shows of runs, and what it warns of."""

from pathlib import Path
from typing import Any

import pytest
from scores import make_scores

from audiogen.evaluation.scoreboard import scoreboard
from audiogen.experiment import load_config
from audiogen.schema import dump_config

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def write_run(folder: Path, recipe: str, manifest: str = "{}\n", **more: Any) -> Path:
    (folder / "evaluation").mkdir(parents=True)
    config = load_config(RECIPES / recipe, [f"run_dir={folder}"])
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    (folder / "manifest.jsonl").write_text(manifest, encoding="utf-8")
    make_scores(**more).write(folder / "evaluation" / "metrics.json")
    return folder


def likelihood(per: str, mean: float) -> dict[str, Any]:
    bits = {"mean": mean, "std": 0.1, "clips": 8}
    return {"per": per, "held_out": bits, "train": bits, "structureless": 2.0}


def test_every_run_has_a_line_with_its_figures(tmp_path: Path) -> None:
    bits, tokens = likelihood("latent dimension", -0.5602), likelihood("second of sound", 1234.5)
    runs = [
        write_run(tmp_path / "one", "flow.yaml", likelihood=bits),
        write_run(
            tmp_path / "other", "autoregressive.yaml", likelihood=tokens, seconds_per_take=None
        ),
    ]
    lines = scoreboard(runs).splitlines()
    assert len(lines) == 4
    assert lines[0].split("  ")[0] == "run"
    assert " by a second  class Fréchet  diversity " in lines[0]
    assert lines[1].split("  ")[0] == "one"
    for part in ("flow on vae", "0.84", "0.66", "0.68", "-0.56 bit/dim", "0.60", "23.4 M"):
        assert part in lines[1]
    for part in ("autoregressive on rvq", "1234 bit/s", " - "):
        assert part in lines[2]
    assert "real 0.92" in lines[3]
    assert "training clips 0.77 and through the codec 0.71" in lines[3]
    assert "training clips through the codec 3.00 and noise 60.00" in lines[3]
    assert len({len(line) for line in lines[:3]}) == 1  # aligned


def test_what_does_not_compare_is_said(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "one", "flow.yaml"),
        write_run(tmp_path / "two", "flow.yaml", manifest='{"a": 1}\n'),
        write_run(tmp_path / "three", "flow.yaml", evaluate={"takes_per_label": 4}),
    ]
    table = scoreboard(runs)
    assert "not trained on the same data" in table
    assert "not evaluated alike" in table
    assert "not trained" not in scoreboard([runs[0], runs[2]])


def test_a_codec_alone_has_dashes(tmp_path: Path) -> None:
    none = dict.fromkeys(("takes", "recognised", "second", "likelihood"))
    run = write_run(tmp_path / "codec", "tiny/mel.yaml", **none)
    assert scoreboard([run]).splitlines()[1].split() == ["codec", "mel", *"-------"]


def test_a_run_that_was_not_evaluated_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not evaluated") as caught:
        scoreboard([tmp_path / "nothing"])
    assert "audiogen evaluate" in str(caught.value)
