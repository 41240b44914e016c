"""What intake found in a folder, as one self-contained page with pictures of what is wrong."""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiogen.audio.io.preview import PREVIEW_SECONDS, preview_file
from audiogen.audio.io.sandbox import run_contained
from audiogen.data.intake.scan import INTAKE_REASONS, INTAKE_WARNINGS
from audiogen.data.manifest import ManifestRow
from audiogen.evaluation.report.data_section import data_section, total_length
from audiogen.pages.charts import screen, svg_path
from audiogen.pages.markup import Markup, duration, fill_page, join, section, table, tag, tiles
from audiogen.pages.pictures import FloatArray, shared_reference, spectrogram
from audiogen.storage import atomic_write_text

MAX_PICTURES = 96  # of each section; a page of some megabytes
WIDTH = 300  # columns of a picture
WAVE_HEIGHT = 44
_MEANINGS = {**INTAKE_REASONS, **INTAKE_WARNINGS}

Sound = tuple[torch.Tensor, int]  # (1, T) and its rate in Hz


def write_intake_page(target: Path, folder: Path, rows: Sequence[ManifestRow]) -> None:
    """Write the HTML file `target` about the rows that `scan_folder` returned of a folder.

    Its sounds are decoded again, in child processes; missing folders of `target` are made.
    """
    used = [row for row in rows if row.verdict == "used"]
    warned = [row for row in used if row.warnings]
    refused = [row for row in rows if row.verdict == "refused"]
    name = folder.resolve().name or str(folder)
    facts = [
        (f"{len(used):,}", "files used"),
        (total_length(used), "of sound"),
        (f"{len(refused):,}", "files refused"),
        (f"{len(warned):,}", "used with a warning"),
        (f"{sum(bool(row.copy_of) for row in used):,}", "copies of another file"),
    ]
    body = [
        tag("header", tag("h1", name), tag("p", _lead(rows), class_="lead"), tiles(facts)),
        _counts("refused", "Refused", [row.reason for row in refused]),
        _gallery(folder, refused, {row.path: [row.reason] for row in refused}, "refused-files"),
        _counts("warnings", "Used, but", [code for row in warned for code in row.warnings]),
        _gallery(folder, warned, {row.path: list(row.warnings) for row in warned}, "warned-files"),
        data_section(rows, "There is no sound in the folder."),
    ]
    atomic_write_text(target, fill_page(f"{name} · sounds", body=join(body)))


def _lead(rows: Sequence[ManifestRow]) -> str:
    if not rows:
        return "No file here looks like a sound."
    if all(row.verdict == "refused" for row in rows):
        return "None of these files can be used."
    if any(row.verdict == "refused" or row.warnings for row in rows):
        return "What intake refuses, and what it uses with a warning."
    return "Nothing is wrong with any of these files."


def _counts(anchor: str, title: str, codes: Sequence[str]) -> Markup:
    """Return a section with a line per reason or warning."""
    counts = Counter(codes).most_common()
    if not counts:
        return section(anchor, title, tag("p", "None.", class_="quiet"))
    lines = [(code, f"{count:,}", _MEANINGS.get(code, "")) for code, count in counts]
    return section(anchor, title, table(("code", "files", "meaning"), lines, "credit"))


def _gallery(
    folder: Path, rows: Sequence[ManifestRow], codes: Mapping[str, Sequence[str]], anchor: str
) -> Markup:
    """Return cards of the files, every reason in turn as long as there is room."""
    chosen = _spread(rows, codes)
    if not chosen:
        return Markup("")
    replies = run_contained(preview_file, [row.sound(folder) for row in chosen])
    sounds = [None if isinstance(reply, str) else _sound(reply) for reply in replies]
    cards = [_card(row, codes[row.path], sound) for row, sound in zip(chosen, sounds, strict=True)]
    left = len(rows) - len(chosen)
    note = f" {left:,} more files are in the lists only." if left else ""
    how = (
        f"The loudest channel, at most {PREVIEW_SECONDS:.0f} s: log-mel spectrogram, Hz upwards,"
        f" and waveform between -1 and 1.{note}"
    )
    shown = tag("div", *cards, class_="cards")
    return tag("div", tag("p", how, class_="how"), shown, id=anchor, class_="group")


def _spread(rows: Sequence[ManifestRow], codes: Mapping[str, Sequence[str]]) -> list[ManifestRow]:
    """Choose up to `MAX_PICTURES` rows, in turn from every first code, in their order."""
    queues: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        queues[codes[row.path][0]].append(index)
    turns = sorted((turn, index) for queue in queues.values() for turn, index in enumerate(queue))
    return [rows[index] for index in sorted(index for _, index in turns[:MAX_PICTURES])]


def _sound(reply: Mapping[str, Any]) -> Sound:
    """Return the sound in a reply of `preview_file`."""
    samples = np.frombuffer(base64.b64decode(reply["samples"]), dtype="<i2")
    return torch.from_numpy(samples.astype(np.float32) / 32768)[None], int(reply["sample_rate"])


def _card(row: ManifestRow, codes: Sequence[str], sound: Sound | None) -> Markup:
    """Return a picture of a file with its name and what is wrong with it."""
    if sound is None:
        picture = tag("p", "Nothing of it can be decoded.", class_="missing")
    else:
        image = spectrogram(*sound, width=WIDTH)
        reference = shared_reference([image])
        alt = f"Spectrogram of {row.path}"
        picture = join([screen(image, reference_db=reference, alt=alt), _waveform(sound[0])])
    length = f"{duration(row.seconds)}, {row.sample_rate:,} Hz, " if row.seconds else ""
    of = tag("p", "copy of ", row.copy_of, class_="quiet") if row.copy_of else ""
    meanings = "; ".join(_MEANINGS.get(code, code) for code in codes)
    words = tag("p", length + ", ".join(codes), title=meanings)
    caption = tag("figcaption", tag("div", tag("b", row.path), words, of))
    return tag("figure", picture, caption, class_="player")


def _waveform(wav: torch.Tensor) -> Markup:
    """Draw the envelope of a sound (1, T) as SVG."""
    levels: FloatArray = wav[0].double().numpy()
    starts = np.unique(np.linspace(0, len(levels), WIDTH, endpoint=False).astype(int))
    middle = WAVE_HEIGHT / 2
    high = middle * (1 - np.maximum.reduceat(levels, starts))
    low = middle * (1 - np.minimum.reduceat(levels, starts)) + 0.5  # silence is a thin line
    across = np.linspace(0, WIDTH, len(starts))
    points = [*zip(across, high, strict=True), *zip(across[::-1], low[::-1], strict=True)]
    return tag(
        "svg",
        tag("path", d=f"{svg_path(points)}Z", fill="currentColor"),
        viewBox=f"0 0 {WIDTH} {WAVE_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label="Waveform",
        style="display:block;width:100%;height:44px;color:var(--takes)",
    )
