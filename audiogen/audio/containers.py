"""What file formats announce about themselves, checked where libsndfile believes them blindly."""

from __future__ import annotations

import struct
from typing import BinaryIO

UNKNOWN_SIZE = 0x7FFF_F000  # recorders that write to a pipe put sizes from here on in the header
LARGEST_OGG_PAGE = 65_307
MP3_SAMPLES = {3: 1152, 2: 576, 0: 576}  # per frame, by MPEG version: 1, 2, 2.5
MP3_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
MP3_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MP3_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


def find_fault(raw: BinaryIO, size: int) -> tuple[str, str] | None:
    """Sniff the format and compare announced with actual sizes.

    Args:
        raw: the open file.
        size: of the file, bytes.

    Returns:
        reason code and detail for `AudioReadError`; None if the container looks sound.
    """
    raw.seek(0)
    head = raw.read(12)
    missing = 0
    if head[8:12] == b"WAVE" and head[:4] in {b"RIFF", b"RIFX", b"RF64"}:
        missing = _missing_chunk_bytes(raw, size, ">" if head[:4] == b"RIFX" else "<")
    elif head[8:12] in {b"AIFF", b"AIFC"} and head[:4] == b"FORM":
        missing = _missing_chunk_bytes(raw, size, ">")
    elif head[:4] == b"OggS":
        return None if _ogg_ends_well(raw, size) else ("truncated", "no complete last page")
    elif head[:4] != b"fLaC" and head[:3] != b"ID3" and not _is_mpeg_sync(head):
        return "not_audio", ""
    return ("truncated", f"{missing} bytes are missing") if missing else None


def headerless_mp3_samples(raw: BinaryIO) -> int:
    """Count the samples of an MP3 whose first frame does not say how many frames follow.

    Decoders guess such a length from the first frame's bit rate, and may stop half way through a
    file of varying rate. Returns 0 for any other file. Layout: ISO 11172-3, 2.4.1.3.
    """
    raw.seek(0)
    head = raw.read(10)
    start = 0
    if len(head) == 10 and head[:3] == b"ID3":  # its size has 7 bits to the byte
        start = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    raw.seek(start)
    first = raw.read(1024)
    if not _is_mpeg_sync(first) or b"Xing" in first or b"Info" in first:
        return 0
    data = first + raw.read()
    samples = place = 0
    while 0 <= place < len(data) - 3:
        length, count = _mp3_frame(data[place : place + 3])
        samples += count
        place = place + length if length else data.find(b"\xff", place + 1)
    return samples


def _mp3_frame(header: bytes) -> tuple[int, int]:
    """Return bytes and samples of a layer III frame; zeros if this is none."""
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    kbits, rate = header[2] >> 4, header[2] >> 2 & 3
    if not _is_mpeg_sync(header) or layer != 1 or version == 1 or kbits in {0, 15} or rate == 3:
        return 0, 0
    bits = (MP3_KBITS_1 if version == 3 else MP3_KBITS_2)[kbits] * 1000
    samples = MP3_SAMPLES[version]
    padding = header[2] >> 1 & 1
    return samples // 8 * bits // MP3_RATES_HZ[version][rate] + padding, samples


def _is_mpeg_sync(head: bytes) -> bool:
    """Eleven set bits, then a layer that is not the reserved one (ISO 11172-3, 2.4.1.3)."""
    return len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0


def _missing_chunk_bytes(raw: BinaryIO, size: int, order: str) -> int:
    """Walk RIFF or IFF chunks to the samples; return how many announced bytes are not there."""
    offset = 12
    long_size: int | None = None
    for _ in range(1000):
        raw.seek(offset)
        header = raw.read(8)
        if len(header) < 8:
            return 0  # no sample chunk: libsndfile says what is wrong
        name = header[:4]
        (length,) = struct.unpack(order + "I", header[4:])
        if name == b"ds64" and len(body := raw.read(16)) == 16:
            long_size = struct.unpack("<Q", body[8:])[0]  # EBU Tech 3306: size of `data`
        if name in {b"data", b"SSND"}:
            if length >= UNKNOWN_SIZE:
                length = long_size if long_size is not None else 0
            return max(0, int(length) - (size - offset - 8))
        offset += 8 + length + length % 2
    return 0


def _ogg_ends_well(raw: BinaryIO, size: int) -> bool:
    """Tell whether the last Ogg page is complete and flagged as the end (RFC 3533, section 6)."""
    start = max(0, size - LARGEST_OGG_PAGE - 4096)  # some room for tags appended by other tools
    raw.seek(start)
    tail = raw.read()
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 27:
        return False
    table = tail[page + 27 : page + 27 + tail[page + 26]]
    complete = len(table) == tail[page + 26] and len(tail) >= page + 27 + len(table) + sum(table)
    return complete and bool(tail[page + 5] & 0x04)
