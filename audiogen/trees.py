"""Trees of settings, as YAML files hold them: read strictly, derived, overridden, written."""

from __future__ import annotations

import json
import logging
import reprlib
import textwrap
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

TAG = "type"
"""The key that names the variant of a block."""
BASE = "base"
"""The key of a file that names the one it is derived from."""
SHORT = reprlib.Repr()
"""Writes values in messages; long ones are cut in the middle."""
SHORT.maxstring = SHORT.maxother = 60

_log = logging.getLogger(__name__)
_RARE_BREAKS = frozenset("\x85\u2028\u2029")  # PyYAML writes them bare, and reads back a space


class ConfigError(ValueError):
    """A configuration is invalid; the message lists every bad key by its dotted path."""


# Reading and writing YAML


class _ExactDumper(yaml.SafeDumper):
    """YAML whose text is read back as it was, with rare line breaks escaped."""


def _exact_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if _RARE_BREAKS.intersection(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_ExactDumper.add_representer(str, _exact_text)


def write_tree(tree: Mapping[str, Any]) -> str:
    """Return YAML that `read_yaml` reads as an equal tree."""
    return yaml.dump(tree, Dumper=_ExactDumper, sort_keys=False, allow_unicode=True)


class _UniqueKeyLoader(yaml.SafeLoader):
    """Plain YAML, in which a key given twice is an error instead of a silent last one wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value == "<<" or not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in the file; an empty file is an empty mapping.

    Raises:
        ConfigError: no such file, not readable, not UTF-8, ill-formed (with its line), no mapping.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        tree = _parse_yaml(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file{_other_files(path)}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder, expected a YAML file") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text ({error.reason})") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else f"{path}:1:1"
        parts = filter(None, [error.context, error.problem])
        raise ConfigError(f"{where}: not valid YAML: {', '.join(parts)}") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid YAML: nested too deeply") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.reason}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}:1: expected `key: value` lines, got {SHORT.repr(tree)}")
    return tree


def _parse_yaml(text: str) -> Any:
    """Return the one YAML document in `text`."""
    loader = _UniqueKeyLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _other_files(path: Path) -> str:
    """Return a hint at the YAML files that stand where `path` should, nearest name first."""
    names = sorted(other.name for other in path.parent.glob("*.yaml"))
    hint = did_you_mean(path) or did_you_mean(path.with_suffix(".yaml"))
    return hint or (f"; there are: {listing(names)}" if names else "")


def did_you_mean(path: Path) -> str:
    """Return a hint at the file or folder whose name is near to the one that is not there.

    It is empty where there is none, or where `path` is there.
    """
    if path.exists():
        return ""
    try:
        names = sorted(other.name for other in path.parent.iterdir())
    except OSError:  # the folder is not there either, or may not be read
        return ""
    near = get_close_matches(path.name, [name for name in names if not name.startswith(".")], n=1)
    return f"; did you mean {path.with_name(near[0])}?" if near else ""


# Files that are derived from others


def read_derived(path: Path) -> dict[Path, dict[str, Any]]:
    """Return the tree of a file without its `base`, then that of its base, and so on."""
    files: dict[Path, dict[str, Any]] = {}
    file = path
    while True:
        tree = read_yaml(file)
        base = tree.pop(BASE, None)
        files[file] = tree
        if base is None:
            return files
        if not isinstance(base, str):
            raise ConfigError(
                f"{file}: {BASE}: expected the name of a YAML file (got {SHORT.repr(base)})"
            )
        child, file = file, file.parent / base
        if file.resolve() in {known.resolve() for known in files}:
            circle = " -> ".join(str(known) for known in [*files, file])
            raise ConfigError(f"{child}: {BASE}: goes round in a circle: {circle}")
        if not file.is_file():
            raise ConfigError(f"{child}: {BASE}: {file}: no such file{_other_files(file)}")


def merged_trees(base: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with what `tree` says; a block with a new `type` begins from its defaults."""
    merged = dict(base)
    for key, value in tree.items():
        block = base.get(key)
        if isinstance(block, Mapping) and isinstance(value, Mapping):
            tag = block.get(TAG)
            merged[key] = merged_trees(block if value.get(TAG, tag) == tag else {}, value)
        else:
            merged[key] = value
    return merged


def value_at(tree: Any, path: str) -> Any:
    """Return what stands at a key path of the tree, or None."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


# Overrides


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Read `key.path=value` overrides as a tree; ConfigError names those that are ill-formed."""
    tree, problems = dict[str, Any](), list[str]()
    for override in overrides:
        try:
            tree = override_tree(tree, override)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n  ".join(problems))
    return tree


def sets_type(override: str) -> bool:
    """Whether an override names the type of a block."""
    return override.partition("=")[0].strip().endswith(f".{TAG}")


def override_tree(tree: Mapping[str, Any], override: str) -> dict[str, Any]:
    """Return a copy of `tree` with one override; a block with a new `type` loses its old keys."""
    path, equals, text = override.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ConfigError(
            f"override {override!r}: expected key.path=value, such as data.path=sounds"
        )
    if not text.strip():  # such as "data.path=$SOUNDS" of a variable that is not set
        raise ConfigError(f"override {override!r}: no value; write {path}=null to set none")
    try:
        value = _value(text.strip())
    except yaml.YAMLError:
        message = f"override {override!r}: the value has an open bracket or quote"
        raise ConfigError(message) from None
    return _with_value(tree, keys, value, override)


def _with_value(
    tree: Mapping[str, Any], keys: list[str], value: Any, override: str
) -> dict[str, Any]:
    """Return a copy of `tree` in which `keys` leads to `value`; the blocks passed are copied."""
    key, *rest = keys
    if not rest:
        return {**tree, key: value}
    block = tree.get(key)
    if block is None:
        block = {}
    if not isinstance(block, Mapping):
        what = "list: write it whole, as key=[a, b]" if isinstance(block, list) else "value"
        raise ConfigError(f"override {override!r}: {key!r} is a {what}, not a section of keys")
    if rest == [TAG] and block.get(TAG) != value:
        if lost := [name for name in block if name != TAG]:
            _log.warning("%s: its defaults, and not the file's %s", override, ", ".join(lost))
        block = {}
    return {**tree, key: _with_value(block, rest, value, override)}


def _value(text: str) -> Any:
    """Return the value an override's text means: flow YAML, a JSON scalar, or the text itself.

    Text stays text where plain YAML would see a mapping, a comment or a date, so that
    `data.path=rain: takes #2` is that folder; `3e-4`, `yes` and `~` are left to the field's
    own type.
    """
    if text.startswith(("[", "{", '"', "'")):
        return _parse_yaml(text)
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def listing(names: list[str]) -> str:
    """Return names on one line, the last ones left out where they are many."""
    return textwrap.shorten(", ".join(names), 120, placeholder=" …")
