"""The Croissant file: what the format asks for, and what reading it gives back.

The reference reader, mlcroissant, brings pandas and an RDF library with it and is no dependency of
the tests. Where it happens to be installed, it reads the file too.
"""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from audiogen.data.intake.licences import OWN, LicenceTerms
from audiogen.data.intake.scan import scan_folder
from audiogen.data.manifest import ManifestRow
from audiogen.provenance.croissant import FIELDS, croissant_json, licence_url, read_croissant

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


def text(rows: list[ManifestRow] = ROWS, terms: LicenceTerms | None = None) -> str:
    return croissant_json("x", rows, terms or LicenceTerms(), published=date(2026, 1, 2))


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
    for item, row in zip(tree["distribution"], ROWS, strict=True):
        assert item.keys() == FILE_OBJECT
        assert (item["@type"], item["contentUrl"], item["sha256"]) == (
            "cr:FileObject",
            row.path,
            row.sha256,
        )
        assert item["encodingFormat"].startswith("audio/")
    (records,) = tree["recordSet"]
    assert all(field.keys() >= FIELD for field in records["field"])
    names = {field["@id"] for field in records["field"]}
    assert all(set(record) == names for record in records["data"])
    assert records["key"]["@id"] in names
    assert len(set(ids(tree))) == len(ids(tree)) == len(ROWS) + 1 + len(FIELDS)


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


def test_the_policy_and_the_statement_are_in_it() -> None:
    told = json.loads(text(terms=LicenceTerms(licence_policy="research", i_own_these=True)))
    assert "Licence policy: research" in told["rai:dataUseCases"][0]
    assert "i_own_these" in told["rai:dataUseCases"][0]
    procedural = [sound(1, source="procedural")]
    assert "Synthesised" in json.loads(text(procedural))["rai:dataCollection"]
    assert "Synthesised" not in json.loads(text())["rai:dataCollection"]


def test_read_back(tmp_path: Path) -> None:
    path = tmp_path / "croissant.json"
    path.write_text(text(), encoding="utf-8")
    found = read_croissant(path)
    assert [row["archive"] for row in found] == ["", "", "a.tar"]
    assert found == [{name: str(getattr(row, name)) for name in FIELDS} for row in ROWS]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"recordSet": [{"@id": "sounds", "data": [{"sounds/path": "a"}]}]}',
        b'{"recordSet": [1]}',
        b"\xff",
    ],
)
def test_another_file_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "croissant.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="croissant"):
        read_croissant(path)


def test_pages_of_licences() -> None:
    assert licence_url("CC0-1.0") == "https://spdx.org/licenses/CC0-1.0.html"
    assert licence_url(OWN) == OWN
    assert licence_url("ask me") == "ask me"


def test_the_reference_reader_reads_it(tmp_path: Path, esc10: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    rows = scan_folder(esc10)
    path = tmp_path / "croissant.json"
    path.write_text(text([*rows, *ROWS]), encoding="utf-8")
    dataset = mlcroissant.Dataset(jsonld=str(path))  # raises on errors
    assert not dataset.metadata.ctx.issues.errors
    assert not dataset.metadata.ctx.issues.warnings
    records = list(dataset.records("sounds"))
    assert [record["sounds/path"] for record in records] == [row.path for row in [*rows, *ROWS]]
