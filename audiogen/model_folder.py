"""What a model folder holds: config, codec, generator, judge and words, read and written whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from audiogen.codecs import Codec, load_codec, save_codec
from audiogen.conditioning.text import TEXT_DIM
from audiogen.conditioning.vocabulary import Vocabulary
from audiogen.experiment import ModelConfig
from audiogen.generators import LatentGenerator, build_generator
from audiogen.judge.judge import Judge
from audiogen.run_folder import (
    CONFIG,
    JUDGE,
    WEIGHTS,
    WORDS,
    find_model,
    model_digest,
    write_documents,
)
from audiogen.schema import dump_config, read_config
from audiogen.seal import require_whole, seal_folder
from audiogen.storage import narrowed, read_tensors, write_tensors

FILES = (CONFIG, WEIGHTS, JUDGE, WORDS)
"""Of a model, which its seal covers; its codec has one of its own."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model as its folder holds it.

    Attributes:
        config: what it says of itself.
        codec: between sounds and latents.
        generator: of latents.
        digest: sixteen hexadecimal digits that name the weights; empty for weights never saved.
        judge: tells how a take fits its prompt; None where the sounds it learnt have no labels.
        vocabulary: words that it has met; None where nobody counted them.
        folder: that it was read from.
    """

    config: ModelConfig
    codec: Codec
    generator: LatentGenerator
    digest: str = ""
    judge: Judge | None = None
    vocabulary: Vocabulary | None = None
    folder: Path | None = None


def read_model(path: Path) -> Model:
    """Read the model of a run folder or of a model folder; see `Pipeline.from_pretrained`."""
    folder = find_model(path)
    require_whole(folder, FILES)
    config = read_config(ModelConfig, folder / CONFIG)
    codec = load_codec(folder / "codec")
    window = codec.spec.num_frames(config.clip_seconds)
    generator = build_generator(config.generator, codec.spec, TEXT_DIM, window)
    generator.load_state_dict(read_tensors(folder / WEIGHTS))
    generator.requires_grad_(requires_grad=False)
    judge = Judge.read(folder / JUDGE) if (folder / JUDGE).is_file() else None
    if judge is not None and judge.sample_rate != codec.spec.sample_rate:
        raise ValueError(
            f"{folder / JUDGE}: for sounds at {judge.sample_rate} Hz;"
            f" this model makes {codec.spec.sample_rate} Hz"
        )
    words = folder / WORDS
    return Model(
        config=config,
        codec=codec,
        generator=generator,
        digest=model_digest(folder),
        judge=judge,
        vocabulary=Vocabulary.read(words) if words.is_file() else None,
        folder=folder,
    )


def write_model(
    folder: Path,
    model: Model,
    documents: Mapping[str, str],
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model into an empty folder that the caller publishes.

    Args:
        folder: that nobody reads yet.
        model: what is written; documents that are not given are those of its own folder.
        documents: texts that go with it, by file name.
        dtype: of matrices in the files; None takes that which they have.
    """
    (folder / CONFIG).write_text(dump_config(model.config), encoding="utf-8")
    (folder / "codec").mkdir()
    save_codec(folder / "codec", model.codec, dtype=dtype)
    write_tensors(folder / WEIGHTS, narrowed(model.generator.state_dict(), dtype))
    if model.judge is not None:
        model.judge.write(folder / JUDGE)
    if model.vocabulary is not None:
        model.vocabulary.write(folder / WORDS)
    seal_folder(folder, FILES)
    write_documents(folder, documents, model.folder)
    if model.folder is not None:
        write_documents(folder / "codec", {}, model.folder / "codec")
