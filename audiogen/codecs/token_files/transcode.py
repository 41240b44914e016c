"""Sound files to token files and back, block by block, so that hours need little memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from audiogen.audio.dsp import channel_change, resample_blocks, to_channels
from audiogen.audio.io.decoding import opened
from audiogen.audio.io.files import write_blocks
from audiogen.codecs import Codec, load_codec
from audiogen.codecs.saved import find_codec
from audiogen.codecs.token_files.header import (
    SUFFIX,
    TokenCodec,
    TokenHeader,
    read_tokens,
    require_codec,
    write_tokens,
)
from audiogen.devices import usable_device
from audiogen.locking import new_file
from audiogen.seal import sealed_sha256

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Transcoded:
    """One file that was written.

    Attributes:
        path: of the file.
        seconds: of sound.
        nominal_kbits: bit rate of the tokens, log2 V bits each, in kbit/s.
        file_kbits: of the token file, header included, in kbit/s.
        times_real_time: seconds of sound per second of work.
    """

    path: Path
    seconds: float
    nominal_kbits: float
    file_kbits: float
    times_real_time: float

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.seconds:.3f} s, {self.nominal_kbits:.2f} kbit/s"
            f" ({self.file_kbits:.2f} in the file), {self.times_real_time:.0f} times real time"
        )


def load_token_codec(place: Path, device: str = "auto") -> tuple[Codec, TokenCodec]:
    """Read the codec of a run folder, of a model folder, or of a codec's own folder.

    It goes to `device`; see `devices.usable_device`.

    Returns:
        The codec, and what names it in token files.

    Raises:
        FileNotFoundError: there is no codec; says where it was looked for.
        ValueError: its latents are continuous.
    """
    folder = find_codec(place)
    codec = load_codec(folder).to(usable_device(device))
    kind, spec = codec.config.type, codec.spec
    if spec.vocab_size is None:
        raise ValueError(
            f"{folder}: a codec of continuous latents ({kind}), which are no tokens\n"
            "  expected: a codec of tokens, such as recipes/rvq.yaml trains"
        )
    if codec.encode_context is None or codec.decode_context is None:
        _log.warning("%s codes a sound as a whole: its memory grows with the length", kind)
    name = TokenCodec(
        name=kind,
        digest=sealed_sha256(folder, "weights.safetensors")[:16],
        sample_rate=spec.sample_rate,
        audio_channels=spec.audio_channels,
        hop_length=spec.hop_length,
        num_codebooks=spec.channels,
        vocab_size=spec.vocab_size,
    )
    return codec, name


def encode_sounds(
    model: Path,
    files: Sequence[Path],
    *,
    out: Path | None = None,
    num_codebooks: int | None = None,
    device: str = "auto",
) -> Iterator[Transcoded]:
    """Write sound files as token files; what is there already is kept, and a number put behind.

    Args:
        model: as of `load_token_codec`.
        files: sounds at any rate, of any length.
        out: folder of the token files; None is beside each sound.
        num_codebooks: the first of the codec's codebooks, which alone are kept; None is all.
        device: that the codec runs on; see `devices.usable_device`.

    Raises:
        ValueError: the codec has no tokens, or not as many codebooks.
        AudioReadError: a file is not audio, or damaged.
    """
    codec, name = load_token_codec(model, device)
    count = _checked_count(num_codebooks, name.num_codebooks, "this codec")
    for file in files:
        yield _encode_sound(codec, name, file, out or file.parent, count)


def decode_sounds(
    model: Path,
    files: Sequence[Path],
    *,
    out: Path | None = None,
    num_codebooks: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Iterator[Transcoded]:
    """Write token files as 24-bit WAV; what is there already is kept, and a number put behind.

    Args:
        model: as of `load_token_codec`, with the codec that encoded the files.
        files: token files.
        out: folder of the sounds; None is beside each token file.
        num_codebooks: the first of the file's codebooks, which alone are decoded; None is all.
        seed: of the random fine detail.
        device: that the codec runs on; see `devices.usable_device`.

    Raises:
        ValueError: a file is no token file, damaged, or of another codec.
    """
    codec, name = load_token_codec(model, device)
    for file in files:
        header, tokens = read_tokens(file)
        require_codec(file, header, name)
        count = _checked_count(num_codebooks, header.num_codebooks, str(file))
        with new_file(out or file.parent, file.stem) as path:
            decoded = _decode_sound(codec, header, tokens[:count], file, path, seed)
        yield decoded


def _encode_sound(
    codec: Codec, name: TokenCodec, file: Path, folder: Path, num_codebooks: int
) -> Transcoded:
    """Encode one sound, and write its tokens to a new file in `folder`."""
    began = time.perf_counter()
    lengths: list[int] = []
    with opened(file) as source:
        if source.sample_rate != name.sample_rate:
            text = "%s: resampled %d -> %d Hz"
            _log.info(text, file.name, source.sample_rate, name.sample_rate)
        if source.channels != name.audio_channels:
            change = channel_change(source.channels, name.audio_channels)
            _log.info("%s: %s", file.name, change)
        fitted = (
            to_channels(torch.from_numpy(block.T), name.audio_channels) for block in source.blocks()
        )
        resampled = resample_blocks(fitted, source.sample_rate, name.sample_rate)
        blocks = _counted(file, resampled, lengths)
        pieces = codec.encode_pieces(block[None].to(codec.device) for block in blocks)
        kept = [piece[0, :num_codebooks].to("cpu", torch.int32) for piece in pieces]
    tokens = torch.cat(kept, dim=1)
    header = TokenHeader(
        codec=name,
        num_codebooks=tokens.shape[0],
        num_frames=tokens.shape[1],
        num_samples=sum(lengths),
        source_rate=source.sample_rate,
    )
    with new_file(folder, file.stem, SUFFIX) as path:
        write_tokens(path, tokens, header)
    return _report(path, codec, tokens, header, path, began)


def _decode_sound(
    codec: Codec, header: TokenHeader, tokens: Tensor, file: Path, path: Path, seed: int
) -> Transcoded:
    """Decode the tokens (k, L) of one file, and write their sound to `path`."""
    began, spec = time.perf_counter(), codec.spec
    pieces = codec.decode_pieces(tokens[None].to(codec.device), seeds=[seed])
    peak = write_blocks(
        path,
        _cut((piece[0] for piece in pieces), header.num_samples),
        spec.sample_rate,
        audio_channels=spec.audio_channels,
        num_samples=header.num_samples,
    )
    if peak > 1:
        _log.warning("%s: peaks at %.3f, beyond full scale: clipped there", path.name, peak)
    if header.source_rate != spec.sample_rate:
        text = "%s: at the codec's %d Hz; the source had %d Hz"
        _log.info(text, path.name, spec.sample_rate, header.source_rate)
    return _report(path, codec, tokens, header, file, began)


def _counted(file: Path, blocks: Iterable[Tensor], lengths: list[int]) -> Iterator[Tensor]:
    """Blocks (C, n) of a file's sound, while their lengths are noted; ValueError if all are 0."""
    for block in blocks:
        lengths.append(block.shape[1])
        yield block
    if sum(lengths) == 0:
        raise ValueError(f"{file}: too short, without a sample at the codec's rate")


def _cut(blocks: Iterable[Tensor], num_samples: int) -> Iterator[Tensor]:
    """The first `num_samples` of blocks (C, n)."""
    left = num_samples
    for block in blocks:
        yield block[:, :left]
        left -= min(left, block.shape[1])


def _checked_count(wanted: int | None, most: int, of: str) -> int:
    """How many codebooks to use; ValueError when `of` has not as many."""
    count = most if wanted is None else wanted
    if not 1 <= count <= most:
        raise ValueError(f"{count} codebooks: expected 1 to {most}, as many as {of} has")
    return count


def _report(
    path: Path, codec: Codec, tokens: Tensor, header: TokenHeader, token_file: Path, began: float
) -> Transcoded:
    seconds = header.seconds
    return Transcoded(
        path=path,
        seconds=seconds,
        nominal_kbits=codec.spec.bits_per_second(len(tokens)) / 1000,
        file_kbits=token_file.stat().st_size * 8 / seconds / 1000,
        times_real_time=seconds / (time.perf_counter() - began),
    )
