"""Networks that others have published: where their files are, and how they are opened.

A network is its library's own class. Its settings, the numbers and names that the class is made of,
are plain JSON, so that a saved codec is opened again without the source it came from.
"""

from __future__ import annotations

import importlib
import inspect
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from audiogen.storage import first_line, read_json

CONFIG_FILE = "config.json"


@dataclass(frozen=True, kw_only=True)
class Library(ABC):
    """How one kind of network is found in its library.

    Attributes:
        network: name of the class.
        label: what `config.json` says of such a network.
    """

    network: str
    label: str
    package: ClassVar[str]
    weights_file: ClassVar[str]

    def make(self, settings: Mapping[str, Any]) -> Any:
        """Make the network of its settings, with random weights.

        Raises:
            ValueError: the library is missing, or does not know the settings.
        """
        kind = self._class()
        unknown = sorted(settings.keys() - set(self._names(kind)))
        if unknown:
            raise ValueError(f"codec.network: {self.network} does not know {', '.join(unknown)}")
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            return self._made(kind, settings)

    def open(self, source: str, revision: str | None) -> tuple[Any, dict[str, Any]]:
        """Read a published network and its weights, as float32.

        Args:
            source: a local folder; or a hub repository `owner/name`, a folder in it behind that.
            revision: commit of the repository; says nothing about a local folder.

        Returns:
            The network and its settings.

        Raises:
            FileNotFoundError: the files are nowhere to be found; says what to do.
            ValueError: the library is missing, or the files are not those of such a network.
        """
        from safetensors import SafetensorError  # noqa: PLC0415 (imports torch)

        kind, where = self._class(), f"codec.source={source}"
        folder = _find(source, revision, (CONFIG_FILE, self.weights_file))
        label = _label_in(folder / CONFIG_FILE)
        if label != self.label:
            raise ValueError(f"{where}: its {CONFIG_FILE} is of {label}, expected {self.label}")
        try:
            with warnings.catch_warnings(action="ignore", category=FutureWarning):
                network, report = kind.from_pretrained(
                    folder,
                    local_files_only=True,
                    use_safetensors=True,
                    output_loading_info=True,
                    **self._options(kind, folder),
                )
        except (RuntimeError, SafetensorError) as error:
            raise ValueError(
                f"{where}: weights and {CONFIG_FILE} do not fit, or are damaged\n"
                f"  ({first_line(error)})"
            ) from error
        if report["missing_keys"]:
            raise ValueError(
                f"{where}: {self.weights_file} lacks {len(report['missing_keys'])} weights of"
                f" {self.network}, such as {min(report['missing_keys'])}"
            )
        settings = {name: getattr(network.config, name) for name in self._names(kind)}
        return network, json.loads(json.dumps(settings))

    def _class(self) -> Any:
        """The network's class."""
        try:
            package = importlib.import_module(self.package)  # late, since it is slow
        except ModuleNotFoundError as error:
            raise ValueError(
                f"{self.network} comes from {self.package}, which is not installed\n"
                "  run: pip install 'audiogen[pretrained]'"
            ) from error
        package.utils.logging.disable_progress_bar()
        return getattr(package, self.network)

    @abstractmethod
    def _names(self, kind: Any) -> list[str]:
        """Names of the settings."""

    @abstractmethod
    def _made(self, kind: Any, settings: Mapping[str, Any]) -> Any:
        """A network of its settings."""

    @abstractmethod
    def _options(self, kind: Any, folder: Path) -> dict[str, Any]:
        """What the library needs to be told to read a folder."""


@dataclass(frozen=True, kw_only=True)
class Transformers(Library):
    """A network of transformers, which is made of a configuration of its own class."""

    also: tuple[str, ...] = ()
    """Settings that are no field of the configuration."""
    package = "transformers"
    weights_file = "model.safetensors"

    def _names(self, kind: Any) -> list[str]:
        # The fields that all configurations share are left out: some name code to be fetched.
        return [*kind.config_class.__annotations__, *self.also]

    def _made(self, kind: Any, settings: Mapping[str, Any]) -> Any:
        return kind(kind.config_class(**settings))

    def _options(self, kind: Any, folder: Path) -> dict[str, Any]:
        found = kind.config_class.from_pretrained(folder, local_files_only=True)
        settings = {name: getattr(found, name) for name in self._names(kind)}
        return {"config": kind.config_class(**settings), "dtype": torch.float32}


@dataclass(frozen=True, kw_only=True)
class Diffusers(Library):
    """A network of diffusers, which is made of plain arguments."""

    package = "diffusers"
    weights_file = "diffusion_pytorch_model.safetensors"

    def _names(self, kind: Any) -> list[str]:
        return [name for name in inspect.signature(kind.__init__).parameters if name != "self"]

    def _made(self, kind: Any, settings: Mapping[str, Any]) -> Any:
        return kind(**settings)

    def _options(self, kind: Any, folder: Path) -> dict[str, Any]:
        return {"torch_dtype": torch.float32}


def is_folder(source: str) -> bool:
    """Whether `source` is a local folder, by its text alone: /x, ./x, ../x or ~/x."""
    return source.startswith((".", "~")) or Path(source).is_absolute()


def _find(source: str, revision: str | None, names: tuple[str, str]) -> Path:
    """Folder that holds the files; fetches them from the hub when they are not in its cache."""
    if is_folder(source):
        folder = Path(source).expanduser()
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"codec.source={source}: there is no {' and no '.join(missing)}\n"
                "  expected a folder as the library's save_pretrained writes it"
            )
        return folder
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 (slow to import)
    from huggingface_hub.errors import GatedRepoError  # noqa: PLC0415

    owner, name, *inner = source.split("/")
    repository, subfolder = f"{owner}/{name}", "/".join(inner) or None
    try:
        found = [
            hf_hub_download(repository, file, subfolder=subfolder, revision=revision)
            for file in names
        ]
    except OSError as error:
        hint = f"  go online once, or set codec.source to a folder with {' and '.join(names)}"
        if isinstance(error, GatedRepoError):
            hint = f"  accept its terms at https://huggingface.co/{repository}, and log in"
        raise FileNotFoundError(
            f"codec.source={source} at {revision}: not in the hub's cache, and not to be had\n"
            f"  ({first_line(error)})\n{hint}"
        ) from error
    return Path(found[0]).parent


def _label_in(file: Path) -> str:
    """What a `config.json` says its network is."""
    tree = read_json(file)
    found = tree if isinstance(tree, dict) else {}
    return str(found.get("model_type") or found.get("_class_name") or "no known kind")
