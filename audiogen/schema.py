"""Typed configuration: one base class, YAML in, dotted overrides, errors that name the key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from audiogen.trees import (
    SHORT,
    TAG,
    ConfigError,
    listing,
    merged_trees,
    override_tree,
    read_derived,
    read_yaml,
    sets_type,
    value_at,
    write_tree,
)

__all__ = [
    "Config",
    "ConfigError",
    "OneOf",
    "UserPath",
    "by_type",
    "dump_config",
    "parse_config",
    "read_config",
]

ConfigT = TypeVar("ConfigT", bound="Config")


def _not_empty(path: object) -> object:
    """Refuse the empty text, which would be the current folder."""
    if path == "":
        raise ValueError("an empty path; the current folder is .")
    return path


def _from_home(path: Path) -> Path:
    """Put the home folder for a `~` in front, which a shell leaves alone behind a `=`."""
    return Path.home().joinpath(*path.parts[1:]) if path.parts[:1] == ("~",) else path


UserPath = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(_from_home)]
"""A path as a user writes it; `~` is the home folder."""

_QUOTE_HINT = frozenset({"string_type", "path_type"})


class Config(BaseModel):
    """Base of every configuration: immutable, closed to unknown keys, documented field by field.

    A block says what differs from its field's default:

    >>> class Rain(Config):
    ...     drops: int = 3
    ...     wind: int = 0
    >>> class Weather(Config):
    ...     now: Rain = Rain(drops=8)
    >>> Weather(now={"wind": 2}).now
    Rain(drops=8, wind=2)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _blocks_start_from_their_defaults(cls, tree: Any) -> Any:
        if not isinstance(tree, Mapping):
            return tree
        defaults = {
            name: field.default.model_dump(exclude_unset=True)
            for name, field in cls.model_fields.items()
            if isinstance(field.default, Config) and isinstance(tree.get(name), Mapping)
        }
        return merged_trees(defaults, tree)


class OneOf:
    """Annotation of a block whose `type` names one of several configurations.

    They are asked for when a block is read, so that a table to which one is added later does.
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
        tag = tree.get(TAG, self._default)
        if isinstance(tag, str) and tag in tags:
            return tags[tag].model_validate({TAG: tag, **tree})
        said = "missing" if tag is None else f"no type {tag!r}"
        problem = f"{said}; {_choices(sorted(tags), '' if tag is None else str(tag))}"
        error = PydanticCustomError("type", "{problem}", {"problem": problem})
        raise ValidationError.from_exception_data(
            "OneOf", [{"type": error, "loc": (TAG,), "input": tree}]
        )


def by_type(models: Iterable[type[ConfigT]]) -> dict[str, type[ConfigT]]:
    """Return the models by the literal of their `type` field; those without one are left out."""
    fields = {model: model.model_fields.get(TAG) for model in models}
    return {
        tag: model for model, field in fields.items() if field for tag in get_args(field.annotation)
    }


def read_config(
    cls: type[ConfigT], path: Path, overrides: Iterable[str] = (), *, derived: bool = False
) -> ConfigT:
    """Read the YAML file `path`, apply `key.path=value` overrides and validate the result as `cls`.

    Overrides of a block's `type` come first, whatever their place; the rest follow in order. A new
    type's block starts from its defaults; the log names the keys of the file that go.

    Args:
        cls: what the file is to be.
        path: the file.
        overrides: in the order they were given.
        derived: the file may name another one as its `base`, relative to its own folder, and says
            only what differs from that; so may the other one.

    Raises:
        ConfigError: a file cannot be read as YAML, or all bad keys and overrides, one per line; of
            a key that stands in a base, the line names its file.
    """
    given = sorted(overrides, key=lambda text: not sets_type(text))  # a stable sort
    files = read_derived(path) if derived else {path: read_yaml(path)}
    tree: dict[str, Any] = {}
    for part in reversed(files.values()):
        tree = merged_trees(tree, part)
    problems = []
    for override in given:
        try:
            tree = override_tree(tree, override)
        except ConfigError as error:
            problems.append(str(error))
    config, invalid = _validate(cls, tree)
    if config is not None and not problems:
        return config
    source = f"{path} with {' '.join(given)}" if given else str(path)
    problems += [line + _place_in(files, tree, line.partition(":")[0]) for line in invalid]
    raise ConfigError(_report(source, problems))


def parse_config(cls: type[ConfigT], tree: Mapping[str, Any], source: str) -> ConfigT:
    """Validate `tree` as `cls`; raise ConfigError that names `source` and lists all problems."""
    config, problems = _validate(cls, tree)
    if config is None:
        raise ConfigError(_report(source, problems))
    return config


def dump_config(config: Config) -> str:
    """Return YAML with every default written out; it reloads to an equal config."""
    return write_tree(config.model_dump(mode="json"))


def _report(source: str, problems: list[str]) -> str:
    """Return the message of a ConfigError: where, then one problem per line."""
    return "\n  ".join([f"{source}:", *problems])


def _place_in(files: Mapping[Path, Mapping[str, Any]], tree: Mapping[str, Any], path: str) -> str:
    """Return a note where the value at a key path of `tree` comes from a base, else nothing."""
    for number, (file, part) in enumerate(files.items()):
        found = value_at(part, path)
        if found is not None and found == value_at(tree, path):
            return f" (in {file})" if number else ""
    return ""


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
    tag = node.get(TAG) if isinstance(node, Mapping) else None
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
            return path, f"expected a section of keys (got {SHORT.repr(item['input'])})"
        case kind:
            message = str(item["msg"]).removeprefix("Value error, ").partition(" for <class")[0]
            if kind == "literal_error":
                choices = str(item["ctx"]["expected"]).replace(" or ", ", ").split(", ")
                message += _nearest(str(item["input"]), [choice.strip("'") for choice in choices])
            given = item["input"]
            got = "" if isinstance(given, Mapping) else f" (got {SHORT.repr(given)})"
            hint = "; put it in quotes to make it text" if kind in _QUOTE_HINT else ""
            return path, f"{message}{got}{hint}"


def _suggest_key(place: _Place, cls: type[Config], tree: Mapping[str, Any]) -> str:
    """Return a hint for the unknown key at `place`: another type's, a near one, one elsewhere."""
    *section, key = place.keys
    others = [tag for tag, model in by_type(place.siblings).items() if key in model.model_fields]
    if others:
        return f"; it belongs to {TAG}: {' or '.join(others)}"
    known = sorted({name for model in place.parent for name in model.model_fields})
    near = get_close_matches(key.lower(), known, n=1)
    if near:
        return f"; did you mean {'.'.join([*section, near[0]])}?"
    elsewhere = [path for path in _paths([cls], tree) if path.rpartition(".")[2] == key]
    if elsewhere:
        return f"; did you mean {' or '.join(elsewhere[:3])}?"
    return f"; known keys: {listing(known)}"


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
    return f"choose one of {listing(choices)}{_nearest(tag, choices)}"
