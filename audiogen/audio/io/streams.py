"""Ogg pages and MPEG frames: checked and counted without decoding them."""

from __future__ import annotations

import zlib
from typing import BinaryIO

OGG_CONTINUED, OGG_FIRST, OGG_LAST = 1, 2, 4  # flags of a page
MP3_SAMPLES = {3: 1152, 2: 576, 0: 576}  # per frame, by MPEG version: 1, 2, 2.5
MP3_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
MP3_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MP3_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class ContainerError(ValueError):
    """A file that contradicts itself.

    Attributes:
        reason: one of the keys of `decoding.REASONS`.
        detail: what exactly; may be empty.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason} {detail}")


def check_ogg(raw: BinaryIO, size: int) -> None:
    """Check that all pages are there, whole and undamaged, and belong to one stream (RFC 3533).

    Raises:
        ContainerError: otherwise. Bytes behind the last page (tags of other programs) are allowed.
    """
    place, expected, flags = 0, 0, 0
    serial = b""
    while place < size and not flags & OGG_LAST:
        raw.seek(place)
        head = raw.read(27)
        if head[:4] != b"OggS"[: len(head)]:
            raise ContainerError("damaged", f"no Ogg page at byte {place}")
        table = raw.read(head[26]) if len(head) == 27 else b""
        body = raw.read(sum(table))
        if len(head) < 27 or len(table) < head[26] or len(body) < sum(table):
            break
        flags, number = head[5], int.from_bytes(head[18:22], "little")
        if flags & OGG_FIRST and expected:
            raise ContainerError("several_streams")
        serial = serial or head[14:18]
        checksum = ogg_checksum(head[:22] + bytes(4) + head[26:] + table + body)
        if checksum != int.from_bytes(head[22:26], "little"):
            raise ContainerError("damaged", f"the checksum of page {expected} does not match")
        if number != expected or head[14:18] != serial:
            other = "several_streams" if head[14:18] != serial else "damaged"
            raise ContainerError(other, f"page {number} instead of {expected}")
        place += len(head) + len(table) + len(body)
        expected += 1
    if not flags & OGG_LAST:
        raise ContainerError("truncated", "no complete last page")
    raw.seek(place)
    if b"OggS" in raw.read():
        raise ContainerError("several_streams")


def ogg_checksum(page: bytes) -> int:
    """CRC-32 of RFC 3533: polynomial 04c11db7, highest bit first, starting from 0.

    zlib has the same polynomial with the lowest bit first, so the bits of every byte are turned.
    """
    turned = zlib.crc32(page.translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(turned.to_bytes(4, "little").translate(_REVERSED), "big")


def count_mp3(raw: BinaryIO, start: int, length: int = -1) -> tuple[int, bool]:
    """Count the samples of an MP3 without decoding (layout: ISO 11172-3, 2.4.1.3).

    Decoders guess the length from the first frame's bit rate when no frame count comes first, and
    may stop half way through a file of varying rate.

    Args:
        raw: The open file.
        start: The place of the first frame, behind tags.
        length: Of the MP3 in bytes; -1 is up to the end of the file.

    Returns:
        samples per channel, and whether the file itself says how many frames it has.
    """
    raw.seek(start)
    data = raw.read(length)
    first = data[:1024]
    announced = b"Xing" in first or b"Info" in first
    samples = place = 0
    if announced:  # that frame holds the count and no sound
        samples -= mp3_frame(data[:3])[1]
    while 0 <= place < len(data) - 3:
        length, count = mp3_frame(data[place : place + 3])
        if length:
            samples += count
            place += length
        else:
            place = _next_frame(data, place + 1)
    return max(samples, 0), announced


def _next_frame(data: bytes, place: int) -> int:
    """Return the next place that begins a frame and is followed by another one, or by the end."""
    while (place := data.find(b"\xff", place)) >= 0:
        length, _ = mp3_frame(data[place : place + 3])
        follower = data[place + length : place + length + 3]
        if length and (len(follower) < 3 or mp3_frame(follower)[0]):
            return place
        place += 1
    return -1


def mp3_frame(header: bytes) -> tuple[int, int]:
    """Return bytes and samples of a layer III frame; zeros if this is none."""
    if len(header) < 3 or not is_mpeg_sync(header):
        return 0, 0
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    kbits, rate = header[2] >> 4, header[2] >> 2 & 3
    if layer != 1 or version == 1 or kbits in {0, 15} or rate == 3:
        return 0, 0
    bits = (MP3_KBITS_1 if version == 3 else MP3_KBITS_2)[kbits] * 1000
    samples = MP3_SAMPLES[version]
    padding = header[2] >> 1 & 1
    return samples // 8 * bits // MP3_RATES_HZ[version][rate] + padding, samples


def is_mpeg_sync(head: bytes) -> bool:
    """Eleven set bits, then a layer that is not the reserved one (ISO 11172-3, 2.4.1.3)."""
    return len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0
