"""Reads the metadata chunks of WAV files that `audiogen` writes, for tests to compare."""

import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from audiogen.audio.io.riff import Acid, Broadcast, Chunks, Cue, Sampler

HEAD = "<256s32s32s10s8sQH64s5h180s"
UNKNOWN_LEVEL = 0x7FFF
ONE_SHOT, ROOT = 1, 2


def read_chunks(path: Path) -> Chunks:
    """Read what `append_chunks` wrote."""
    found: dict[bytes, bytes] = {}
    for name, data in _members(path.read_bytes(), at=12):
        found.setdefault(data[:4] if name == b"LIST" else name, data)
    return Chunks(
        sampler=_read_sampler(found[b"smpl"]) if b"smpl" in found else None,
        acid=_read_acid(found[b"acid"]) if b"acid" in found else None,
        cues=_read_cues(found.get(b"cue ", b""), found.get(b"adtl", b"")),
        broadcast=_read_broadcast(found[b"bext"]) if b"bext" in found else None,
        ixml=_read_ixml(found[b"iXML"]) if b"iXML" in found else {},
        info=_read_info(found.get(b"INFO", b"")),
    )


def _read_sampler(data: bytes) -> Sampler:
    values = struct.unpack_from("<9I", data)
    loops = [struct.unpack_from("<6I", data, 36 + 24 * number) for number in range(values[7])]
    return Sampler(
        root_note=values[3],
        loops=tuple((loop[2], loop[3] + 1) for loop in loops),
    )


def _read_acid(data: bytes) -> Acid:
    flags, root, _, _, beats, _, beats_per_bar, bpm = struct.unpack_from("<IHHfIHHf", data)
    return Acid(
        one_shot=bool(flags & ONE_SHOT),
        root_note=root if flags & ROOT else None,
        beats=beats,
        beats_per_bar=beats_per_bar,
        bpm=bpm,
    )


def _read_cues(data: bytes, adtl: bytes) -> tuple[Cue, ...]:
    labels = {}
    for name, body in _members(adtl):
        if name == b"labl":
            labels[struct.unpack_from("<I", body)[0]] = body[4:].rstrip(b"\0").decode()
    count = struct.unpack_from("<I", data)[0] if data else 0
    found = [struct.unpack_from("<II4sIII", data, 4 + 24 * number) for number in range(count)]
    return tuple(Cue(position=one[5], label=labels.get(one[0], "")) for one in found)


def _read_broadcast(data: bytes) -> Broadcast:
    *texts, _, _, _, loudness, span, peak, momentary, short_term, _ = struct.unpack_from(HEAD, data)
    assert (span, momentary, short_term) == (UNKNOWN_LEVEL,) * 3
    levels = [None if level == UNKNOWN_LEVEL else level / 100 for level in (loudness, peak)]
    words = [text.split(b"\0")[0].decode("ascii", errors="replace") for text in texts]
    return Broadcast(
        description=words[0],
        originator=words[1],
        reference=words[2],
        date=words[3],
        time=words[4],
        loudness_lufs=levels[0],
        true_peak_db=levels[1],
    )


def _read_ixml(data: bytes) -> dict[str, str]:
    root = ET.fromstring(data.rstrip(b"\0"))  # noqa: S314 - written by us
    texts: dict[str, str] = {}
    for child in root:
        inner = list(child)
        for leaf in inner:
            texts[f"{child.tag}/{leaf.tag}"] = leaf.text or ""
        if not inner and child.tag != "IXML_VERSION":
            texts[child.tag] = child.text or ""
    return texts


def _read_info(data: bytes) -> dict[str, str]:
    return {name.decode("ascii"): body.rstrip(b"\0").decode() for name, body in _members(data)}


def _members(data: bytes, at: int = 4) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and data of the chunks in a file or, from byte 4, in a LIST."""
    while at + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 4)
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
