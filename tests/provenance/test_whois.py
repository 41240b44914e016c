"""What is said of a take, of a changed take, and of a sound whose metadata are lost."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from sampled import sampled

from audiogen.data.intake.licences import LicenceTerms
from audiogen.data.manifest import ManifestRow
from audiogen.pipeline import Pipeline
from audiogen.provenance.attribution import attribution_csv
from audiogen.provenance.whois import whois

pytestmark = pytest.mark.usefixtures("fake_text")


def row(number: int, author: str) -> ManifestRow:
    return ManifestRow(
        path=f"{number}.wav",
        sha256=f"{number:064x}",
        seconds=1.0,
        sample_rate=8000,
        channels=1,
        split="train",
        licence="CC-BY-4.0",
        author=author,
    )


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Path:
    """A run whose model says whose sounds it learnt from."""
    pipeline = Pipeline.from_pretrained(model)
    config = pipeline.config.model_copy(
        update={
            "licences": {"CC-BY-4.0": 3},
            "terms": LicenceTerms(licence_policy="research", i_own_these=True),
            "codec_licence": "MIT",
        }
    )
    pipeline.model = replace(pipeline.model, config=config)
    rows = [row(1, "Ana"), row(2, "Bo"), row(3, "Ana")]
    run = tmp_path / "runs" / "mine"
    documents = {"ATTRIBUTION.csv": attribution_csv(rows)}
    pipeline.save_pretrained(run / "generator" / "model", documents)
    return run


@pytest.fixture
def take(run: Path) -> Path:
    return sampled(run, run / "takes", seed=7)[0]


def facts(said: str) -> dict[str, str]:
    return {line[:9].strip(): line[10:] for line in said.splitlines()}


def test_a_take_in_its_run(take: Path, run: Path) -> None:
    folder = run / "generator" / "model"
    digest = Pipeline.from_pretrained(run).digest
    said = facts(whois(take, runs=run / "nowhere"))
    assert said == {
        "file": str(take),
        "samples": "as they were written",
        "prompt": "rain",
        "seed": "7",
        "model": f"small, digest {digest}",
        "found": str(folder),
        "policy": "research; sounds without a licence are stated to be the trainer's own",
        "licences": "CC-BY-4.0 (3 files)",
        "codec": "MIT",
        "authors": f"Ana (2), Bo (1); file by file in {folder / 'ATTRIBUTION.csv'}",
    }


def test_a_take_that_was_moved_is_matched_by_the_digest(
    take: Path, run: Path, make_model: object, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "music" / "kept.wav"
    elsewhere.parent.mkdir()
    shutil.copy(take, elsewhere)
    shutil.copy(take.with_suffix(".json"), elsewhere.with_suffix(".json"))
    assert facts(whois(elsewhere, runs=run.parent))["authors"].startswith("Ana (2)")
    assert facts(whois(elsewhere, model=run))["found"] == str(run / "generator" / "model")
    lost = facts(whois(elsewhere, runs=tmp_path / "nowhere"))
    assert lost["found"].startswith("no: neither near the file nor in")
    assert "authors" not in lost
    assert lost["licences"] == "CC-BY-4.0 (3 files)"


def test_another_model_is_not_taken_for_it(take: Path, tmp_path: Path, run: Path) -> None:
    other = tmp_path / "other"
    pipeline = Pipeline.from_pretrained(run)
    for parameter in pipeline.generator.parameters():
        parameter.add_(1.0)
    pipeline.save_pretrained(other)
    said = facts(whois(take, model=other))
    assert "holds other weights" in said["found"]
    assert "authors" not in said
    assert "holds no model" in whois(take, model=tmp_path / "nowhere")


def test_flac_beside_its_json_is_as_good(take: Path, run: Path) -> None:
    samples, rate = soundfile.read(take, dtype="float32")
    soundfile.write(take.with_suffix(".flac"), samples, rate, subtype="PCM_24")
    assert facts(whois(take.with_suffix(".flac"), model=run))["samples"] == "as they were written"


def test_changed_samples_are_said(take: Path, run: Path) -> None:
    samples, rate = soundfile.read(take, dtype="float32")
    soundfile.write(take, 0.5 * samples, rate, subtype="PCM_24")
    assert facts(whois(take, model=run))["samples"].startswith("CHANGED")
    soundfile.write(take.with_suffix(".ogg"), samples, rate)
    assert facts(whois(take.with_suffix(".ogg"), model=run))["samples"].startswith("CHANGED")
    beside = take.with_suffix(".json")
    told = json.loads(beside.read_text())
    del told["samples_sha256"]
    beside.write_text(json.dumps(told))
    assert facts(whois(take, model=run))["samples"].startswith("not recorded")


def test_lost_metadata_are_said(take: Path) -> None:
    beside = take.with_suffix(".json")
    for content in ("{}", "[]", "{", '{"prompt": 1}'):
        beside.write_text(content)
        with pytest.raises(ValueError, match="not the JSON file of a take"):
            whois(take)
    beside.unlink()
    with pytest.raises(ValueError, match="its metadata are lost") as caught:
        whois(take)
    assert len(str(caught.value).splitlines()) <= 4
    with pytest.raises(ValueError, match="no such file"):
        whois(take.with_name("none.wav"))


def test_an_edit_names_its_sources(take: Path) -> None:
    beside = take.with_suffix(".json")
    told = json.loads(beside.read_text())
    told["edit"] = {
        "operation": "vary",
        "sources": [{"file": "sea.wav", "sha256": "ab" * 32, "changes": []}],
    }
    beside.write_text(json.dumps(told))
    assert facts(whois(take))["edit of"] == f"sea.wav (sha256 {'ab' * 8})"
