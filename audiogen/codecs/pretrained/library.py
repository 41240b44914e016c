"""Networks that others have published: where their files are, and how they are opened.

A network is its library's own class. Its settings, the numbers and names that the class is made of,
are plain JSON, so that a saved codec is opened again without the source it came from.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from audiogen.storage import read_json

CONFIG_FILE = "config.json"


@dataclass(frozen=True, kw_only=True)
class Library(ABC):
    """How one kind of network is found in its library; `network` is the name of the class."""

    network: str
    package: ClassVar[str]
    install: ClassVar[str]
    """What to run where the package is missing."""
    weights_file: ClassVar[str]

    def make(self, settings: Mapping[str, Any]) -> nn.Module:
        """Make the network of its settings, with random weights.

        Raises:
            ValueError: the library is missing, or does not know the settings.
        """
        kind = self._class()
        unknown = sorted(settings.keys() - set(self._names(kind)))
        if unknown:
            raise ValueError(f"codec.network: {self.network} does not know {', '.join(unknown)}")
        return self._made(kind, settings)

    def open(self, source: str, revision: str | None) -> tuple[nn.Module, dict[str, Any]]:
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

        kind = self._class()
        folder = self._find(source, revision)
        where = f"codec.source={source}"
        label = _kind_in(folder / CONFIG_FILE)
        if label != self._label:
            raise ValueError(f"{where}: its {CONFIG_FILE} is of {label}, expected {self._label}")
        try:
            network, report = self._read(kind, folder)
        except (RuntimeError, SafetensorError) as error:
            raise ValueError(
                f"{where}: weights and {CONFIG_FILE} do not fit, or are damaged\n"
                f"  ({_first_line(error)})"
            ) from error
        if report["missing_keys"]:
            raise ValueError(
                f"{where}: {self.weights_file} lacks {len(report['missing_keys'])} weights of"
                f" {self.network}, such as {min(report['missing_keys'])}"
            )
        plain = {name: self._setting(network, name) for name in self._names(kind)}
        return network, json.loads(json.dumps(plain))

    def _class(self) -> Any:
        """The network's class."""
        try:
            package = importlib.import_module(self.package)  # late, since it is slow
        except ModuleNotFoundError as error:
            raise ValueError(
                f"{self.network} comes from {self.package}, which is not installed\n"
                f"  run: {self.install}"
            ) from error
        package.utils.logging.disable_progress_bar()
        return getattr(package, self.network)

    def _find(self, source: str, revision: str | None) -> Path:
        """Folder that holds the files; fetches them from the hub when they are not in its cache."""
        names = (CONFIG_FILE, self.weights_file)
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
                f"  ({_first_line(error)})\n{hint}"
            ) from error
        return Path(found[0]).parent

    @property
    @abstractmethod
    def _label(self) -> str:
        """What `config.json` says of such a network."""

    @abstractmethod
    def _names(self, kind: Any) -> list[str]:
        """Names of the settings."""

    @abstractmethod
    def _setting(self, network: nn.Module, name: str) -> Any:
        """Value of one setting of a network."""

    @abstractmethod
    def _made(self, kind: Any, settings: Mapping[str, Any]) -> nn.Module:
        """A network of its settings."""

    @abstractmethod
    def _read(self, kind: Any, folder: Path) -> tuple[nn.Module, Mapping[str, Any]]:
        """A network with the weights of a folder, and the library's report on loading them."""


@dataclass(frozen=True, kw_only=True)
class Transformers(Library):
    """A network of transformers, which is made of a configuration of its own class."""

    model_type: str
    also: tuple[str, ...] = ()
    """Settings that are no field of the configuration."""
    package = "transformers"
    install = "make setup"
    weights_file = "model.safetensors"

    @property
    def _label(self) -> str:
        return self.model_type

    def _names(self, kind: Any) -> list[str]:
        # The fields that all configurations share are left out: some name code to be fetched.
        return [*kind.config_class.__annotations__, *self.also]

    def _setting(self, network: nn.Module, name: str) -> Any:
        return getattr(network.config, name)

    def _made(self, kind: Any, settings: Mapping[str, Any]) -> nn.Module:
        network: nn.Module = kind(kind.config_class(**settings))
        return network

    def _read(self, kind: Any, folder: Path) -> tuple[nn.Module, Mapping[str, Any]]:
        found = kind.config_class.from_pretrained(folder, local_files_only=True)
        settings = {name: getattr(found, name) for name in self._names(kind)}
        network, report = kind.from_pretrained(
            folder,
            config=kind.config_class(**settings),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
        return network, report


@dataclass(frozen=True, kw_only=True)
class Diffusers(Library):
    """A network of diffusers, which is made of plain arguments."""

    package = "diffusers"
    install = "pip install 'audiogen[oobleck]'"
    weights_file = "diffusion_pytorch_model.safetensors"

    @property
    def _label(self) -> str:
        return self.network

    def _names(self, kind: Any) -> list[str]:
        return [name for name in inspect.signature(kind.__init__).parameters if name != "self"]

    def _setting(self, network: nn.Module, name: str) -> Any:
        return network.config[name]  # type: ignore[index]

    def _made(self, kind: Any, settings: Mapping[str, Any]) -> nn.Module:
        with _quiet():
            network: nn.Module = kind(**settings)
        return network

    def _read(self, kind: Any, folder: Path) -> tuple[nn.Module, Mapping[str, Any]]:
        with _quiet():
            network, report = kind.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                torch_dtype=torch.float32,
            )
        return network, report


def is_folder(source: str) -> bool:
    """Whether `source` is a local folder, by its text alone: /x, ./x, ../x or ~/x."""
    return source.startswith((".", "~")) or Path(source).is_absolute()


def _kind_in(file: Path) -> str:
    """The kind of network that a `config.json` is of."""
    tree = read_json(file)
    found = tree if isinstance(tree, dict) else {}
    return str(found.get("model_type") or found.get("_class_name") or "no known kind")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep a library's use of what torch calls deprecated from the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _first_line(error: Exception) -> str:
    """The first line of a message that may be long."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
