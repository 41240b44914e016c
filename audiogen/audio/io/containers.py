"""What sound files say about themselves, checked where libsndfile believes them blindly.

Each format repeats itself: WAV and AIFF give the size of the samples, of a frame, and of the file;
Ogg has a checksum and a number on every page, FLAC one checksum of all samples; an MP3 consists of
frames that can be counted. What contradicts itself is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from audiogen.audio.io.streams import ContainerError, check_ogg, count_mp3, is_mpeg_sync

Kind = Literal["WAV", "AIFF", "OGG", "FLAC", "MPEG"]
UNKNOWN_SIZES = {0x7FFF, 0x8000, 0xFFFF}  # upper half of sizes that recorders write to a pipe
MAX_CHUNKS = 10_000
EXTENSIBLE, MP3_TAG = 0xFFFE, 0x55  # WAVE format tags
FIXED_WIDTH = {1, 3, 6, 7}  # WAVE format tags whose frames have a fixed size: PCM, float, G.711
AIFC_FIXED_WIDTH = {b"NONE", b"sowt", b"twos", b"in24", b"in32", b"fl32", b"FL32", b"fl64", b"FL64"}


@dataclass(frozen=True, kw_only=True)
class Container:
    """What a file announces.

    Attributes:
        kind: of format, told by the content.
        found: whether the samples were found; where not, libsndfile must not find them either.
        frames: how many there must be; None when the format does not say.
        is_mp3: the samples are MP3, in a file of their own or in a WAV, as ffmpeg writes.
        counted: `frames` were counted in an MP3 that itself does not say how many it has.
        md5: FLAC's checksum of all samples; empty when there is none.
        bits: per sample, of FLAC.
    """

    kind: Kind
    found: bool = True
    frames: int | None = None
    is_mp3: bool = False
    counted: bool = False
    md5: bytes = b""
    bits: int = 0


def examine(raw: BinaryIO, size: int) -> Container:
    """Tell the format by its content and check what it says about itself.

    Args:
        raw: The open file.
        size: The size of the file in bytes.

    Raises:
        ContainerError: it is no sound, or contradicts itself.
    """
    start = _behind_id3(raw)
    raw.seek(start)
    head = raw.read(42)
    if head[:4] == b"fLaC":
        return _flac(head)
    if start == 0 and head[8:12] == b"WAVE" and head[:4] in {b"RIFF", b"RIFX", b"RF64"}:
        return _wav(raw, size, ">" if head[:4] == b"RIFX" else "<")
    if start == 0 and head[8:12] in {b"AIFF", b"AIFC"} and head[:4] == b"FORM":
        return _aiff(raw, size)
    if start == 0 and head[:4] == b"OggS":
        check_ogg(raw, size)
        return Container(kind="OGG")
    if start or is_mpeg_sync(head):
        frames, announced = count_mp3(raw, start)
        return Container(kind="MPEG", frames=frames, is_mp3=True, counted=not announced)
    raise ContainerError("not_audio")


IFF_TYPES = {b"WAVE", b"AIFF", b"AIFC"}


def is_sound(file: Path) -> bool:
    """Whether a file begins as the sounds that are read do, whatever it is called."""
    try:
        with file.open("rb") as raw:
            head = raw.read(12)
    except OSError:
        return False
    return head[:4] in {b"fLaC", b"OggS"} or head[:3] == b"ID3" or head[8:12] in IFF_TYPES


def _behind_id3(raw: BinaryIO) -> int:
    """Return where an ID3v2 tag at the start ends; its size has 7 bits to the byte."""
    raw.seek(0)
    head = raw.read(10)
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    return 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])


def _flac(head: bytes) -> Container:
    """Read the stream information, which comes first (RFC 9639, section 8.2)."""
    if len(head) < 42:
        raise ContainerError("truncated", "the header is cut off")
    packed = int.from_bytes(head[18:26], "big")  # 20 bits rate, 3 channels, 5 width, 36 frames
    frames, bits = packed & ((1 << 36) - 1), (packed >> 36 & 31) + 1
    if not frames:
        raise ContainerError("unknown_length", "a FLAC that was written to a pipe")
    md5 = head[26:42] if any(head[26:42]) else b""
    return Container(kind="FLAC", frames=frames, md5=md5, bits=bits)


def _wav(raw: BinaryIO, size: int, order: str) -> Container:
    """Check sizes and format of RIFF, RIFX and RF64 (EBU Tech 3306) against each other."""
    chunks, stop, form_end = _walk(raw, order, samples=b"data")
    if b"data" not in chunks:
        return Container(kind="WAV", found=False)
    body, length = chunks[b"data"]
    if length >> 16 in UNKNOWN_SIZES:
        long_size = _long_size(raw, chunks)
        length = size - body if long_size is None else long_size
        stop = size
    _require_sizes(body + length, stop, form_end, size)
    if _format_tag(raw, chunks, order) == MP3_TAG:
        frames, announced = count_mp3(raw, body, length)
        return Container(kind="WAV", frames=frames, is_mp3=True, counted=not announced)
    width = _frame_bytes(raw, chunks, order)
    return Container(kind="WAV", frames=length // width if width else None)


def _long_size(raw: BinaryIO, chunks: Mapping[bytes, tuple[int, int]]) -> int | None:
    """Return the 64-bit size of the samples; None when there is none."""
    if b"ds64" not in chunks:
        return None
    raw.seek(chunks[b"ds64"][0] + 8)
    field = raw.read(8)
    return int.from_bytes(field, "little") if len(field) == 8 else None


def _format_tag(raw: BinaryIO, chunks: Mapping[bytes, tuple[int, int]], order: str) -> int:
    """Return the WAVE format tag, 0 when there is none."""
    raw.seek(chunks.get(b"fmt ", (0, 0))[0])
    field = raw.read(2)
    return int(struct.unpack(order + "H", field)[0]) if b"fmt " in chunks and field[1:] else 0


def _frame_bytes(raw: BinaryIO, chunks: Mapping[bytes, tuple[int, int]], order: str) -> int:
    """Return the bytes of a frame, 0 when they are not fixed."""
    raw.seek(chunks.get(b"fmt ", (0, 0))[0])
    body = raw.read(26)
    if b"fmt " not in chunks or len(body) < 16:
        return 0
    tag, channels, rate, per_second, frame, bits = struct.unpack(order + "HHIIHH", body[:16])
    if tag == EXTENSIBLE and len(body) == 26:
        (tag,) = struct.unpack(order + "H", body[24:])
    if tag not in FIXED_WIDTH:
        return 0
    needed = channels * ((bits + 7) // 8)
    if frame != needed & 0xFFFF:
        detail = f"{channels} channels of {bits} bits need {needed} bytes a frame, not {frame}"
        raise ContainerError("contradictory", detail)
    if per_second not in {0, rate * frame & 0xFFFF_FFFF}:  # some recorders leave it 0
        detail = f"{rate} Hz need {rate * frame} bytes a second, not {per_second}"
        raise ContainerError("contradictory", detail)
    return int(frame)


def _aiff(raw: BinaryIO, size: int) -> Container:
    """Check the common chunk of AIFF and AIFC against the sizes."""
    chunks, stop, form_end = _walk(raw, ">", samples=b"SSND")
    if b"SSND" not in chunks or b"COMM" not in chunks:
        return Container(kind="AIFF", found=False)
    body, length = chunks[b"SSND"]
    _require_sizes(body + length, stop, form_end, size)
    raw.seek(body)
    offset_field = raw.read(4)
    raw.seek(chunks[b"COMM"][0])
    common = raw.read(22)
    if len(common) < 18 or len(offset_field) < 4:
        return Container(kind="AIFF", found=False)
    channels, frames, bits = struct.unpack(">HIH", common[:8])
    if chunks[b"COMM"][1] >= 22 and common[18:] not in AIFC_FIXED_WIDTH:
        return Container(kind="AIFF")
    needed = channels * frames * ((bits + 7) // 8)
    present = length - 8 - int.from_bytes(offset_field, "big")
    if needed != present:
        detail = f"{frames} frames need {needed} bytes, but there are {present}"
        raise ContainerError("contradictory", detail)
    return Container(kind="AIFF", frames=frames)


def _walk(
    raw: BinaryIO, order: str, *, samples: bytes
) -> tuple[dict[bytes, tuple[int, int]], int, int]:
    """Walk the chunks of RIFF or IFF, of which one, `samples`, holds the samples.

    Returns:
        place of the body and length of the first chunk of every name; where the walk stopped
        understanding; where the file should end by its own word.
    """
    raw.seek(4)
    form_end = 8 + int(struct.unpack(order + "I", raw.read(4))[0])
    chunks: dict[bytes, tuple[int, int]] = {}
    place = 12
    for _ in range(MAX_CHUNKS):
        header = _at(raw, place)
        if header is None or (place == form_end and samples in chunks):
            break
        length = int(struct.unpack(order + "I", header[4:])[0])
        chunks.setdefault(header[:4], (place + 8, length))
        place += 8 + length
        # Odd chunks are followed by a byte of padding, which some programs forget.
        if length % 2 and (_at(raw, place) is None or _at(raw, place + 1) is not None):
            place += 1
    return chunks, place, form_end


def _at(raw: BinaryIO, place: int) -> bytes | None:
    """Return the header of the chunk at a place; None if none can be there."""
    raw.seek(place)
    header = raw.read(8)
    printable = len(header) == 8 and all(32 <= letter < 127 for letter in header[:4])
    return header if printable else None


def _require_sizes(samples_end: int, stop: int, form_end: int, size: int) -> None:
    """Refuse samples that are cut off, and bytes behind them inside of what the file claims."""
    if samples_end > size:
        raise ContainerError("truncated", f"{samples_end - size} bytes are missing")
    ends = {size, form_end}
    if not ends & {stop, stop - 1}:  # a byte of padding at the end may be there or not
        odd = f"{size - stop} bytes behind the samples belong to nothing"
        detail = odd if stop <= size else "the last chunk is cut off"
        raise ContainerError("contradictory", detail)
