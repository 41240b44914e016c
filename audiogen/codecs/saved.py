"""A codec that was trained before: the folder of a run or of a model hands it on, finished."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from audiogen.codecs.config import CodecConfig
from audiogen.library import in_library
from audiogen.run_folder import CONFIG, RunFolder, how_far, require_same
from audiogen.schema import UserPath
from audiogen.seal import sealed_sha256
from audiogen.storage import digest_of
from audiogen.trees import did_you_mean
from audiogen.types import Kind

FILES = (CONFIG, "weights.safetensors")
"""Of a codec, which its seal covers; what lies beside them may change."""


SHAPE = ("sample_rate", "audio_channels", "hop_length")
"""What a saved codec has, and a recipe cannot choose."""


class SavedConfig(CodecConfig):
    """A finished codec, taken as it is.

    All but the path is found in the folder when the recipe is loaded to be run.
    """

    type: Literal["saved"] = "saved"
    path: UserPath
    """A run folder, a model folder, the codec's own, or the name of a model of the library."""
    hop_length: int = Field(default=1, gt=0)
    """Samples per latent frame; 1 until it is found."""
    digest: str = ""
    """Names the codec's files; another codec at `path` is refused. Empty until it is found."""
    saved_type: str = ""
    """Type of the codec. Empty until it is found."""
    kind: Kind | None = None
    """What it gives. None until it is found."""

    @property
    def family(self) -> str:
        """Type of the codec, as far as it is known."""
        return self.saved_type or self.type

    @property
    def folder(self) -> Path:
        """Where the codec lies.

        Raises:
            FileNotFoundError: there is none at `path`.
            ValueError: it is another one than `digest` names, or not sealed.
        """
        return find_known_codec(self.path, self.digest)


def find_codec(path: Path) -> Path:
    """Return the folder of the codec in a run folder or a model folder; or `path`, if it is one.

    The name of a model of the library stands for its folder.

    Raises:
        FileNotFoundError: there is none.
    """
    place = in_library(path) or path
    for folder in (RunFolder(place).model("codec"), place / "codec", place):
        if all((folder / name).is_file() for name in FILES):
            return folder
    raise FileNotFoundError(
        f"{path}: no finished codec here{did_you_mean(path)}{how_far(path)}\n"
        "  expected a run folder (with codec/model/) or a model folder; `audiogen train` makes one"
    )


def find_known_codec(path: Path, digest: str) -> Path:
    """Return the folder of the codec at `path`, which is the one that `digest` names, if any.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is another one, or not sealed.
    """
    folder = find_codec(path)
    if digest:
        require_same(folder, "codec", digest, codec_digest(folder))
    return folder


def codec_digest(folder: Path) -> str:
    """Name the files of a codec by sixteen hexadecimal digits, by the word of its seal.

    Raises:
        ValueError: it is not sealed.
    """
    return digest_of([sealed_sha256(folder, name) for name in FILES])[:16]
