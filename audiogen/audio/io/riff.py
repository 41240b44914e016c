"""What samplers, DAWs and search tools read in WAV files: chunks behind the samples.

Layouts (little endian, padded to even sizes): `smpl`, `cue `, `LIST adtl labl` and `LIST INFO` from
"Multimedia Programming Interface and Data Specifications 1.0" (IBM and Microsoft, 1991), `acid` as
libsndfile reads it, `bext` version 2 from EBU Tech 3285, `iXML` from the iXML specification 3.01.
`bext` is ASCII by its standard; the other texts are UTF-8.
"""

from __future__ import annotations

import os
import struct
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

RIFF_BYTES = (1 << 32) - 2
INFO_BYTES = 1000
"""Of one INFO text, more than which some readers drop."""
LABEL_BYTES = 200
UNKNOWN_LEVEL = 0x7FFF
"""What a loudness field of `bext` holds when nothing was measured (EBU Tech 3285, section 2.3)."""
_ACID_ONE_SHOT, _ACID_ROOT, _ACID_STRETCH = 1, 2, 4


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """`smpl`: the key a sound has, and which parts go round for ever.

    Attributes:
        root_note: MIDI note, 0 to 127.
        loops: (start, stop) in samples, stop excluded; the file holds the last sample played.
    """

    root_note: int = 60
    loops: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Acid:
    """`acid`: tempo and metre; `root_note` is a MIDI note, or None where there is no key."""

    one_shot: bool = False
    root_note: int | None = None
    beats: int = 0
    beats_per_bar: int = 4
    bpm: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Cue:
    """A named place, in samples."""

    position: int
    label: str


@dataclass(frozen=True, kw_only=True)
class Broadcast:
    """`bext` version 2; levels have two decimals, and None is "not measured".

    Attributes:
        description: 256 characters; the first 64 are what a list shows.
        originator: 32 characters, and so has `reference`.
        date: YYYY-MM-DD.
        time: HH:MM:SS.
        loudness_lufs: integrated.
        true_peak_db: dBTP.
    """

    description: str = ""
    originator: str = ""
    reference: str = ""
    date: str = ""
    time: str = ""
    loudness_lufs: float | None = None
    true_peak_db: float | None = None


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """What stands in a WAV file beside its samples; what is empty is not written.

    Attributes:
        sampler, acid, cues, broadcast: see there.
        ixml: texts by element, such as NOTE or USER/SEED.
        info: texts by code, such as INAM or ICOP.
    """

    sampler: Sampler | None = None
    acid: Acid | None = None
    cues: tuple[Cue, ...] = ()
    broadcast: Broadcast | None = None
    ixml: Mapping[str, str] = field(default_factory=dict)
    info: Mapping[str, str] = field(default_factory=dict)


def append_chunks(path: Path, chunks: Chunks) -> dict[str, str]:
    """Write `chunks` behind the samples of a WAV file that has none of them yet.

    Returns:
        The full text of every field that had to be cut or written in ASCII, by field.

    Raises:
        ValueError: not such a file, or a number that its field cannot hold; the file stays.
    """
    info = soundfile.info(path)
    if info.format != "WAV":
        raise ValueError(f"{path}: not a WAV file (RIFF WAVE).")
    changed: dict[str, str] = {}
    try:
        packed = b"".join(_packed(chunks, info.samplerate, changed))
    except struct.error as error:
        raise ValueError(f"{path}: a number is out of the range of its field ({error}).") from None
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        padded = b"\0" * (end % 2) + packed
        if end + len(padded) - 8 > RIFF_BYTES:
            raise ValueError(f"{path}: no room for metadata in a WAV file of 4 GiB.")
        file.write(padded)
        file.seek(4)
        file.write(struct.pack("<I", end + len(padded) - 8))
    return changed


def plain_text(text: str) -> str:
    """Return `text` with a space for what neither XML nor a NUL-terminated text can hold."""
    return "".join(" " if _is_unwritable(character) else character for character in text).strip()


def _is_unwritable(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs"} or ord(character) & 0xFFFE == 0xFFFE


def _utf8(field_name: str, text: str, limit: int, changed: dict[str, str]) -> bytes:
    """Encode a text, cut between two characters; note in `changed` when something was lost."""
    data = plain_text(text).encode()
    if len(data) > limit:
        changed[field_name] = text
        data = data[:limit].decode(errors="ignore").encode()
    return data


def _ascii(field_name: str, text: str, limit: int, changed: dict[str, str]) -> bytes:
    """Encode a text without its accents, and with `?` for other letters, cut to `limit`."""
    plain = plain_text(text)
    bare = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    data = bare.encode("ascii", errors="replace")
    if data[:limit] != plain.encode():
        changed[field_name] = text
    return data[:limit]


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _packed(chunks: Chunks, rate: int, changed: dict[str, str]) -> Iterator[bytes]:
    """Yield the chunks that are not empty."""
    if chunks.broadcast is not None:
        yield _chunk(b"bext", _broadcast(chunks.broadcast, changed))
    if chunks.ixml:
        yield _chunk(b"iXML", _ixml(chunks.ixml))
    if chunks.sampler is not None:
        yield _chunk(b"smpl", _sampler(chunks.sampler, rate))
    if chunks.acid is not None:
        yield _chunk(b"acid", _acid(chunks.acid))
    if chunks.cues:
        places, labels = struct.pack("<I", len(chunks.cues)), b"adtl"
        for number, cue in enumerate(chunks.cues, 1):
            at = cue.position
            places += struct.pack("<II4sIII", number, at, b"data", 0, 0, at)
            label = _utf8(f"cue {number}", cue.label, LABEL_BYTES, changed)
            labels += _chunk(b"labl", struct.pack("<I", number) + label + b"\0")
        yield _chunk(b"cue ", places)
        yield _chunk(b"LIST", labels)
    if chunks.info:
        body = b"INFO"
        for code, text in chunks.info.items():
            body += _chunk(code.encode(), _utf8(code, text, INFO_BYTES, changed) + b"\0")
        yield _chunk(b"LIST", body)


def _sampler(sampler: Sampler, rate: int) -> bytes:
    loops = sampler.loops
    head = struct.pack("<9I", 0, 0, round(1e9 / rate), sampler.root_note, 0, 0, 0, len(loops), 0)
    # For ever is a play count of 0; the end is the last sample that is played.
    return head + b"".join(
        struct.pack("<6I", number, 0, start, stop - 1, 0, 0)
        for number, (start, stop) in enumerate(loops)
    )


def _acid(acid: Acid) -> bytes:
    flags = _ACID_ONE_SHOT if acid.one_shot else _ACID_STRETCH
    flags |= _ACID_ROOT if acid.root_note is not None else 0
    root = 60 if acid.root_note is None else acid.root_note
    return struct.pack(
        "<IHHfIHHf", flags, root, 0x8000, 0.0, acid.beats, 4, acid.beats_per_bar, acid.bpm
    )


def _broadcast(told: Broadcast, changed: dict[str, str]) -> bytes:
    return struct.pack(
        "<256s32s32s10s8sQH64s5h180s",
        _ascii("bext description", told.description, 256, changed),
        _ascii("bext originator", told.originator, 32, changed),
        _ascii("bext reference", told.reference, 32, changed),
        told.date.encode("ascii"),
        told.time.encode("ascii"),
        0,  # samples since midnight
        2,  # the version
        b"",
        _hundredths(told.loudness_lufs),
        UNKNOWN_LEVEL,  # range of the loudness
        _hundredths(told.true_peak_db),
        UNKNOWN_LEVEL,  # momentary loudness
        UNKNOWN_LEVEL,  # short-term loudness
        b"",
    )


def _hundredths(level: float | None) -> int:
    """A level as two bytes hold it."""
    return UNKNOWN_LEVEL if level is None else round(100 * max(-327.0, min(327.0, level)))


def _ixml(texts: Mapping[str, str]) -> bytes:
    root = ET.Element("BWFXML")
    for name, text in {"IXML_VERSION": "3.01", **texts}.items():
        parent, _, leaf = name.rpartition("/")
        above = root
        if parent:
            known = root.find(parent)
            above = ET.SubElement(root, parent) if known is None else known
        ET.SubElement(above, leaf).text = plain_text(text)
    body: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return body
