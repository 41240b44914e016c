"""Lists of prompts: text, CSV or YAML in, one entry per prompt out, and all mistakes at once."""

from __future__ import annotations

import csv
import io
import itertools
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from audiogen.conditioning.controls import ControlName, parse_controls
from audiogen.generators import changed_sampling
from audiogen.limits import MAX_SEED, MIN_SECONDS
from audiogen.pipeline import Pipeline
from audiogen.schema import Config, ConfigError, ConfigT, parse_config, read_config
from audiogen.seeds import hashed_seed
from audiogen.storage import digest_of
from audiogen.take_request import Tempo
from audiogen.takes.take import Take

MAX_WISHES = 100_000
"""Prompts that a list may expand to; more is a slip in a grid."""
SEED_SPAN = 1_000_000
"""Seeds that prompts give lie below it."""
_RANGE = re.compile(r"\s*([0-9.]+)\s*-\s*([0-9.]+)\s*")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_LENGTHS = ({"seconds"}, {"bpm", "bars", "beats_per_bar"})  # the one sets aside the other

Text = Annotated[str, Field(min_length=0)]
"""A length is asked of whole text alone: half a character (a lone surrogate) is refused."""


def _read_range(value: Any) -> Any:
    """Return what `5`, `"5-10"` and `[5, 10]` mean as a pair."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return (value, value)
    if isinstance(value, str):
        found = _RANGE.fullmatch(value)
        return found.groups() if found else (value, value)
    return value


Range = Annotated[
    tuple[Annotated[float, Field(gt=0, le=86_400)], Annotated[float, Field(gt=0, le=86_400)]],
    BeforeValidator(_read_range),
]


def _read_controls(value: Any) -> Any:
    """Return what the text `brightness=2500 density=3` of a spreadsheet's cell means."""
    return parse_controls(value.replace(";", " ").split()) if isinstance(value, str) else value


class TakeSettings(Config):
    """How takes of a prompt are made; what is left out is as `defaults`, then as the command."""

    count: int | None = Field(default=None, ge=1, le=100_000)
    """Takes of each prompt."""
    seconds: Range | None = None
    """Length, or a range such as 5-10 in which each take has a length of its own."""
    loop: bool | None = None
    bpm: float | None = Field(default=None, ge=1, le=999)
    """Tempo of a loop whose length is counted in bars."""
    bars: int | None = Field(default=None, ge=1, le=10_000)
    beats_per_bar: int | None = Field(default=None, ge=1, le=64)
    negative_prompt: Text | None = None
    guidance_scale: float | None = Field(default=None, ge=0)
    """Weight of the prompt; 1 is off."""
    controls: Annotated[
        dict[ControlName, Annotated[float | str, Field(union_mode="left_to_right")]] | None,
        BeforeValidator(_read_controls),
    ] = None
    """How the takes should sound, such as {brightness: 2500}; what the model was trained with."""
    steps: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    """Of the first take; the next takes count up from it. Without it the prompt gives it."""
    best_of: int | None = Field(default=None, ge=1, le=64)
    """Candidates of each take, of which the one with the best score is kept."""
    model: str | None = Field(default=None, min_length=1)
    """A run folder; without it that of the command."""

    @property
    def tempo(self) -> Tempo | None:
        """Of a loop whose length is counted in bars."""
        if self.bpm is None or self.bars is None:
            return None
        return Tempo(bpm=self.bpm, bars=self.bars, beats_per_bar=self.beats_per_bar or 4)

    @property
    def lengths(self) -> tuple[float, float]:
        """The shortest and the longest take, s."""
        if self.tempo is not None:
            return self.tempo.seconds, self.tempo.seconds
        return self.seconds or (5.0, 5.0)


class Entry(TakeSettings):
    """One prompt, or a theme or template that gives many."""

    prompt: Text | None = None
    theme: str | None = Field(default=None, min_length=1)
    template: str | None = Field(default=None, min_length=1)
    variants: tuple[Text, ...] | dict[Text, tuple[Text, ...]] | None = Field(
        default=None, min_length=1
    )
    """Of a theme: a list, or for `{name}` in a template a list by name."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        low, high = self.seconds or (1.0, 1.0)
        wrong = [
            (low > high, "a range goes from the shorter to the longer, such as 5-10"),
            (
                self.seconds is not None and not self.loop and low < MIN_SECONDS,
                f"a take has at least {MIN_SECONDS} s; only loops may be shorter",
            ),
            ((self.bpm is None) != (self.bars is None), "give both bpm and bars, or neither"),
            (self.bpm is not None and not self.loop, "a tempo is for loops: add loop: true"),
            (
                self.bpm is not None and self.seconds is not None,
                "bpm and bars set the length: leave out seconds",
            ),
            (self.beats_per_bar is not None and self.bpm is None, "beats_per_bar needs bpm"),
        ]
        found = [text for is_wrong, text in wrong if is_wrong] + self._faults_of_template()
        if found:
            raise ValueError("; ".join(found))
        return self

    def _faults_of_template(self) -> list[str]:
        if (self.prompt is None) == (self.theme is None):
            return ["give a prompt or a theme"]
        if self.variants is None:
            return ["a theme or template needs variants"] if self.prompt is None else []
        if self.prompt is not None and self.template is not None:
            return ["a prompt is its own template: leave one of the two out"]
        values = self._values()
        if any(not texts for texts in values.values()):
            return ["variants: a name without values"]
        names = _PLACEHOLDER.findall(self._pattern())
        unknown = [name for name in names if name not in values]
        unused = [name for name in values if name not in names and name != "theme"]
        faults = [f"no variants for {{{name}}}{_near(name, values)}" for name in unknown]
        return faults + [f"variants {name!r} do not stand in the template" for name in unused]

    def _pattern(self) -> str:
        if self.prompt is not None:
            return self.prompt
        if self.template is not None:
            return self.template
        names = self.variants if isinstance(self.variants, Mapping) else ("variant",)
        return ", ".join(["{theme}", *(f"{{{name}}}" for name in names)])

    def _values(self) -> dict[str, Sequence[str]]:
        variants = self.variants or {}
        named = dict(variants) if isinstance(variants, Mapping) else {"variant": variants}
        return {**named, **({} if self.theme is None else {"theme": (self.theme,)})}

    @property
    def size(self) -> int:
        """How many prompts it gives."""
        total = 1
        for texts in self._values().values():
            total *= max(1, len(texts))
        return total

    def filled_in(self) -> Iterator[Entry]:
        """An entry for each prompt: one, or the grid of all variants."""
        pattern, values = self._pattern(), self._values()
        without = {"theme": None, "template": None, "variants": None}
        for chosen in itertools.product(*values.values()):
            given = dict(zip(values, chosen, strict=True))
            pieces = _PLACEHOLDER.split(pattern) if values else [pattern]
            pieces[1::2] = [given[name] for name in pieces[1::2]]  # text and names by turns
            yield self.model_copy(update={**without, "prompt": "".join(pieces)})


class PromptList(Config):
    """A list of prompts as YAML; what is in it is checked entry by entry."""

    defaults: Any = Field(default_factory=dict)
    """Settings that hold where an entry says nothing else."""
    prompts: tuple[Any, ...]
    """Each a text or a section."""


def read_prompts(path: Path, options: Mapping[str, Any]) -> list[tuple[str, Entry]]:
    """Read a list: `.txt` (a prompt a line), `.csv` (a column per setting), `.yaml` or `.yml`.

    Args:
        path: of the list.
        options: settings that hold where the list says nothing.

    Returns:
        For each prompt where it stands in the list, and its entry, whose theme is filled in.

    Raises:
        ConfigError: the file cannot be read, or all mistakes in it, one per line.
    """
    given = _plain(parse_config(TakeSettings, options, "options"))
    suffix, own, problems = path.suffix.lower(), dict[str, Any](), list[str]()
    rows: Mapping[str, Any]
    if suffix in {".yaml", ".yml"}:
        listed = read_config(PromptList, path)
        defaults = _parsed(TakeSettings, listed.defaults, "defaults", problems)
        own = {} if defaults is None else _plain(defaults)
        rows = {f"prompts.{number}": row for number, row in enumerate(listed.prompts)}
    elif suffix == ".csv":
        rows = _read_csv(path, problems)
    elif suffix in {".txt", ""}:
        rows = {f"line {number}": line for number, line in prompt_lines(path).items()}
    else:
        raise ConfigError(f"{path}: a list of prompts is a .txt, .csv or .yaml file")
    entries = []
    for where, row in rows.items():
        tree = _with_defaults(_with_defaults(row, own), given)
        entry = _parsed(Entry, tree, where, problems)
        if entry is not None:
            entries.append((where, entry))
    if problems:
        raise ConfigError("\n  ".join([f"{path}:", *problems]))
    if not entries:
        raise ConfigError(f"{path}: no prompt in it")
    total = sum(entry.size for _, entry in entries)
    if total > MAX_WISHES:
        raise ConfigError(f"{path}: expands to {total:,} prompts, more than {MAX_WISHES:,}")
    return [(where, one) for where, entry in entries for one in entry.filled_in()]


def bare_prompts(path: Path) -> list[str]:
    """Read the prompts of a list, as `read_prompts` does, whose takes are all made alike.

    Raises:
        ConfigError: see `read_prompts`; or an entry has settings of its own.
    """
    prompts = []
    for where, entry in read_prompts(path, {}):
        own = sorted(_plain(entry).keys() - {"prompt"})
        if own:
            raise ConfigError(
                f"{path}, {where}: has settings of its own ({', '.join(own)})\n"
                "  here all takes are made alike, by the options; leave them out of the list,\n"
                "  or make the list as a pack: audiogen texture make LIST --model RUN --out PACK"
            )
        prompts.append(entry.prompt or "")
    return prompts


def prompt_lines(path: Path) -> dict[int, str]:
    """Read the prompts of a text file, by their lines, of which empty ones are left out."""
    lines = enumerate(_read_text(path).splitlines(), start=1)
    return {number: line.strip() for number, line in lines if line.strip()}


def plan_takes(
    entries: Sequence[tuple[str, Entry]],
    models: Mapping[str, Pipeline],
    default_model: str,
    seed: int,
) -> list[Take]:
    """Turn prompts into takes, each with its own seed; their files are not named yet.

    A prompt's first seed comes from its text and `seed`, so that a change elsewhere in the list
    changes nothing. Takes of one prompt with the same settings count on from one another.

    Args:
        entries: of the list, each with its place there.
        models: by the name under which an entry gives them.
        default_model: of entries that give none.
        seed: moves all seeds that come from prompts.

    Raises:
        ConfigError: a model cannot do what is asked, or takes would be the same; all at once.
    """
    problems: dict[str, None] = {}
    seen: dict[str, str] = {}
    takes: list[Take] = []
    counters: dict[str, int] = {}
    for where, entry in entries:
        run, (low, high) = entry.model or default_model, entry.lengths
        try:
            common = _common(entry, run, models[run])
        except ConfigError as error:
            problems |= {f"{where}: {line}": None for line in _details(error)}
            continue
        group = digest_of({**common.to_tree(), "range": entry.seconds})
        first = hashed_seed("list", seed, common.prompt) % SEED_SPAN
        if entry.seed is not None:
            first, group = entry.seed, f"{where} {group}"
        before, count = counters.get(group, 0), entry.count or 1
        counters[group] = before + count
        for number in range(first + before, first + before + count):
            share = zlib.crc32(f"{number} {common.prompt}".encode()) / (1 << 32)
            seconds = low if low == high else round(low + share * (high - low), 2)
            take = common.model_copy(update={"seed": number, "seconds": seconds})
            other = seen.setdefault(take.key, where)
            problem = models[run].length_problem(take)
            if problem:
                problems[f"{where}: {problem}"] = None
            if len(seen) == len(takes):
                problems[f"{where}: seed {number} is that of {other} too"] = None
            else:
                takes.append(take)
    if problems:
        raise ConfigError("\n  ".join(["the list of prompts:", *problems]))
    return takes


def _common(entry: Entry, run: str, pipeline: Pipeline) -> Take:
    """What all takes of an entry have; ConfigError for what its model does not know."""
    changes = {"guidance_scale": entry.guidance_scale, "steps": entry.steps}
    controls = {str(name): value for name, value in (entry.controls or {}).items()}
    pipeline.config.generator.conditioner.numbers(controls)
    return Take(
        prompt=entry.prompt or "",
        seed=0,
        seconds=0.0,
        sampling=changed_sampling(pipeline.config.sample, changes),
        negative_prompt=entry.negative_prompt or "",
        controls=controls,
        loop=bool(entry.loop),
        tempo=entry.tempo,
        best_of=entry.best_of or 1,
        run=run,
        model_digest=pipeline.digest,
    )


def _details(error: ConfigError) -> list[str]:
    """The mistakes that a ConfigError lists, without its first line."""
    return [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]


def _parsed(cls: type[ConfigT], tree: Any, where: str, problems: list[str]) -> ConfigT | None:
    """Read a part of a list; where it cannot be read, its mistakes are added to `problems`."""
    try:
        return parse_config(cls, tree, where)
    except ConfigError as error:
        problems.extend(f"{where}, {line}" for line in _details(error))
        return None


def _plain(settings: TakeSettings) -> dict[str, Any]:
    return settings.model_dump(exclude_none=True)


def _with_defaults(entry: Any, defaults: Mapping[str, Any]) -> Any:
    """Put `defaults` under an entry; a length given one way sets aside the default of the other."""
    if isinstance(entry, str):
        entry = {"prompt": entry}
    if not isinstance(entry, Mapping):
        return entry
    seconds, tempo = _LENGTHS
    aside = set()
    if tempo & entry.keys():
        aside |= seconds
    if "seconds" in entry or entry.get("loop") is False:
        aside |= tempo
    kept = {name: value for name, value in defaults.items() if name not in aside}
    if seconds & kept.keys() and tempo & kept.keys():
        kept.pop("seconds")
    return {**kept, **entry}


def _read_csv(path: Path, problems: list[str]) -> dict[str, dict[str, str]]:
    """The rows by their lines; a cell that is empty says nothing."""
    # Not strict, the module takes what follows an unclosed quote, other rows included, for text.
    text = io.StringIO(_read_text(path), newline="")
    reader = csv.DictReader(text, restkey="", strict=True)
    known = ["prompt", *TakeSettings.model_fields]
    try:
        columns = [str(name).strip() for name in reader.fieldnames or ()]
    except csv.Error as error:
        problems.append(_csv_fault(1, error))
        return {}
    unknown = [name for name in columns if name not in known]
    problems += [f"line 1: unknown column {name!r}{_near(name, known)}" for name in unknown]
    if "prompt" not in columns:
        problems.append(f"line 1: no column 'prompt'; columns may be {', '.join(known)}")
    if problems:
        return {}
    rows, read = {}, reader.line_num
    try:
        for row in reader:
            where, read = f"line {reader.line_num}", reader.line_num
            if "" in row:
                fault = "more cells than columns; put text with commas in quotes"
                problems.append(f"{where}: {fault}")
                continue
            cells = {str(key).strip(): (value or "").strip() for key, value in row.items()}
            rows[where] = {key: value for key, value in cells.items() if value or key == "prompt"}
    except csv.Error as error:
        problems.append(_csv_fault(read + 1, error))
    return rows


def _csv_fault(line: int, error: csv.Error) -> str:
    """What is wrong in the row that begins in a line."""
    quote = "expected after" in str(error) or "unexpected end" in str(error)
    hint = '; a quote is not closed (within quotes, write "" for a quote)' if quote else ""
    return f"line {line}: {error}{hint}"


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from None


def _near(name: str, names: Sequence[str] | Mapping[str, Any]) -> str:
    near = get_close_matches(name.lower(), list(names), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
