"""Typed configuration: one base class, YAML in, dotted overrides, errors that name the key."""

from __future__ import annotations

import json
import logging
import reprlib
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

ConfigT = TypeVar("ConfigT", bound="Config")

_log = logging.getLogger(__name__)

_TAG = "type"  # the key that names the variant of a block
_RARE_BREAKS = frozenset("\x85\u2028\u2029")  # PyYAML writes them bare, and reads back a space
_QUOTE_HINT = frozenset({"string_type", "path_type"})
_SHORT = reprlib.Repr()  # values in messages: long ones are cut in the middle
_SHORT.maxstring = _SHORT.maxother = 60


class ConfigError(ValueError):
    """A configuration is invalid; the message lists every bad key by its dotted path."""


class Config(BaseModel):
    """Base of every configuration: immutable, closed to unknown keys, documented field by field."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class OneOf:
    """Annotation of a block whose `type` names one of several configurations.

    They are asked for when a block is read, so that a table to which one is added later does.

    >>> class Rain(Config):
    ...     type: Literal["rain"] = "rain"
    ...     drops: int = 3
    >>> class Weather(Config):
    ...     now: Annotated[Config, OneOf(lambda: [Rain])]
    >>> Weather(now={"type": "rain", "drops": 5}).now
    Rain(type='rain', drops=5)
    """

    def __init__(
        self, models: Callable[[], Iterable[type[Config]]], default: str | None = None
    ) -> None:
        """Take a function that gives the configurations, and the `type` of a block without one."""
        self.models = models
        self._default = default

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._read)

    def _read(self, tree: object) -> Config:
        """Return the block as the configuration that its `type` names."""
        tags = by_type(self.models())
        if isinstance(tree, Config) and isinstance(tree, tuple(tags.values())):
            return tree
        if not isinstance(tree, Mapping):
            raise PydanticCustomError("model_type", "expected a section of keys")
        tag = tree.get(_TAG, self._default)
        if isinstance(tag, str) and tag in tags:
            return tags[tag].model_validate({_TAG: tag, **tree})
        said = "missing" if tag is None else f"no type {tag!r}"
        problem = f"{said}; {_choices(sorted(tags), '' if tag is None else str(tag))}"
        error = PydanticCustomError("type", "{problem}", {"problem": problem})
        raise ValidationError.from_exception_data(
            "OneOf", [{"type": error, "loc": (_TAG,), "input": tree}]
        )


def by_type(models: Iterable[type[ConfigT]]) -> dict[str, type[ConfigT]]:
    """Return the models by the literal of their `type` field; those without one are left out."""
    fields = {model: model.model_fields.get(_TAG) for model in models}
    return {
        tag: model for model, field in fields.items() if field for tag in get_args(field.annotation)
    }


def read_config(cls: type[ConfigT], path: Path, overrides: Iterable[str] = ()) -> ConfigT:
    """Read the YAML file `path`, apply `key.path=value` overrides and validate the result as `cls`.

    Overrides of a block's `type` come first, whatever their place; the rest follow in order. A new
    type's block starts from its defaults; the log names the keys of the file that go.

    Raises:
        ConfigError: the file cannot be read as YAML, or all bad keys and overrides, one per line.
    """
    given = sorted(overrides, key=lambda text: not _sets_type(text))  # a stable sort
    tree = read_yaml(path)
    problems = []
    for override in given:
        try:
            tree = _override(tree, override)
        except ConfigError as error:
            problems.append(str(error))
    config, invalid = _validate(cls, tree)
    if config is not None and not problems:
        return config
    source = f"{path} with {' '.join(given)}" if given else str(path)
    raise ConfigError(_report(source, [*problems, *invalid]))


def parse_config(cls: type[ConfigT], tree: Mapping[str, Any], source: str) -> ConfigT:
    """Validate `tree` as `cls`; raise ConfigError that names `source` and lists all problems."""
    config, problems = _validate(cls, tree)
    if config is None:
        raise ConfigError(_report(source, problems))
    return config


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Read `key.path=value` overrides as a tree; ConfigError names one that is ill-formed."""
    tree: dict[str, Any] = {}
    for override in overrides:
        tree = _override(tree, override)
    return tree


def dump_config(config: Config) -> str:
    """Return YAML with every default written out; it reloads to an equal config."""
    tree = config.model_dump(mode="json")
    return yaml.dump(tree, Dumper=_ExactDumper, sort_keys=False, allow_unicode=True)


def _report(source: str, problems: list[str]) -> str:
    """Return the message of a ConfigError: where, then one problem per line."""
    return "\n  ".join([f"{source}:", *problems])


# Reading and writing YAML


class _ExactDumper(yaml.SafeDumper):
    """YAML whose text is read back as it was, with rare line breaks escaped."""


def _exact_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if _RARE_BREAKS.intersection(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_ExactDumper.add_representer(str, _exact_text)


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
        raise ConfigError(f"{path}: no such file{_other_recipes(path)}") from None
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
        raise ConfigError(f"{path}:1: expected `key: value` lines, got {_SHORT.repr(tree)}")
    return tree


def _parse_yaml(text: str) -> Any:
    """Return the one YAML document in `text`."""
    loader = _UniqueKeyLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _other_recipes(path: Path) -> str:
    """Return a hint at the YAML files that stand where `path` should, nearest name first."""
    names = sorted(other.name for other in path.parent.glob("*.yaml"))
    near = get_close_matches(path.with_suffix(".yaml").name, names, n=1)
    if near:
        return f"; did you mean {path.with_name(near[0])}?"
    return f"; there are: {_listing(names)}" if names else ""


# Overrides


def _sets_type(override: str) -> bool:
    return override.partition("=")[0].strip().endswith(f".{_TAG}")


def _override(tree: Mapping[str, Any], override: str) -> dict[str, Any]:
    """Return a copy of `tree` with one override; a block with a new `type` loses its old keys."""
    path, equals, text = override.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ConfigError(
            f"override {override!r}: expected key.path=value, such as data.path=sounds"
        )
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
    if rest == [_TAG] and block.get(_TAG) != value:
        if lost := [name for name in block if name != _TAG]:
            _log.warning("%s: its defaults, and not the file's %s", override, ", ".join(lost))
        block = {}
    return {**tree, key: _with_value(block, rest, value, override)}


def _value(text: str) -> Any:
    """Return the value an override's text means: flow YAML, a JSON scalar, or the text itself.

    Text stays text where plain YAML would see a mapping, a comment or a date, so that
    `data.path=rain: takes #2` is that folder; `3e-4` and `yes` are left to the field's own type.
    """
    if text.startswith(("[", "{", '"', "'")):
        return _parse_yaml(text)
    if text in {"", "~"}:
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


# Validation


def _validate(cls: type[ConfigT], tree: Mapping[str, Any]) -> tuple[ConfigT | None, list[str]]:
    """Return the config and no problems, or None and every problem by the user's key path."""
    try:
        return cls.model_validate(tree), []
    except ValidationError as error:
        items = error.errors(include_url=False)
    problems: dict[str, list[str]] = {}
    for item in items:
        place = _Place(cls, tree)
        for part in item["loc"]:
            place.enter(part)
        path, message = _explain(item, place, cls, tree)
        problems.setdefault(path, []).append(message)
    lines = []
    for path, messages in problems.items():  # several for one path are the arms of a value's union
        text = "; or ".join(dict.fromkeys(messages))
        lines.append(f"{path}: {text}" if path else text)
    return None, lines


class _Place:
    """A position in the user's tree, and the models that may stand there.

    Attributes:
        keys: the dotted path, as the user wrote it.
        node: what the user wrote there; None when nothing.
        models: the models whose keys are known there; one, once the block's `type` is clear.
        parent: the models of the block around it.
        siblings: all variants of that block, whatever its `type`.
    """

    def __init__(self, cls: type[Config], tree: Mapping[str, Any]) -> None:
        self.keys: list[str] = []
        self.node: Any = tree
        self.models = [cls]
        self.parent: list[type[Config]] = []
        self.siblings: list[type[Config]] = []
        self._variants = [cls]

    def enter(self, part: int | str) -> None:
        """Go down one step of pydantic's error location."""
        if isinstance(self.node, Mapping):
            self.parent, self.siblings = self.models, self._variants
            fields = [model.model_fields.get(str(part)) for model in self.parent]
            self._variants = [model for field in fields if field for model in _models_of(field)]
            self.node = self.node.get(part)
        elif isinstance(self.node, list) and isinstance(part, int):
            # An index beyond the list is an item that a tuple needs and the user left out.
            self.node = self.node[part] if part < len(self.node) else None
        else:
            return  # the name of an arm of a value's union, which pydantic puts into the location
        self.keys.append(str(part))
        self.models = _narrow(self._variants, self.node)


def _models_of(field: FieldInfo) -> list[type[Config]]:
    """Return the models that may stand in a field."""
    offered: list[Any] = [item for item in field.metadata if isinstance(item, OneOf)]
    return [model for part in offered or [field.annotation] for model in _models(part)]


def _models(part: Any) -> list[type[Config]]:
    """Return the models in a part of a type, through unions, optionals, tuples and annotations."""
    if isinstance(part, OneOf):
        return list(part.models())
    if isinstance(part, type) and issubclass(part, Config):
        return [part]
    inner = get_args(part)
    offered = [one for one in inner if isinstance(one, OneOf)]
    return [model for one in offered or inner for model in _models(one)]


def _narrow(models: list[type[Config]], node: Any) -> list[type[Config]]:
    """Return the one model that the block's `type` names, else all."""
    tag = node.get(_TAG) if isinstance(node, Mapping) else None
    named = by_type(models).get(tag) if isinstance(tag, str) else None
    return [named] if named else models


def _explain(
    item: Mapping[str, Any], place: _Place, cls: type[Config], tree: Mapping[str, Any]
) -> tuple[str, str]:
    """Return the user's key path and what is wrong there, for one pydantic error."""
    path = ".".join(place.keys)
    match item["type"]:
        case "extra_forbidden":
            return path, f"unknown key{_suggest_key(place, cls, tree)}"
        case "missing":
            return path, "missing, and it has no default"
        case "model_type" | "model_attributes_type" | "dict_type":
            return path, f"expected a section of keys (got {_SHORT.repr(item['input'])})"
        case kind:
            message = str(item["msg"]).removeprefix("Value error, ").partition(" for <class")[0]
            if kind == "literal_error":
                choices = str(item["ctx"]["expected"]).replace(" or ", ", ").split(", ")
                message += _nearest(str(item["input"]), [choice.strip("'") for choice in choices])
            given = item["input"]
            got = "" if isinstance(given, Mapping) else f" (got {_SHORT.repr(given)})"
            hint = "; put it in quotes to make it text" if kind in _QUOTE_HINT else ""
            return path, f"{message}{got}{hint}"


def _suggest_key(place: _Place, cls: type[Config], tree: Mapping[str, Any]) -> str:
    """Return a hint for the unknown key at `place`: another type's, a near one, one elsewhere."""
    *section, key = place.keys
    others = [tag for tag, model in by_type(place.siblings).items() if key in model.model_fields]
    if others:
        return f"; it belongs to {_TAG}: {' or '.join(others)}"
    known = sorted({name for model in place.parent for name in model.model_fields})
    near = get_close_matches(key.lower(), known, n=1)
    if near:
        return f"; did you mean {'.'.join([*section, near[0]])}?"
    elsewhere = [path for path in _paths([cls], tree) if path.rpartition(".")[2] == key]
    if elsewhere:
        return f"; did you mean {' or '.join(elsewhere[:3])}?"
    return f"; known keys: {_listing(known)}"


def _paths(models: list[type[Config]], node: Any, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key path that a config may have, given the types chosen in `node`."""
    for model in models:
        for name, field in model.model_fields.items():
            yield f"{prefix}{name}"
            child = node.get(name) if isinstance(node, Mapping) else None
            yield from _paths(_narrow(_models_of(field), child), child, f"{prefix}{name}.")


def _nearest(word: str, choices: list[str]) -> str:
    near = get_close_matches(word.lower(), choices, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _choices(choices: list[str], tag: str = "") -> str:
    return f"choose one of {_listing(choices)}{_nearest(tag, choices)}"


def _listing(names: list[str]) -> str:
    return textwrap.shorten(", ".join(names), 120, placeholder=" …")
