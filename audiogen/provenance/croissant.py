"""Croissant 1.0: the training sounds of a model as JSON-LD that other tools read.

Format: https://docs.mlcommons.org/croissant/docs/croissant-spec.html, with the responsible-AI
vocabulary of https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html where something is
known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from audiogen.data.intake.licences import KINDS, LicenceTerms
from audiogen.data.manifest import ManifestRow
from audiogen.storage import digest_of, read_json

CROISSANT_FILE = "croissant.json"
VOCABULARY: Mapping[str, Any] = yaml.safe_load(
    Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
)
FIELDS: Mapping[str, str] = VOCABULARY["fields"]  # of the record set, with their types
RECORDS = "sounds"


def croissant_json(
    name: str, rows: Sequence[ManifestRow], terms: LicenceTerms, *, published: date
) -> str:
    """Return the text of croissant.json.

    Args:
        name: The model, after which its data set is named.
        rows: The training files. Their bytes are not with the model: `contentUrl` is the path
            below the folder of sounds, in an archive that the record of the sound names, and
            `sha256` tells whether a file is the one that was used.
        terms: The terms under which they were used.
        published: The day on which the model was written.
    """
    hours = sum(row.seconds for row in rows) / 3600
    title = f"{name}-sounds"
    tree = {
        "@context": VOCABULARY["context"],
        "@type": "sc:Dataset",
        "conformsTo": VOCABULARY["conforms_to"],
        "name": title,
        "description": f"The {len(rows)} sounds, {hours:.2f} hours, that the audiogen model {name}"
        " was trained on. Held-out sounds are not among them.",
        "license": [licence_url(one) for one in sorted({row.licence for row in rows})],
        "creator": [
            {"@type": "sc:Person", "name": author}
            for author in sorted({row.author for row in rows if row.author}) or ["unknown"]
        ],
        # A folder has no web page: the name says what is in it.
        "url": f"urn:audiogen:sounds:{digest_of(sorted(row.sha256 for row in rows))}",
        "datePublished": published.isoformat(),
        "version": "1.0.0",
        "citeAs": f"Training sounds of {name}; authors and sources are named file by file.",
        "rai:dataCollection": _collection(rows),
        "rai:dataPreprocessingProtocol": [
            "Files that are damaged, silent or without an allowed licence were refused. Whole"
            " recordings were held out. In training, sounds are resampled, brought to the model's"
            " channels and to one loudness, and cut to windows."
        ],
        "rai:dataUseCases": [f"Training of generative models of sound. {terms.describe()}"],
        "rai:dataLimitations": [
            "Licence, author, source and caption are as the metadata beside the files say; they"
            " were not checked against the source."
        ],
        "distribution": [_file_object(number, row) for number, row in enumerate(rows)],
        "recordSet": [_record_set(rows)],
    }
    return json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def licence_url(licence: str) -> str:
    """The page of an SPDX identifier; other texts as they are."""
    is_listed = licence in KINDS and not licence.startswith("LicenseRef-")
    return f"https://spdx.org/licenses/{licence}.html" if is_listed else licence


def read_croissant(path: Path) -> list[dict[str, str]]:
    """Return the records of what `croissant_json` made: a mapping of texts per sound.

    Raises:
        ValueError: it is not such a file.
    """
    try:
        sets = read_json(path)["recordSet"]
        records = next(one["data"] for one in sets if one["@id"] == RECORDS)
        plain = [{key.removeprefix(f"{RECORDS}/"): str(row[key]) for key in row} for row in records]
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration):
        raise ValueError(f"{path}: not a Croissant file of audiogen.") from None
    if any(FIELDS.keys() - row.keys() for row in plain):
        raise ValueError(f"{path}: its records lack some of {', '.join(FIELDS)}.")
    return plain


def _collection(rows: Sequence[ManifestRow]) -> str:
    if rows and all(row.source == "procedural" for row in rows):
        return "Synthesised by the procedural texture generators of audiogen; nothing is recorded."
    return "A folder of sounds of the person who trained the model, with the metadata beside them."


def _file_object(number: int, row: ManifestRow) -> dict[str, str]:
    path = PurePosixPath(row.path)
    return {
        "@type": "cr:FileObject",
        "@id": f"sound-{number:06d}",
        "name": path.name,
        "contentUrl": row.path,
        "encodingFormat": VOCABULARY["media_types"].get(
            path.suffix.lower(), "application/octet-stream"
        ),
        "sha256": row.sha256,
    }


def _record_set(rows: Sequence[ManifestRow]) -> dict[str, Any]:
    """What is known of each sound, as records inside the file."""
    return {
        "@type": "cr:RecordSet",
        "@id": RECORDS,
        "name": RECORDS,
        "description": "Each sound with its caption, licence, author and source.",
        "key": {"@id": f"{RECORDS}/path"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{RECORDS}/{field}",
                "name": field,
                "description": f"{field} as in the manifest of the run",
                "dataType": kind,
            }
            for field, kind in FIELDS.items()
        ],
        "data": [{f"{RECORDS}/{field}": getattr(row, field) for field in FIELDS} for row in rows],
    }
