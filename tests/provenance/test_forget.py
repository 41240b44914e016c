"""Every model that learnt from a sound is found, by each of its names; nothing is deleted."""

import dataclasses
from pathlib import Path

import pytest

from audiogen.data.manifest import ManifestRow, write_manifest
from audiogen.provenance.attribution import attribution_csv
from audiogen.provenance.forget import describe_uses, find_uses
from audiogen.storage import sha256_file

A = ManifestRow(
    path="rain/1-17-A.ogg",
    sha256="a1" * 32,
    seconds=1.0,
    sample_rate=8000,
    channels=1,
    split="train",
    source_id="17",
    licence="CC0-1.0",
)
A2 = dataclasses.replace(A, path="rain/1-17-B.ogg", sha256="a2" * 32)
B = dataclasses.replace(A, path="sea/-b.ogg", sha256="b1" * 32, source_id="b")
HELD = dataclasses.replace(B, split="held_out")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three runs and an exported model; `full` learnt from A, `held` only heard it."""
    runs = tmp_path / "runs"
    write_manifest(runs / "full" / "manifest.jsonl", [A, A2, HELD])
    for stage in ("codec", "generator"):
        write_attribution(runs / "full" / stage / "model", [A, A2])
    (runs / "full" / "generator" / "checkpoints").mkdir()
    (runs / "full" / "latents").mkdir()
    held = [dataclasses.replace(A, split="held_out"), dataclasses.replace(B, split="train")]
    write_manifest(runs / "held" / "manifest.jsonl", held)
    write_attribution(runs / "held" / "codec" / "model", [held[1]])
    write_attribution(runs / "exported", [A, B])
    refused = dataclasses.replace(A, verdict="refused", reason="no_licence", split="")
    write_manifest(runs / "refused" / "manifest.jsonl", [refused, B])
    return runs


def write_attribution(folder: Path, rows: list[ManifestRow]) -> None:
    folder.mkdir(parents=True)
    (folder / "ATTRIBUTION.csv").write_text(attribution_csv(rows), encoding="utf-8", newline="")


@pytest.mark.parametrize("name", ["rain/1-17-A.ogg", "1-17-A.ogg", "./rain/1-17-A.ogg", "a1a1a1a1"])
def test_a_file_is_found_by_each_of_its_names(runs: Path, name: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    uses = find_uses(name, runs)
    assert uses.models == {
        runs / "exported": [A.path],
        runs / "full" / "codec" / "model": [A.path],
        runs / "full" / "generator" / "model": [A.path],
    }
    kept = [runs / "full" / "generator" / "checkpoints", runs / "full" / "latents"]
    assert uses.runs == {runs / "full": kept}
    assert uses.held_out == {runs / "held": [A.path]}
    assert uses.unreadable == []
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_a_source_stands_for_all_its_files(runs: Path) -> None:
    uses = find_uses("17", runs)
    assert uses.models[runs / "full" / "codec" / "model"] == [A.path, A2.path]


def test_a_file_on_this_disk_is_found_by_its_bytes(runs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "renamed.ogg"
    copy.write_bytes(b"sound")
    rows = [dataclasses.replace(A, sha256=sha256_file(copy))]
    write_attribution(runs / "bytes", rows)
    assert list(find_uses(str(copy), runs).models) == [runs / "bytes"]


@pytest.mark.parametrize("name", ["1-17-C.ogg", "17-A.ogg", "a1a1a1", "1", "b1b1b1b1b2", "rain"])
def test_what_is_not_there_is_not_found(runs: Path, name: str) -> None:
    uses = find_uses(name, runs)
    assert not uses.models and not uses.runs and not uses.held_out  # noqa: PT018
    assert "No model here was trained on" in describe_uses(name, uses)
    assert "8 models and manifests were searched" not in describe_uses(name, uses)
    assert uses.searched == 7


def test_a_path_that_looks_like_a_formula_is_found(runs: Path) -> None:
    assert runs / "exported" in find_uses("-b.ogg", runs).models


def test_the_next_best_account_is_read(runs: Path) -> None:
    """Without the table the manifest of the run speaks."""
    model = runs / "full" / "generator" / "model"
    (model / "generator.safetensors").touch()
    (model / "ATTRIBUTION.csv").unlink()
    assert find_uses("17", runs).models[model] == [A.path, A2.path]


def test_what_cannot_be_read_is_said(runs: Path) -> None:
    (runs / "full" / "manifest.jsonl").write_text("{\n")
    (runs / "exported" / "ATTRIBUTION.csv").write_text("path\n")
    uses = find_uses("17", runs)
    assert len(uses.unreadable) == 3  # the manifest, the table, and the model it was all of
    told = describe_uses("17", uses)
    assert told.count("Could not be searched") == 3
    assert runs / "full" / "codec" / "model" in uses.models


def test_the_text_says_what_to_do(runs: Path) -> None:
    told = describe_uses("17", find_uses("17", runs))
    for text in (
        str(runs / "full" / "generator" / "model"),
        "rain/1-17-A.ogg, rain/1-17-B.ogg",
        str(runs / "full" / "latents"),
        "Held out",
        str(runs / "held"),
        "Nothing was deleted",
        f"audiogen train {runs / 'full'}",
    ):
        assert text in told


def test_bad_questions(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        find_uses("17", tmp_path / "none")
    with pytest.raises(ValueError, match="give a path"):
        find_uses(" ", tmp_path)
