"""What lies beside the sounds of a pack: manifest, licences, REAPER project, contact sheet."""

from __future__ import annotations

import collections
import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from audiogen.audio.io.riff import plain_text
from audiogen.pack.export.sound import KINDS, Kind
from audiogen.pages.markup import Markup, fill_page, join, number, tag
from audiogen.pages.pictures import (
    Spectrogram,
    picture_uri,
    shared_reference,
    sheet_png,
    sound_uri,
)
from audiogen.provenance.attribution import plain_cell
from audiogen.takes.take import Take

SHEET_RATE = 24_000
"""Hz, of the sounds in the page."""
PICTURE_COLUMNS = 6
CONTACT_PAGE = Path(__file__).with_name("contact.html")
DEFAULT_BPM = 120.0
NO_MODEL = "model not stated"
LINE_ENDS = (0x2028, 0x2029)
"""Of Unicode, besides those that are control characters."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file of the pack.

    Attributes:
        path: relative to the pack, with `/`.
        kind: its folder.
        take: with what was measured on the exported sound.
        picture: its spectrogram.
        sound: (C, T) at `SHEET_RATE`, for the page.
    """

    path: str
    kind: Kind
    take: Take
    picture: Spectrogram
    sound: Tensor = field(repr=False)

    @property
    def seconds(self) -> float:
        """Length, s."""
        return (self.take.samples or 0) / (self.take.sample_rate or 1)


def csv_cell(value: Any) -> Any:
    """Return a cell of one line that no spreadsheet runs; numbers stay numbers."""
    return plain_cell(plain_text(value)) if isinstance(value, str) else value


def manifest_text(files: Sequence[Exported]) -> str:
    """Return manifest.csv: a row per file, and all that was measured."""
    rows = [_manifest_row(one) for one in files]
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    return target.getvalue()


def _manifest_row(one: Exported) -> dict[str, Any]:
    take, tempo, from_file = one.take, one.take.tempo, one.take.export
    measures = {} if take.measures is None else asdict(take.measures)
    return {
        "file": one.path,
        "kind": one.kind,
        "prompt": take.prompt,
        "seed": take.seed if take.model else "",
        "model": take.model,
        "model_digest": take.model_digest,
        "licences": ", ".join(sorted(take.licences)),
        "bpm": None if tempo is None else tempo.bpm,
        "bars": None if tempo is None else tempo.bars,
        "beats_per_bar": None if tempo is None else tempo.beats_per_bar,
        **{
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in measures.items()
        },
        "seconds": one.seconds,
        "samples": take.samples,
        "sample_rate": take.sample_rate,
        "channels": one.sound.shape[0],
        "seam_score": None if take.seam is None else take.seam.score,
        "star": from_file is not None and from_file.star,
        "note": "" if from_file is None else from_file.note,
        "take": "" if from_file is None else from_file.file,
        "sha256": "" if from_file is None else from_file.sha256,
    }


def licence_text(pack: str, files: Sequence[Exported]) -> str:
    """Return LICENSE.txt: under which licences the sounds stand that the models learnt from."""
    lines = [
        f"{pack}: {len(files)} sounds made with audiogen.",
        "",
        "The models learnt from recordings under the licences below. Check what these ask for,",
        "such as naming the authors (ATTRIBUTION.csv, where it is enclosed), before you publish.",
        "",
    ]
    groups: dict[tuple[str, str], list[Exported]] = collections.defaultdict(list)
    for one in files:
        groups[one.take.model, one.take.model_digest].append(one)
    for (model, digest), members in sorted(groups.items()):
        name = f"model {plain_text(model)} {plain_text(digest)}".rstrip() if model else NO_MODEL
        lines.append(f"{name}: {len(members)} sounds")
        known = sorted(members[0].take.licences.items())
        lines += [f"  {plain_text(licence)}: {count} recordings" for licence, count in known]
        lines += [] if known else ["  licences not stated"]
        lines.append("")
    return "\n".join(lines)


def pack_bpm(files: Sequence[Exported]) -> float:
    """Return the tempo that most loops have; 120 where none has one."""
    tempos = [one.take.tempo.bpm for one in files if one.take.tempo]
    return collections.Counter(tempos).most_common(1)[0][0] if tempos else DEFAULT_BPM


def reaper_project(files: Sequence[Exported], rate: int) -> str | None:
    """Return a REAPER project with each loop on its own track, or None where there is no loop.

    Each loop is repeated four times from the start; one of another tempo is played at the pack's,
    its pitch kept.
    """
    loops = [one for one in files if one.kind == "Loops"]
    if not loops:
        return None
    bpm = pack_bpm(files)
    beats = collections.Counter(one.take.tempo.beats_per_bar for one in loops if one.take.tempo)
    per_bar = beats.most_common(1)[0][0] if beats else 4
    lines = [
        '<REAPER_PROJECT 0.1 "7.0" 0',
        f"  TEMPO {bpm:.10g} {per_bar} 4",
        f"  SAMPLERATE {rate} 1 0",
        "  LOOP 1",
    ]
    for one in loops:
        speed = bpm / one.take.tempo.bpm if one.take.tempo else 1.0
        stem = Path(one.path).stem
        lines += [
            "  <TRACK",
            f"    NAME {rpp_text(plain_text(one.take.prompt[:80]) or stem)}",
            "    <ITEM",
            "      POSITION 0",
            f"      LENGTH {4 * one.seconds / speed:.12f}",
            "      LOOP 1",
            f"      NAME {rpp_text(stem)}",
            f"      PLAYRATE {speed:.12g} 1 0 -1 0 0.0025",
            f"      <SOURCE {'FLAC' if one.path.endswith('.flac') else 'WAVE'}",
            f"        FILE {rpp_text(one.path)}",
            "      >",
            "    >",
            "  >",
        ]
    return "\n".join([*lines, ">", ""])


def rpp_text(text: str) -> str:
    """Quote a text as REAPER does: by the first of three marks that it does not hold.

    It stays on its line. Where it holds all three, its backquotes become single quotes.
    """
    plain = plain_text(text).translate(dict.fromkeys(LINE_ENDS, " "))
    mark = next((mark for mark in "\"'`" if mark not in plain), "")
    return f"{mark}{plain}{mark}" if mark else "`" + plain.replace("`", "'") + "`"


def contact_page(pack: str, files: Sequence[Exported]) -> str:
    """Return contact.html: a card per sound with player and picture; needs nothing else."""
    reference = shared_reference([one.picture for one in files])
    body = []
    for kind in KINDS:
        cards = [_card(one, reference) for one in files if one.kind == kind]
        if cards:
            body += [tag("h2", f"{kind} ({len(cards)})"), tag("main", *cards)]
    return fill_page(plain_text(pack), CONTACT_PAGE, body=tag("body", tag("h1", pack), *body))


def _card(one: Exported, reference: float) -> Markup:
    take, measured = one.take, one.take.measures
    facts = [f"{one.seconds:.2f} s"]
    if measured is not None and measured.loudness_lufs is not None:
        facts.append(f"{measured.loudness_lufs:.1f} LUFS")
    if take.tempo is not None:
        facts.append(f"{number(take.tempo.bpm)} bpm, {take.tempo.bars} bars")
    facts += [measured.key] if measured is not None and measured.key else []
    facts += [f"seed {take.seed}"] if take.model else []
    return tag(
        "article",
        tag("h3", Path(one.path).name),
        tag("img", src=picture_uri(one.picture, reference_db=reference), alt="spectrogram"),
        tag(
            "audio",
            controls=True,
            preload="metadata",
            loop=one.kind == "Loops",
            src=sound_uri(one.sound, SHEET_RATE),
        ),
        tag("p", plain_text(one.take.prompt)[:2000] or "(no prompt)", class_="prompt", dir="auto"),
        tag("p", join(facts, " · "), class_="facts"),
    )


def contact_picture(path: Path, pack: str, files: Sequence[Exported]) -> None:
    """Draw contact.png: the spectrograms of all sounds with their names."""
    captions = [(Path(one.path).stem, f"{one.kind}, {one.seconds:.2f} s") for one in files]
    columns = min(PICTURE_COLUMNS, len(files))
    pictures = [one.picture for one in files]
    path.write_bytes(sheet_png(pictures, captions, columns=columns, title=plain_text(pack)))
