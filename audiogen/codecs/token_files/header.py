"""Token files: the bits of a sound's tokens, and a header that says which codec reads them.

A token file is safetensors with one tensor, `tokens`, the packed bits (packing.py). The header
stands in the metadata as JSON, with a checksum over itself and the bits.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from audiogen.codecs.token_files.packing import bits_per_token, pack, unpack
from audiogen.schema import Config, ConfigError, parse_config
from audiogen.storage import atomic_write_bytes, parse_json

SUFFIX = ".tokens"
FORMAT = "audiogen-tokens-1"
METADATA_KEY = "header"


class TokenCodec(Config):
    """Which codec it is: its name, its weights and its numbers."""

    name: str
    digest: str = Field(pattern="^[0-9a-f]{16}$")
    """First digits of the sha256 of its weights file."""
    sample_rate: int = Field(gt=0)
    """Hz."""
    audio_channels: int = Field(gt=0)
    hop_length: int = Field(gt=0)
    """Samples per frame."""
    num_codebooks: int = Field(gt=0, le=1024)
    """K, of which a file may have the first ones."""
    vocab_size: int = Field(gt=0, le=1 << 31)

    def __str__(self) -> str:
        return (
            f"{self.name} {self.digest}, {self.sample_rate} Hz, {self.audio_channels} channel(s),"
            f" hop {self.hop_length}, {self.num_codebooks} codebook(s) of {self.vocab_size}"
        )


class TokenHeader(Config):
    """What a token file says about itself."""

    codec: TokenCodec
    num_codebooks: int = Field(gt=0)
    """k of the codec's K."""
    num_frames: int = Field(gt=0)
    num_samples: int = Field(gt=0)
    """Exact length at the codec's rate; the last frame may be filled up."""
    source_rate: int = Field(gt=0)
    """Hz, of the file that was encoded."""

    @model_validator(mode="after")
    def _numbers_fit(self) -> TokenHeader:
        hop = self.codec.hop_length
        if -(-self.num_samples // hop) != self.num_frames:
            raise ValueError(
                f"{self.num_samples} samples are not {self.num_frames} frames of {hop}"
            )
        if self.num_codebooks > self.codec.num_codebooks:
            raise ValueError(f"{self.num_codebooks} codebooks, but its codec is {self.codec}")
        return self

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.num_samples / self.codec.sample_rate


def write_tokens(path: Path, tokens: Tensor, header: TokenHeader) -> None:
    """Write a token file, whole or not at all.

    Args:
        path: missing folders are made; a file there is replaced.
        tokens: (k, L) integers of 0 to V - 1.
        header: of these tokens.
    """
    from safetensors.numpy import save  # noqa: PLC0415 (loaded when needed)

    packed = pack(tokens, header.codec.vocab_size)
    fields = header.model_dump()
    written = {"format": FORMAT, **fields, "checksum": _checksum(fields, packed)}
    # One entry, for the library writes several in an order that is another one each time.
    metadata = {METADATA_KEY: json.dumps(written)}
    atomic_write_bytes(path, save({"tokens": packed}, metadata=metadata))


def read_tokens(path: Path) -> tuple[TokenHeader, Tensor]:
    """Read a token file.

    Returns:
        Its header, and tokens (k, L), int32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no token file, or it is truncated or damaged.
    """
    fields, packed = _read(path)
    found = fields.pop("format", "no format")
    if found != FORMAT:
        raise ValueError(
            f"{path}: not a token file of this version\n"
            f"  expected: format {FORMAT}\n  found: {found}"
        )
    checksum = fields.pop("checksum", "none")
    wanted = _checksum(fields, packed)
    if checksum != wanted:
        raise ValueError(
            f"{path}: damaged, its content is not what was written\n"
            f"  expected: checksum {wanted}\n  found: {checksum}"
        )
    try:
        header = parse_config(TokenHeader, fields, source=str(path))
    except ConfigError as error:
        raise ValueError(f"{path}: not a sound token file\n{str(error).splitlines()[1]}") from None
    shape, vocab_size = (header.num_codebooks, header.num_frames), header.codec.vocab_size
    num_bytes = -(-math.prod(shape) * bits_per_token(vocab_size) // 8)
    if packed.dtype != np.uint8 or packed.shape != (num_bytes,):
        raise ValueError(
            f"{path}: header and tokens do not fit\n  expected: {num_bytes} bytes for {shape} of"
            f" {header.codec}\n  found: {packed.shape} {packed.dtype}"
        )
    tokens = unpack(packed, shape, vocab_size)
    if int(tokens.max()) >= vocab_size:
        raise ValueError(
            f"{path}: tokens beyond the vocabulary\n"
            f"  expected: at most {vocab_size - 1}\n  found: {int(tokens.max())}"
        )
    return header, tokens


def require_codec(path: Path, header: TokenHeader, codec: TokenCodec) -> None:
    """Raise ValueError unless `codec` made the tokens of a file at `path` with this `header`."""
    if header.codec != codec:
        raise ValueError(
            f"{path}: tokens of another codec\n  expected: {codec}\n  found: {header.codec}\n"
            "  give the model that encoded it as --model"
        )


def _read(path: Path) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """The header's fields and the packed bits of a file; ValueError when it is no safetensors."""
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 (loaded when needed)

    size = path.stat().st_size
    try:
        with safe_open(path, framework="numpy") as file:
            fields = parse_json((file.metadata() or {}).get(METADATA_KEY, "{}"), str(path))
            packed = file.get_tensor("tokens")
    except (SafetensorError, OSError, TypeError) as error:  # numpy knows no bfloat16
        raise ValueError(
            f"{path}: truncated, or not a token file\n"
            "  expected: a whole file as `audiogen codec encode` writes it\n"
            f"  found: {size} bytes, {error}"
        ) from None
    return fields if isinstance(fields, dict) else {}, packed


def _checksum(fields: dict[str, Any], packed: NDArray[np.uint8]) -> str:
    """Sixteen hexadecimal digits over a header and its bits."""
    found = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    found.update(packed.tobytes())
    return found.hexdigest()[:16]
