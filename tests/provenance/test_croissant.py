"""The Croissant file: what the format asks for, and what reading it gives back.

The reference reader, mlcroissant, brings pandas and an RDF library with it and is no dependency of
the tests. Where it happens to be installed, it reads the file too.
"""

import csv
import hashlib
import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from audiogen.data.intake.licences import OWN
from audiogen.data.intake.scan import scan_folder
from audiogen.data.manifest import ManifestRow
from audiogen.provenance.attribution import COLUMNS, attribution_csv
from audiogen.provenance.croissant import croissant_json, licence_url

# https://docs.mlcommons.org/croissant/docs/croissant-spec.html, "Required" and its sections
DATASET = {"@context", "@type", "conformsTo", "name", "description", "license", "creator", "url"}
DATASET |= {"datePublished"}
FILE_OBJECT = {"@type", "@id", "name", "contentUrl", "encodingFormat", "sha256"}
FIELD = {"@type", "@id", "name", "dataType"}


def sound(number: int, **changes: Any) -> ManifestRow:
    known: dict[str, Any] = {
        "path": f"rain/ü {number}.wav",
        "sha256": f"{number:064x}",
        "seconds": 2.5,
        "sample_rate": 8000,
        "channels": 1,
        "prompt": 'rain, "heavy"',
        "label": "rain",
        "split": "train",
        "source_id": str(number),
        "licence": "CC-BY-4.0",
        "author": "Ana",
        "source": "https://example.org/1",
    }
    return ManifestRow(**known | changes)


ROWS = [
    sound(1),
    sound(2, licence=OWN, author="", source="", path="b.flac"),
    sound(3, path="a.tar/3.wav", archive="a.tar", offset=512, num_bytes=9),
]


def text(rows: list[ManifestRow] = ROWS) -> str:
    return croissant_json("x", attribution_csv(rows), "As agreed.", published=date(2026, 1, 2))


def ids(tree: Any) -> list[str]:
    """Every node that is defined (it has a type) in the tree."""
    if isinstance(tree, list):
        return [found for one in tree for found in ids(one)]
    if not isinstance(tree, dict):
        return []
    own = [tree["@id"]] if "@id" in tree and "@type" in tree else []
    return own + [found for key, one in tree.items() if key != "@context" for found in ids(one)]


def test_it_has_what_the_format_requires() -> None:
    tree = json.loads(text())
    assert tree.keys() >= DATASET
    assert tree["@type"] == "sc:Dataset"
    assert "http://mlcommons.org/croissant/1.0" in tree["conformsTo"]
    assert all(tree[key] for key in DATASET)
    assert tree["license"] == ["https://spdx.org/licenses/CC-BY-4.0.html", OWN]
    assert [one["name"] for one in tree["creator"]] == ["Ana"]
    assert tree["datePublished"] == "2026-01-02"
    (table,) = tree["distribution"]
    assert table.keys() >= FILE_OBJECT
    assert table["sha256"] == hashlib.sha256(attribution_csv(ROWS).encode()).hexdigest()
    (records,) = tree["recordSet"]
    assert all(field.keys() >= FIELD for field in records["field"])
    assert {one["@id"] for one in records["key"]} <= {one["@id"] for one in records["field"]}
    assert len(set(ids(tree))) == len(ids(tree)) == 1 + 1 + len(COLUMNS)


def test_its_fields_are_the_columns_of_the_table() -> None:
    header = next(csv.reader(io.StringIO(attribution_csv(ROWS))))
    (records,) = json.loads(text())["recordSet"]
    assert [field["source"]["extract"]["column"] for field in records["field"]] == header
    assert {field["source"]["fileObject"]["@id"] for field in records["field"]} == {
        "ATTRIBUTION.csv"
    }


def test_every_prefix_that_is_used_is_in_the_context() -> None:
    tree = json.loads(text())
    context = tree["@context"]

    def keys(node: Any) -> set[str]:
        if isinstance(node, list):
            return set().union(*map(keys, node))
        if not isinstance(node, dict):
            return set()
        inside = [one for name, one in node.items() if name not in {"@context", "data"}]
        return set(node) | set().union(*map(keys, inside))

    used = {key.partition(":")[0] for key in keys(tree) if ":" in key}
    assert used == {"rai"}
    assert context["rai"] == "http://mlcommons.org/croissant/RAI/"
    assert {"cr", "sc", "dct", "conformsTo", "recordSet", "field", "dataType", "data", "key"} <= (
        context.keys()
    )


def test_the_policy_is_in_it_and_how_the_sounds_were_gathered() -> None:
    assert "As agreed." in json.loads(text())["rai:dataUseCases"][0]
    procedural = [sound(1, source="procedural")]
    assert "Synthesised" in json.loads(text(procedural))["rai:dataCollection"]
    assert "Synthesised" not in json.loads(text())["rai:dataCollection"]


def test_pages_of_licences() -> None:
    assert licence_url("CC0-1.0") == "https://spdx.org/licenses/CC0-1.0.html"
    assert licence_url(OWN) == OWN
    assert licence_url("ask me") == "ask me"


def test_the_reference_reader_reads_it(tmp_path: Path, esc10: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    rows = [*scan_folder(esc10), *ROWS]
    (tmp_path / "ATTRIBUTION.csv").write_text(attribution_csv(rows), encoding="utf-8", newline="")
    path = tmp_path / "croissant.json"
    path.write_text(text(rows), encoding="utf-8")
    dataset = mlcroissant.Dataset(jsonld=str(path))  # raises on errors
    assert not dataset.metadata.ctx.issues.errors
    assert not dataset.metadata.ctx.issues.warnings
    records = list(dataset.records("sounds"))
    assert [record["sounds/path"].decode() for record in records] == [row.path for row in rows]
    assert records[0]["sounds/seconds"] == rows[0].seconds
