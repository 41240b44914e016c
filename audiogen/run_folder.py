"""Where a run keeps what: its stages and models, and what names the weights of a model."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from audiogen.library import in_library, library_folders
from audiogen.seal import sealed_sha256
from audiogen.trees import ConfigError, did_you_mean, read_yaml, value_at

WEIGHTS = "generator.safetensors"
"""Of a model folder: the generator's weights."""
CONFIG = "config.yaml"
"""Of a run folder, a model folder and a codec folder: what it says of itself."""
JUDGE = "judge.safetensors"
"""Of a model folder: the recogniser of the sounds that it learnt, where they have labels."""
WORDS = "words.safetensors"
"""Of a model folder: the words that were said of the sounds it learnt."""
MANIFEST = "manifest.jsonl"
"""Of a run folder: the sounds that it was trained on, and those that were refused."""
PREPARED = "prepared.json"
"""Of a run folder: what its manifest and captions were made from."""
DOCUMENTS = ("README.md", "ATTRIBUTION.csv", "croissant.json")
"""What tells of a model whose sounds it learnt from; copies of the model keep it."""


class RunFolder:
    """The folder that everything a recipe makes is written to.

    >>> RunFolder(Path("runs/rain")).model("codec").as_posix()
    'runs/rain/codec/model'
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / CONFIG
        """The recipe with every default, as the run was started."""
        self.environment = path / "environment.json"
        """The software and the machine."""
        self.manifest = path / MANIFEST
        """One line per sound that intake looked at."""
        self.prepared = path / PREPARED
        """What manifest and captions were made from."""
        self.text = path / "text"
        """Encoded captions."""
        self.metrics = path / "metrics.jsonl"
        """One line per step that was logged."""
        self.report = path / "report.html"
        """The page of the run."""
        self.takes = path / "takes"
        """Takes of `audiogen sample`."""
        self.edits = path / "edits"
        """Sounds of `audiogen edit`."""
        self.evaluated_takes = path / "evaluation" / "takes"
        """Takes that an evaluation made."""
        self.reconstructions = path / "evaluation" / "reconstructions"
        """Real clips beside what the codec makes of them."""
        self.scores = path / "evaluation" / "metrics.json"
        """What `audiogen evaluate` measured."""
        self.adapter = path / "adapter"
        """What a tuned model has learnt beyond the model that it began from."""
        self.best = path / "generator" / "best"
        """The generator's weights at the demo whose held-out loss was lowest so far."""
        checkpoints = (self.checkpoints(stage) for stage in ("codec", "generator", "distil"))
        self.training_state = (*checkpoints, self.best, path / "latents", path / "paths")
        """What a run may keep of its training sounds beside its models."""

    def checkpoints(self, stage: str) -> Path:
        """Return the folder of a stage's checkpoints."""
        return self.path / stage / "checkpoints"

    def model(self, stage: str) -> Path:
        """Return the folder of a stage's model, which is there when the stage is done."""
        return self.path / stage / "model"

    def demos(self, stage: str) -> Path:
        """Return the folder of the sounds that a stage made while it trained."""
        return self.path / "demos" / stage

    def latents(self, digest: str) -> Path:
        """Return the folder of the latents that were made from what `digest` names."""
        return self.path / "latents" / digest

    def paths(self, digest: str) -> Path:
        """Return the folder of a teacher's paths, made from what `digest` names."""
        return self.path / "paths" / digest


def find_model(path: Path) -> Path:
    """Return the model folder of a run folder, or `path` itself when it is one."""
    for folder in model_folders(path):
        return folder
    state = how_far(path)
    mend = (
        "  the command that trains it goes on where it stopped"
        if state
        else "  expected a run folder (with generator/model/) or a model folder; `audiogen train`"
        f" makes one{_also_there()}"
    )
    raise FileNotFoundError(f"{path}: no finished model here{did_you_mean(path)}{state}\n{mend}")


def _also_there() -> str:
    """The models that can be had without training, as the end of a hint."""
    names = ", ".join(folder.name for folder in library_folders())
    return f"\n  with audiogen came: {names}" if names else ""


def how_far(path: Path) -> str:
    """Say how far the training of a run is, which stage and which step; empty where none began."""
    run, said = RunFolder(path), list[str]()
    try:
        settings = read_yaml(run.config)
    except ValueError:  # there is none, or it is damaged
        return ""
    for stage, block in (
        ("codec", "train.codec"),
        ("generator", "train.generator"),
        ("distil", "distil.train"),
    ):
        if value_at(settings, stage) is None:
            continue
        saved = sorted(run.checkpoints(stage).glob("step-*[0-9]"))
        if run.model(stage).is_dir():
            said.append(f"{stage} done")
        elif saved:
            steps = value_at(settings, f"{block}.steps")
            done = int(saved[-1].name.rpartition("-")[2])
            said.append(f"{stage} at step {done} of {steps}")
        else:
            said.append(f"{stage} not begun")
    if all(one.endswith("done") for one in said):
        return ""
    return f"; it is not trained to the end: {', '.join(said)}"


def made_by(model: Path) -> RunFolder:
    """Return where takes and edits of a model go: of one of the library, the current folder."""
    return RunFolder(Path() if in_library(model) else model)


def training_window(run: Path) -> float:
    """Return the seconds that the model of a run folder was trained on at once.

    Raises:
        FileNotFoundError: there is no finished model.
        ConfigError: it does not say.
    """
    file = find_model(run) / CONFIG
    seconds = value_at(read_yaml(file), "clip_seconds")
    if not isinstance(seconds, int | float):
        raise ConfigError(f"{file}: clip_seconds: expected seconds (got {seconds!r})")
    return float(seconds)


def model_folders(path: Path) -> list[Path]:
    """Return every model folder of a run folder, the one to use first, or `path` itself.

    The name of a model of the library stands for its folder.
    """
    if folder := in_library(path):
        return [folder]
    run = RunFolder(path)
    places = (run.model("distil"), run.model("generator"), path)
    return [folder for folder in places if (folder / WEIGHTS).is_file()]


def model_digest(folder: Path) -> str:
    """Name the weights of a model folder by sixteen hexadecimal digits.

    They come from the folder's seals; that the files are those, loading the model verifies.

    Raises:
        ValueError: it is not sealed.
    """
    sums = (
        sealed_sha256(folder, WEIGHTS),
        sealed_sha256(folder / "codec", "weights.safetensors"),
    )
    return hashlib.sha256("".join(sums).encode()).hexdigest()[:16]


def require_same(folder: Path, kind: str, wanted: str, found: str) -> None:
    """Raise ValueError where the digest of a codec or model is not that which a run began with."""
    if found != wanted:
        raise ValueError(
            f"{folder}: another {kind} than this run began with\n"
            f"  expected the one of digest {wanted}, got {found}\n"
            "  put the old one there again, or begin another run (run_dir=...)"
        )


def write_documents(folder: Path, texts: Mapping[str, str], origin: Path | None = None) -> None:
    """Write texts by file name; `DOCUMENTS` that are not given come from the folder `origin`."""
    if origin is not None:
        for name in DOCUMENTS:
            if (origin / name).is_file():
                shutil.copyfile(origin / name, folder / name)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
