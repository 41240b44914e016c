"""What lies beside the sounds of a pack: manifest, licences, REAPER project, contact sheet."""

from __future__ import annotations

import collections
import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from audiogen.audio.io.chunks import plain_text
from audiogen.pack.export.sound import KINDS, Kind, Loop, licences_of
from audiogen.pages.markup import Markup, join, number, tag
from audiogen.pages.pictures import (
    Spectrogram,
    picture_uri,
    shared_reference,
    sheet_png,
    sound_uri,
    spectrogram,
)
from audiogen.provenance.attribution import plain_cell

SHEET_RATE = 24_000
"""Hz, of the sounds in the page."""
PICTURE_COLUMNS = 6
DEFAULT_BPM = 120.0
NO_MODEL = "model not stated"
LINE_ENDS = (0x2028, 0x2029)
"""Of Unicode, besides those that are control characters."""
STYLE = """
body{font:15px/1.4 system-ui,sans-serif;margin:1.5rem;background:#fbfbfa;color:#1c1c1c}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(18rem,1fr));gap:1rem}
article{background:#fff;border:1px solid #ddd;border-radius:8px;padding:.8rem;overflow:hidden}
img{width:100%;height:110px;border-radius:4px;background:#000}audio{width:100%}
h3{font-size:.95rem;margin:.1rem 0;overflow-wrap:anywhere}p{margin:.3rem 0;overflow-wrap:anywhere}
.facts{color:#555;font-size:.85rem}.prompt{max-height:6em;overflow:auto}
@media(prefers-color-scheme:dark){body{background:#161616;color:#eee}
article{background:#222;border-color:#444}.facts{color:#aaa}}
"""

# Only what the page holds itself may load, and nothing in it runs.
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;\
 media-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{style}</style></head>
{body}
</html>
"""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file of the pack.

    Attributes:
        path: relative to the pack, with `/`.
        kind: its folder.
        told: sidecar of the take.
        loop: tempo; None for what is no loop.
        facts: numbers for the manifest.
        picture: its spectrogram.
        sound: (C, T) at `SHEET_RATE`, for the page.
    """

    path: str
    kind: Kind
    told: Mapping[str, Any]
    loop: Loop | None
    facts: Mapping[str, Any]
    picture: Spectrogram
    sound: Tensor = field(repr=False)

    @property
    def prompt(self) -> str:
        """What was asked for."""
        return str(self.told.get("prompt", ""))


def drawn(wav: Tensor, rate: int) -> Spectrogram:
    """Return the picture of a sound."""
    return spectrogram(wav, rate, width=256)


def csv_cell(value: Any) -> Any:
    """Return a cell of one line that no spreadsheet runs; numbers stay numbers."""
    return plain_cell(plain_text(value)) if isinstance(value, str) else value


def manifest_text(files: Sequence[Exported]) -> str:
    """Return manifest.csv: a row per file, and all that was measured."""
    rows = [
        {
            "file": one.path,
            "kind": one.kind,
            "prompt": one.prompt,
            "seed": one.told.get("seed", ""),
            "model": one.told.get("model", ""),
            "model_digest": one.told.get("model_digest", ""),
            "licences": ", ".join(licences_of(one.told)),
            **(asdict(Loop() if one.loop is None else one.loop)),
            **one.facts,
        }
        for one in files
    ]
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    return target.getvalue()


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
        key = (str(one.told.get("model", "")), str(one.told.get("model_digest", "")))
        groups[key].append(one)
    for (model, digest), members in sorted(groups.items()):
        name = f"model {plain_text(model)} {plain_text(digest)}".rstrip() if model else NO_MODEL
        lines.append(f"{name}: {len(members)} sounds")
        counts = members[0].told.get("licences")
        known = counts.items() if isinstance(counts, dict) else ()
        lines += [f"  {plain_text(str(one))}: {count} recordings" for one, count in sorted(known)]
        lines += [] if known else ["  licences not stated"]
        lines.append("")
    return "\n".join(lines)


def pack_bpm(files: Sequence[Exported]) -> float:
    """Return the tempo that most loops have; 120 where none has one."""
    tempos = [one.loop.bpm for one in files if one.loop and one.loop.bpm]
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
    beats = collections.Counter(one.loop.beats_per_bar for one in loops if one.loop)
    lines = [
        '<REAPER_PROJECT 0.1 "7.0" 0',
        f"  TEMPO {bpm:.10g} {beats.most_common(1)[0][0] or 4} 4",
        f"  SAMPLERATE {rate} 1 0",
        "  LOOP 1",
    ]
    for one in loops:
        speed = bpm / one.loop.bpm if one.loop and one.loop.bpm else 1.0
        stem = Path(one.path).stem
        lines += [
            "  <TRACK",
            f"    NAME {rpp_text(plain_text(one.prompt[:80]) or stem)}",
            "    <ITEM",
            "      POSITION 0",
            f"      LENGTH {4 * one.facts['seconds'] / speed:.12f}",
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
    for mark in "\"'`":
        if mark not in plain:
            return f"{mark}{plain}{mark}"
    return "`" + plain.replace("`", "'") + "`"


def contact_page(pack: str, files: Sequence[Exported]) -> str:
    """Return contact.html: a card per sound with player and picture; needs nothing else."""
    reference = shared_reference([one.picture for one in files])
    body = []
    for kind in KINDS:
        cards = [_card(one, reference) for one in files if one.kind == kind]
        if cards:
            body += [tag("h2", f"{kind} ({len(cards)})"), tag("main", *cards)]
    title = html.escape(plain_text(pack))
    return PAGE.format(style=STYLE, title=title, body=tag("body", tag("h1", pack), *body))


def _card(one: Exported, reference: float) -> Markup:
    facts = [f"{one.facts['seconds']:.2f} s"]
    if one.facts["loudness_lufs"] is not None:
        facts.append(f"{one.facts['loudness_lufs']:.1f} LUFS")
    if one.loop and one.loop.bpm:
        facts.append(f"{number(one.loop.bpm)} bpm, {one.loop.bars} bars")
    facts += [str(one.facts["key"])] if one.facts["key"] else []
    facts += [f"seed {one.told['seed']}"] if "seed" in one.told else []
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
        tag("p", plain_text(one.prompt)[:2000] or "(no prompt)", class_="prompt", dir="auto"),
        tag("p", join(facts, " · "), class_="facts"),
    )


def contact_picture(path: Path, pack: str, files: Sequence[Exported]) -> None:
    """Draw contact.png: the spectrograms of all sounds with their names."""
    captions = [(Path(one.path).stem, f"{one.kind}, {one.facts['seconds']:.2f} s") for one in files]
    columns = min(PICTURE_COLUMNS, len(files))
    pictures = [one.picture for one in files]
    path.write_bytes(sheet_png(pictures, captions, columns=columns, title=plain_text(pack)))
