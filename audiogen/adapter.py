"""What a tuned model has learnt beyond the one it began from, in a few megabytes; mixes of that.

The change of a matrix is kept as the product of two narrow ones, its first singular vectors (as in
LoRA, Hu et al. 2021, arXiv 2106.09685, but found after training the whole). Changes of one model
add up, each by a weight (task arithmetic; Ilharco et al. 2022, arXiv 2212.04089).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from audiogen.conditioning.vocabulary import Vocabulary
from audiogen.data.intake.licences import least_strict
from audiogen.experiment import ModelConfig
from audiogen.model_folder import FILES as MODEL_FILES
from audiogen.model_folder import read_model, write_model
from audiogen.provenance.card import (
    CARD_FILE,
    count_licences,
    documents,
    learnt_before,
    mix_card,
)
from audiogen.run_folder import CONFIG, WEIGHTS, WORDS, find_model, model_digest, write_documents
from audiogen.schema import read_config
from audiogen.seal import require_whole, seal_folder
from audiogen.storage import (
    json_of_tensor,
    json_tensor,
    publish_folder,
    read_tensors,
    write_tensors,
)

CHANGES = "adapter.safetensors"
FILES = (CONFIG, CHANGES, WORDS)
RANK = 16
"""Of the changes of matrices."""
ABOUT, LEFT, RIGHT = "about", ".left", ".right"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter as its folder holds it.

    Attributes:
        base: digest of the model that training began from.
        changes: of its weights, by name, whole or as two factors.
        config: what the tuned model says of itself.
        vocabulary: the words of both.
        attribution: the sounds of both.
        folder: that it was read from.
    """

    base: str
    changes: Mapping[str, Tensor]
    config: ModelConfig
    vocabulary: Vocabulary
    attribution: Sequence[Mapping[str, str]]
    folder: Path

    @classmethod
    def read(cls, path: Path) -> Adapter:
        """Read the adapter of a run folder, or an adapter's folder.

        Raises:
            FileNotFoundError: there is none.
            ValueError: its files are not those that were written.
        """
        places = (path / "adapter", path)
        folder = next((place for place in places if (place / CHANGES).is_file()), None)
        if folder is None:
            raise FileNotFoundError(
                f"{path}: no adapter here\n"
                "  expected a run folder of `audiogen tune`, or the folder `adapter` of one"
            )
        require_whole(folder, FILES)
        changes = read_tensors(folder / CHANGES)
        return cls(
            base=json_of_tensor(changes.pop(ABOUT), "adapter")["base"],
            changes=changes,
            config=read_config(ModelConfig, folder / CONFIG),
            vocabulary=Vocabulary.read(folder / WORDS),
            attribution=learnt_before(folder, []),
            folder=folder,
        )

    def change_of(self, name: str) -> Tensor | float:
        """The change of a weight of the base, in its shape but for trailing ones; 0 for none."""
        if name + LEFT in self.changes:
            return self.changes[name + LEFT].float() @ self.changes[name + RIGHT].float()
        return self.changes[name].float() if name in self.changes else 0.0


def write_adapter(folder: Path, tuned: Path, base: Path, *, rank: int = RANK) -> None:
    """Write what a tuned model has learnt beyond its base, unless it is there already.

    Args:
        folder: appears when it is whole; the adapter of another model there is replaced.
        tuned: the tuned model's folder.
        base: of the model that its training began from, or its name.
        rank: of the changes of matrices.
    """
    origin = find_model(base)
    about = {"base": model_digest(origin), "tuned": model_digest(tuned), "rank": rank}
    if (folder / CHANGES).is_file() and json_of_tensor(
        read_tensors(folder / CHANGES)[ABOUT], "adapter"
    ) == about:
        return
    for model in (origin, tuned):
        require_whole(model, MODEL_FILES)
    before, after = (read_tensors(model / WEIGHTS) for model in (origin, tuned))
    with publish_folder(folder) as place:
        changes = changes_between(before, after, rank)
        write_tensors(place / CHANGES, {**changes, ABOUT: json_tensor(about)})
        for name in (CONFIG, WORDS):
            shutil.copyfile(tuned / name, place / name)
        seal_folder(place, FILES)
        write_documents(place, {}, origin=tuned)


def changes_between(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], rank: int
) -> dict[str, Tensor]:
    """Return what leads from one set of weights to another, in bfloat16, matrices approximately."""
    found: dict[str, Tensor] = {}
    for name, weight in after.items():
        change = weight.float() - before[name].float()
        if not weight.is_floating_point() or not bool(change.any()):
            continue
        if change.dim() == 2 and min(change.shape) > 2 * rank:
            left, sizes, right = torch.linalg.svd(change, full_matrices=False)
            root = sizes[:rank].sqrt()
            found[name + LEFT] = (left[:, :rank] * root).bfloat16()
            found[name + RIGHT] = (root[:, None] * right[:rank]).bfloat16()
        else:
            found[name] = change.bfloat16()
    return found


def mix(base: Path, parts: Sequence[tuple[Path, float]], folder: Path) -> None:
    """Write the model that has adapters added to it, each by a weight.

    Args:
        base: the model that all of them began from.
        parts: folders of adapters, or runs that have one, and their weights; 1 is as it was tuned.
        folder: where the model goes; an older one there is replaced.

    Raises:
        FileNotFoundError: there is no such model or adapter.
        ValueError: an adapter began from another model, or the folder has something else.
    """
    if folder.exists() and not (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder}: there is something that is no model\n  give another place")
    model = read_model(base)
    adapters = [(Adapter.read(path), weight) for path, weight in parts]
    for one, _ in adapters:
        if one.base != model.digest:
            raise ValueError(
                f"{one.folder}: an adapter of another model than {base}\n"
                f"  of the one of digest {one.base}, got {model.digest}\n"
                "  mix adapters of one model, with that model"
            )
    mixed = {
        name: sum((weight * one.change_of(name) for one, weight in adapters), tensor.float())
        for name, tensor in model.generator.state_dict().items()
    }
    model.generator.load_state_dict(mixed)
    origin = find_model(base)
    own = learnt_before(origin, [])
    lines = {line["sha256"]: line for one, _ in adapters for line in one.attribution}
    lines |= {line["sha256"]: line for line in own}
    words = model.vocabulary
    for one, _ in adapters:
        words = one.vocabulary if words is None else words.united(one.vocabulary)
    about = model.config.model_copy(
        update={
            "name": folder.name,
            "licences": count_licences([], list(lines.values())),
            "terms": least_strict([model.config.terms, *(one.config.terms for one, _ in adapters)]),
        }
    )
    card = mix_card(about, str(base), [(str(one.folder), weight) for one, weight in adapters])
    own_card = origin / CARD_FILE
    card += "\n" + (own_card.read_text(encoding="utf-8") if own_card.is_file() else "")
    texts = documents(folder.name, card, [], about.terms, list(lines.values()))
    with publish_folder(folder) as place:
        write_model(place, replace(model, config=about, vocabulary=words), texts)
