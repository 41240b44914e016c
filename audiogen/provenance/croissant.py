"""Croissant 1.0: the training sounds of a model as JSON-LD that other tools read.

The sounds themselves are told in the table of attributions, whose columns are the fields here.

Format: https://docs.mlcommons.org/croissant/docs/croissant-spec.html, with the responsible-AI
vocabulary of https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html where something is
known.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from audiogen.data.intake.licences import KINDS
from audiogen.provenance.attribution import ATTRIBUTION_FILE, COLUMNS, parse_attribution
from audiogen.storage import digest_of

CROISSANT_FILE = "croissant.json"
VOCABULARY: Mapping[str, Any] = yaml.safe_load(
    Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
)
RECORDS = "sounds"


def croissant_json(name: str, table: str, policy: str, *, published: date) -> str:
    """Return the text of croissant.json.

    Args:
        name: The model, after which its data set is named.
        table: The text of the table of attributions that lies beside it. The sounds are not with
            the model: the table has the path of each below the folder of sounds, and a sha256
            that tells whether a file is the one that was used.
        policy: The terms under which they were used, in sentences.
        published: The day on which the model was written.
    """
    lines = parse_attribution(table)
    hours = sum(float(line["seconds"]) for line in lines) / 3600
    authors = sorted({line["author"] for line in lines if line["author"]})
    tree = {
        "@context": VOCABULARY["context"],
        "@type": "sc:Dataset",
        "conformsTo": VOCABULARY["conforms_to"],
        "name": f"{name}-sounds",
        "description": f"The {len(lines)} sounds, {hours:.2f} hours, that the audiogen model {name}"
        " was trained on. Held-out sounds are not among them.",
        "license": [licence_url(one) for one in sorted({line["licence"] for line in lines})],
        "creator": [{"@type": "sc:Person", "name": author} for author in authors or ["unknown"]],
        # A folder has no web page: the name says what is in it.
        "url": f"urn:audiogen:sounds:{digest_of(sorted(line['sha256'] for line in lines))}",
        "datePublished": published.isoformat(),
        "version": "1.0.0",
        "citeAs": f"Training sounds of {name}; authors and sources are named file by file.",
        "rai:dataCollection": _collection(lines),
        "rai:dataPreprocessingProtocol": [
            "Files that are damaged, silent or without an allowed licence were refused. Whole"
            " recordings were held out. In training, sounds are resampled, brought to the model's"
            " channels and to one loudness, and cut to windows."
        ],
        "rai:dataUseCases": [f"Training of generative models of sound. {policy}"],
        "rai:dataLimitations": [
            "Licence, author, source and caption are as the metadata beside the files say; they"
            " were not checked against the source."
        ],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": ATTRIBUTION_FILE,
                "name": ATTRIBUTION_FILE,
                "description": "A line for each sound. A cell that a spreadsheet would run as a"
                " formula begins with an apostrophe.",
                "contentUrl": ATTRIBUTION_FILE,
                "encodingFormat": "text/csv",
                "sha256": hashlib.sha256(table.encode()).hexdigest(),
            }
        ],
        "recordSet": [_RECORD_SET],
    }
    return json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def licence_url(licence: str) -> str:
    """The page of an SPDX identifier; other texts as they are."""
    is_listed = licence in KINDS and not licence.startswith("LicenseRef-")
    return f"https://spdx.org/licenses/{licence}.html" if is_listed else licence


def _collection(lines: Sequence[Mapping[str, str]]) -> str:
    if lines and all(line["source"] == "procedural" for line in lines):
        return "Synthesised by the procedural texture generators of audiogen; nothing is recorded."
    return "A folder of sounds of the person who trained the model, with the metadata beside them."


_RECORD_SET = {
    "@type": "cr:RecordSet",
    "@id": RECORDS,
    "name": RECORDS,
    "description": "Each sound with its caption, licence, author and source.",
    # Two models may each have learnt a file of that path, and a folder may hold one file twice.
    "key": [{"@id": f"{RECORDS}/{column}"} for column in ("path", "sha256")],
    "field": [
        {
            "@type": "cr:Field",
            "@id": f"{RECORDS}/{column}",
            "name": column,
            "description": meaning,
            "dataType": "sc:Float" if column == "seconds" else "sc:Text",
            "source": {
                "fileObject": {"@id": ATTRIBUTION_FILE},
                "extract": {"column": column},
            },
        }
        for column, meaning in COLUMNS.items()
    ],
}
"""What the columns of the table are."""
