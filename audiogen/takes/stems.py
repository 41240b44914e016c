"""Stems: drums, bass, vocals and what else there is, by Demucs (Rouard 2023), where installed.

Of Demucs's own loaders one reads pickles, and the other makes whatever class a file names. Here a
file says numbers and names alone: its class has to be HTDemucs, and its weights are safetensors.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from audiogen.audio.dsp import resample, to_channels
from audiogen.schema import Config, read_config
from audiogen.storage import first_line, parse_json, sha256_file

REPOSITORIES = {
    "htdemucs": "adefossez/HTDemucs",
    "htdemucs_ft": "adefossez/HTDemucs-ft",
    "htdemucs_6s": "adefossez/HTDemucs-6s",
}
"""Of the models that Demucs's author publishes as safetensors, by their names."""
DEFAULT_MODEL = "htdemucs"
INSTALL = "pip install 'audiogen[demucs]'"
CLASS = "demucs.htdemucs.HTDemucs"
NAME = r"^[a-z0-9]{1,16}$"
"""What parts of a model and stems may be called; files are named by them."""
CHANNELS = 2
SILENCE = 1e-8
_log = logging.getLogger(__name__)


class Bag(Config):
    """What a YAML file tells of a model: its parts, their weights per stem, and their window."""

    models: Annotated[tuple[Annotated[str, Field(pattern=NAME)], ...], Field(min_length=1)]
    weights: list[list[float]] | None = None
    segment: float | None = None


@dataclass(frozen=True, kw_only=True)
class Separator:
    """A Demucs model.

    Attributes:
        name: as it was asked for.
        sha256: of the files of its weights.
        network: a bag of one or more HTDemucs.
    """

    name: str
    sha256: tuple[str, ...]
    network: nn.Module

    def separate(self, wav: Tensor, sample_rate: int) -> dict[str, Tensor]:
        """Estimate the stems (C, T) of a sound, by name; they need not add up to it.

        Args:
            wav: The sound (C, T), mono or stereo. The model hears it in stereo, at its own rate.
            sample_rate: The rate of `wav` in Hz.

        Raises:
            ValueError: more channels.
        """
        from demucs.apply import apply_model  # noqa: PLC0415 (an extra)

        channels, length = wav.shape
        if channels > CHANNELS:
            raise ValueError(f"stems are of mono and stereo, not of {channels} channels")
        network: Any = self.network
        mix = resample(wav, sample_rate, network.samplerate).expand(CHANNELS, -1)
        level = to_channels(mix, 1)  # what is left of sides that cancel would be no level
        mean, scale = level.mean(), level.std(correction=0) + SILENCE
        device = "cuda" if torch.cuda.is_available() else "cpu"
        # Without random shifts, so that the same sound has the same stems.
        found = apply_model(network, ((mix - mean) / scale)[None], shifts=0, device=device)[0]
        stems = {}
        for stem, sound in zip(network.sources, found.cpu() * scale, strict=True):
            part = sound if channels == CHANNELS else sound.mean(dim=0, keepdim=True)
            part = resample(part, network.samplerate, sample_rate)
            stems[stem] = nn.functional.pad(part, (0, max(0, length - part.shape[1])))[:, :length]
        return stems


def load_separator(model: str = DEFAULT_MODEL) -> Separator:
    """Load a Demucs model by its published name, or from a folder that holds the same files.

    Args:
        model: A name in `REPOSITORIES`, whose files come from the hub or its cache; or a folder
            with one YAML file that names the model's parts, and `<part>.safetensors` for each.

    Raises:
        ValueError: Demucs is not installed, no such model, or its files are not as expected.
        FileNotFoundError: a file is not there, or not to be had.
    """
    try:
        from demucs.apply import BagOfModels  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"stems are made by Demucs, which is not installed ({error})\n  run: {INSTALL}"
        ) from error
    bag_file = _find_bag(model)
    bag = read_config(Bag, bag_file)
    files = [_find(model, f"{part}.safetensors") for part in bag.models]
    parts: Any = [_load_part(file) for file in files]
    try:
        network = BagOfModels(parts, bag.weights, bag.segment)
        sources = list(network.sources)
    except (AssertionError, TypeError, AttributeError) as error:
        raise ValueError(f"{bag_file}: its parts do not fit one another ({error!r:.100})") from None
    if network.audio_channels != CHANNELS:
        raise ValueError(f"{bag_file}: a model of {network.audio_channels} channels, not of stereo")
    names = [str(name) for name in sources]
    usable = {name for name in names if re.fullmatch(NAME, name)} - {"residual"}
    if len(usable) < len(names):
        raise ValueError(f"{bag_file}: no names of stems: {names!s:.100}")
    network.eval()
    return Separator(name=model, sha256=tuple(map(sha256_file, files)), network=network)


def _find_bag(model: str) -> Path:
    """The YAML file that names the parts of a model."""
    if model in REPOSITORIES:
        return _find(model, f"{model}.yaml")
    if not Path(model).is_dir():
        raise ValueError(
            f"{model}: no such model or folder\n"
            f"  expected {', '.join(REPOSITORIES)}, or a folder with the files of one"
        )
    found = sorted(Path(model).glob("*.yaml"))
    if len(found) != 1:
        raise ValueError(f"{model}: expected one YAML file that names its parts, got {len(found)}")
    return found[0]


def _find(model: str, name: str) -> Path:
    """A file of a model: in its folder, or in the hub's cache, fetched where it is not there."""
    if model not in REPOSITORIES:
        path = Path(model) / name
        if not path.is_file():
            raise FileNotFoundError(f"{path}: there is no such file")
        return path
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 (slow to import)

    try:
        return Path(hf_hub_download(REPOSITORIES[model], name))
    except OSError as error:
        raise FileNotFoundError(
            f"{model}: {name} is not in the hub's cache, and not to be had\n"
            f"  ({first_line(error):.150})\n"
            f"  go online once, or name a folder with the files of {REPOSITORIES[model]}"
        ) from error


def _load_part(file: Path) -> nn.Module:
    """One HTDemucs with its weights; ValueError for another class, or what does not fit it."""
    from demucs.htdemucs import HTDemucs  # noqa: PLC0415 (an extra)

    try:
        with safe_open(file, framework="pt") as opened:
            told = opened.metadata() or {}
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file}: not a readable safetensors file ({error})") from error
    if told.get("klass") != CLASS or "structure" in told:
        raise ValueError(f"{file}: of {told.get('klass')!s:.80}, expected plain weights of {CLASS}")
    args, settings = (
        _decoded(parse_json(told.get(key, "null"), f"{file}, {key}")) for key in ("args", "kwargs")
    )
    if not isinstance(args, list) or not isinstance(settings, dict):
        raise ValueError(f"{file}: does not tell the settings of {CLASS}")
    known = inspect.signature(HTDemucs).parameters
    unknown = sorted(settings.keys() - known.keys())
    if unknown:
        _log.info("%s: settings that this Demucs does not have: %s", file, ", ".join(unknown))
    try:
        network: nn.Module = HTDemucs(*args, **{k: v for k, v in settings.items() if k in known})
        network.load_state_dict(weights)
    except (TypeError, ValueError, ArithmeticError, RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise ValueError(f"{file}: settings and weights do not fit\n  ({reason:.150})") from error
    return network


def _decoded(value: Any) -> Any:
    """JSON types, and the fractions that Demucs writes as objects."""
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("_type") == "fraction":
        top, bottom = value.get("numerator"), value.get("denominator")
        if not isinstance(top, int) or not isinstance(bottom, int) or bottom == 0:
            raise ValueError(f"no fraction: {json.dumps(value):.80}")
        return Fraction(top, bottom)
    return {name: _decoded(one) for name, one in value.items()}
