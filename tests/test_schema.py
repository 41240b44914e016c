"""Golden messages of every kind of config mistake, overrides, and the round trip through YAML."""

import json
import math
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field, model_validator

from audiogen.schema import (
    Config,
    ConfigError,
    OneOf,
    UserPath,
    dump_config,
    parse_config,
    read_config,
)


class Mel(Config):
    type: Literal["mel"] = "mel"
    bands: int = Field(default=80, ge=1)


class VAE(Config):
    type: Literal["vae"] = "vae"
    latent_dim: int = Field(default=8, gt=0)
    scale: float | Literal["auto"] = "auto"


Codec = Annotated[Mel | VAE, OneOf(lambda: [Mel, VAE])]


class Train(Config):
    steps: int
    lr: float = 1e-3
    precision: Literal["bf16", "fp32"] = "fp32"
    path: UserPath | None = None
    note: str = ""

    @model_validator(mode="after")
    def _some_steps(self) -> "Train":
        if self.steps == 13:
            raise ValueError("13 steps bring bad luck; use 14")
        return self


class Experiment(Config):
    codec: Codec = Mel()
    second: Codec | None = None
    codecs: tuple[Codec, ...] = ()
    train: Train


def load(folder: Path, text: str, *overrides: str) -> Experiment:
    file = folder / "r.yaml"
    file.write_text(text, encoding="utf-8")
    return read_config(Experiment, file, overrides)


def message(folder: Path, text: str, *overrides: str) -> str:
    """Return the error of loading `text`, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, *overrides)
    return str(caught.value).replace(f"{folder}/", "")


GOLDEN = {
    "near key": ("train: {steps: 3, lrr: 1}", "train.lrr: unknown key; did you mean train.lr?"),
    "section typo": ("train: {steps: 3}\ncodek: {}", "codek: unknown key; did you mean codec?"),
    "key in the wrong section": (
        "train: {steps: 3}\nprecision: bf16",
        "precision: unknown key; did you mean train.precision?",
    ),
    "key of another type": (
        "train: {steps: 3}\ncodec: {type: mel, latent_dim: 3}",
        "codec.latent_dim: unknown key; it belongs to type: vae",
    ),
    "nothing near": (
        "train: {steps: 3}\ncodec: {type: mel, xyzzy: 3}",
        "codec.xyzzy: unknown key; known keys: bands, type",
    ),
    "unknown type": (
        "train: {steps: 3}\ncodec: {type: vea}",
        "codec.type: no type 'vea'; choose one of mel, vae; did you mean 'vae'?",
    ),
    "no type": (
        "train: {steps: 3}\ncodec: {bands: 4}",
        "codec.type: missing; choose one of mel, vae",
    ),
    "out of range, in a union": (
        "train: {steps: 3}\ncodec: {type: vae, latent_dim: -1}",
        "codec.latent_dim: Input should be greater than 0 (got -1)",
    ),
    "in an optional union": (
        "train: {steps: 3}\nsecond: {type: vae, latent_dims: 1}",
        "second.latent_dims: unknown key; did you mean second.latent_dim?",
    ),
    "in a list": (
        "train: {steps: 3}\ncodecs: [{type: mel}, {type: vae, latent_dim: x}]",
        "codecs.1.latent_dim: Input should be a valid integer, unable to parse string as an"
        " integer (got 'x')",
    ),
    "missing": ("train: {lr: 1}", "train.steps: missing, and it has no default"),
    "missing section": ("", "train: missing, and it has no default"),
    "not a section": ("train: 4", "train: expected a section of keys (got 4)"),
    "literal": (
        "train: {steps: 3, precision: fp23}",
        "train.precision: Input should be 'bf16' or 'fp32'; did you mean 'fp32'? (got 'fp23')",
    ),
    "a value's union is one problem": (
        "train: {steps: 3}\ncodec: {type: vae, scale: much}",
        "codec.scale: Input should be a valid number, unable to parse string as a number"
        " (got 'much'); or Input should be 'auto' (got 'much')",
    ),
    "number for text": (
        "train: {steps: 3, note: 2024-01-01}",
        "train.note: Input should be a valid string (got datetime.date(2024, 1, 1));"
        " put it in quotes to make it text",
    ),
    "own check": ("train: {steps: 13}", "train: 13 steps bring bad luck; use 14"),
    "key is no text": ("train: {steps: 3}\n7: x", "7: Keys should be strings (got 7)"),
}


@pytest.mark.parametrize(("text", "expected"), GOLDEN.values(), ids=GOLDEN)
def test_a_mistake_is_told_by_key_path(tmp_path: Path, text: str, expected: str) -> None:
    assert message(tmp_path, text) == f"r.yaml:\n  {expected}"


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = "train: {lrr: 1}\ncodec: {type: vae, bands: 3}\nfoo: 1"
    assert message(tmp_path, text, "oops", "train.lr=x") == "\n  ".join(
        [
            "r.yaml with oops train.lr=x:",
            "override 'oops': expected key.path=value, such as data.path=sounds",
            "codec.bands: unknown key; it belongs to type: mel",
            "train.steps: missing, and it has no default",
            "train.lr: Input should be a valid number, unable to parse string as a number"
            " (got 'x')",
            "train.lrr: unknown key; did you mean train.lr?",
            "foo: unknown key; known keys: codec, codecs, second, train",
        ]
    )


FILES = {
    "ill-formed": ("train:\n  steps: [3\nfoo: 1", "r.yaml:3:4: not valid YAML: "),
    "tab": ("train:\n\tsteps: 3", "r.yaml:2:1: not valid YAML: "),
    "twice": ("codec: {}\ntrain: {}\ncodec: {}", "r.yaml:3:1: not valid YAML: key 'codec' is "),
    "unknown alias": ("train: *x", "r.yaml:1:8: not valid YAML: found undefined alias 'x'"),
    "python object": ("train: !!python/name:os.system", "r.yaml:1:8: not valid YAML: could not "),
    "two documents": ("a: 1\n---\nb: 2", "r.yaml:2:1: not valid YAML: "),
    "control character": ("a: 1\nb: \x01", "r.yaml:2: not valid YAML: special characters"),
    "too deep": ("a: " + 3000 * "[", "r.yaml: not valid YAML: nested too deeply"),
    "a list": ("- 1", "r.yaml:1: expected `key: value` lines, got [1]"),
}


@pytest.mark.parametrize(("text", "start"), FILES.values(), ids=FILES)
def test_a_bad_file_is_told_by_line(tmp_path: Path, text: str, start: str) -> None:
    assert message(tmp_path, text).startswith(start)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "diffusion.yaml").write_bytes(b"train: 1\nnote: \xff")
    for name, expected in {
        "difusion.yaml": f"no such file; did you mean {tmp_path}/diffusion.yaml?",
        "xyz": "no such file; there are: diffusion.yaml",
        "": "a folder, expected a YAML file",
    }.items():
        with pytest.raises(ConfigError) as caught:
            read_config(Experiment, tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {expected}"
    with pytest.raises(ConfigError, match=r"diffusion.yaml:2: not UTF-8 text"):
        read_config(Experiment, tmp_path / "diffusion.yaml")


OVERRIDES = {
    "no value": ("train", "override 'train': expected key.path=value, such as data.path=sounds"),
    "no key": ("=3", "override '=3': expected key.path=value, such as data.path=sounds"),
    "unset": ("train.path=", "override 'train.path=': no value; write train.path=null to set none"),
    "hole": ("a..b=3", "override 'a..b=3': expected key.path=value, such as data.path=sounds"),
    "into a value": (
        "train.steps.x=3",
        "override 'train.steps.x=3': 'steps' is a value, not a section of keys",
    ),
    "into a list": (
        "codecs.0=3",
        "override 'codecs.0=3': 'codecs' is a list: write it whole, as key=[a, b], not a section"
        " of keys",
    ),
    "open bracket": (
        "train.lr=[1",
        "override 'train.lr=[1': the value has an open bracket or quote",
    ),
    "unknown path": ("train.step=3", "train.step: unknown key; did you mean train.steps?"),
    "unknown section": ("trian.lr=3", "trian: unknown key; did you mean train?"),
    "number for a path": (
        "train.path=2024",
        "train.path: Input is not a valid path (got 2024); put it in quotes to make it text",
    ),
}


@pytest.mark.parametrize(("override", "expected"), OVERRIDES.values(), ids=OVERRIDES)
def test_a_bad_override_is_told(tmp_path: Path, override: str, expected: str) -> None:
    text = "train: {steps: 3}\ncodecs: []"
    assert message(tmp_path, text, override) == f"r.yaml with {override}:\n  {expected}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("train.lr=3e-4", 3e-4),
        ("train.lr=1", 1.0),
        ("train.note=yes", "yes"),
        ("train.note=a=b: #1 *", "a=b: #1 *"),
        ("train.note='7'", "7"),
        ("train.note=2024-01-01", "2024-01-01"),
        ("train.path=my sounds/Größe: 2", Path("my sounds/Größe: 2")),
        ("train.path=~/sounds", Path.home() / "sounds"),
        ("train.path=~", Path.home()),
        ("train.path=null", None),
        ("train.path='2024'", Path("2024")),
        ("codec={type: vae, latent_dim: 3}", VAE(latent_dim=3)),
        ("second.type=vae", VAE()),
        ("codecs=[{type: mel, bands: 2}]", (Mel(bands=2),)),
    ],
)
def test_an_override_sets_its_value(tmp_path: Path, text: str, value: object) -> None:
    config = load(tmp_path, "train: {steps: 3, path: x}", text)
    section, _, key = text.partition("=")[0].partition(".")
    found = getattr(config, section)
    assert (found if key in {"", "type"} else getattr(found, key)) == value


def test_a_new_type_resets_its_block_and_only_that(tmp_path: Path) -> None:
    text = "train: {steps: 3}\ncodec: {type: mel, bands: 4}"
    assert load(tmp_path, text, "codec.type=vae").codec == VAE()
    assert load(tmp_path, text, "codec.type=mel").codec == Mel(bands=4)
    # whatever the order, what is set beside a new type belongs to the new type
    config = load(tmp_path, text, "codec.latent_dim=2", "codec.type=vae", "train.lr=5")
    assert config == Experiment(codec=VAE(latent_dim=2), train=Train(steps=3, lr=5))


def test_the_keys_that_go_with_an_old_type_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "train: {steps: 3}\ncodec: {type: mel, bands: 4}"
    load(tmp_path, text, "codec.type=mel")
    load(tmp_path, "train: {steps: 3}\ncodec: {type: mel}", "codec.type=vae")
    assert caplog.messages == []
    load(tmp_path, text, "codec.type=vae")
    assert caplog.messages == ["codec.type=vae: its defaults, and not the file's bands"]


def test_later_overrides_win_and_shared_blocks_are_not_changed_together(tmp_path: Path) -> None:
    text = "train: {steps: 3}\ncodec: &c {type: mel, bands: 4}\nsecond: *c"
    config = load(tmp_path, text, "codec.bands=5", "codec.bands=6")
    assert (config.codec, config.second) == (Mel(bands=6), Mel(bands=4))


def test_a_list_that_is_too_short_is_told_by_the_item_left_out() -> None:
    class Span(Config):
        span: tuple[float, float]

    with pytest.raises(ConfigError, match=r"span\.1: missing, and it has no default"):
        parse_config(Span, {"span": [0.5]}, source="here")


def test_parse_config_names_its_source() -> None:
    with pytest.raises(ConfigError, match=r"^config of the codec:\n  bandz: .*mean bands\?$"):
        parse_config(Mel, {"bandz": 3}, "config of the codec")
    assert parse_config(Mel, {"bands": 3}, "it") == Mel(bands=3)


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Mel().bands = 3


def codecs() -> st.SearchStrategy[Mel | VAE]:
    numbers = st.floats(allow_nan=False)
    return st.one_of(
        st.builds(Mel, bands=st.integers(1, 10**30)),
        st.builds(VAE, latent_dim=st.integers(1, 99), scale=st.one_of(numbers, st.just("auto"))),
    )


EXPERIMENTS = st.builds(
    Experiment,
    codec=codecs(),
    second=st.none() | codecs(),
    codecs=st.lists(codecs(), max_size=3).map(tuple),
    train=st.builds(
        Train,
        steps=st.integers(14, 99),
        lr=st.floats(allow_nan=False),
        path=st.none() | st.text("ab /.:#'\"é~-1", min_size=1).map(Path),
        note=st.text(),
    ),
)


@given(config=EXPERIMENTS)
@example(config=Experiment(train=Train(steps=14, note="a\x85b\u2028 \u2029")))
@settings(max_examples=100, deadline=None)
def test_a_dump_reloads_equal(config: Experiment, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "dumped.yaml"
    file.write_bytes(dump_config(config).encode())
    assert read_config(Experiment, file) == config


@given(config=EXPERIMENTS)
@settings(max_examples=50, deadline=None)
def test_a_dump_writes_every_default_as_plain_yaml(config: Experiment) -> None:
    tree = yaml.safe_load(dump_config(config))
    assert set(tree) == {"codec", "second", "codecs", "train"}
    assert set(tree["train"]) == {"steps", "lr", "precision", "path", "note"}
    assert math.isclose(tree["train"]["lr"], config.train.lr)


# Files that are derived from others


def derive(folder: Path, **texts: str) -> Path:
    """Write files by stem; return the last one."""
    for name, text in texts.items():
        file = folder / f"{name}.yaml"
        file.write_text(text, encoding="utf-8")
    return file


def test_a_derived_file_says_what_differs(tmp_path: Path) -> None:
    file = derive(
        tmp_path,
        first="train: {steps: 3, lr: 1}\ncodec: {type: mel, bands: 4}\ncodecs: [{type: mel}]",
        second="base: first.yaml\ntrain: {steps: 4}\nsecond: {type: mel, bands: 5}",
        third="base: second.yaml\ntrain: {note: x}\ncodec: {bands: 6}\nsecond: null\ncodecs: []",
    )
    config = read_config(Experiment, file, ["train.steps=5"], derived=True)
    assert config == Experiment(codec=Mel(bands=6), train=Train(steps=5, lr=1, note="x"))
    assert "base" not in yaml.safe_load(dump_config(config))


def test_a_new_type_in_a_derived_file_resets_its_block(tmp_path: Path) -> None:
    base = "train: {steps: 3}\ncodec: {type: mel, bands: 4}\nsecond: {type: vae, latent_dim: 2}"
    text = "base: a.yaml\ncodec: {type: vae}\nsecond: {type: vae, scale: 2}"
    config = read_config(Experiment, derive(tmp_path, a=base, b=text), derived=True)
    assert (config.codec, config.second) == (VAE(), VAE(latent_dim=2, scale=2))


def test_a_base_lies_relative_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    derive(tmp_path, a="train: {steps: 3}")
    config = read_config(Experiment, derive(tmp_path / "inner", a="base: ../a.yaml"), derived=True)
    assert config.train == Train(steps=3)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (
            {"a": "train: {steps: 3, lrr: 1}", "b": "base: a.yaml\ncodec: {type: mel, band: 2}"},
            "b.yaml:\n  codec.band: unknown key; did you mean codec.bands?\n"
            "  train.lrr: unknown key; did you mean train.lr? (in a.yaml)",
        ),
        (
            {"a": "train: {steps: 13}", "b": "base: a.yaml"},
            "b.yaml:\n  train: 13 steps bring bad luck; use 14 (in a.yaml)",
        ),
        (
            {"a": "train: {steps: 3, lr: x}", "b": "base: a.yaml\ntrain: {steps: y}"},
            "b.yaml:\n"
            "  train.steps: Input should be a valid integer, unable to parse string as an integer"
            " (got 'y')\n"
            "  train.lr: Input should be a valid number, unable to parse string as a number"
            " (got 'x') (in a.yaml)",
        ),
        (
            {"a": "base: c.yaml", "b": "base: a.yaml", "c": "base: b.yaml"},
            "a.yaml: base: goes round in a circle: c.yaml -> b.yaml -> a.yaml -> c.yaml",
        ),
        ({"a": "base: a.yaml"}, "a.yaml: base: goes round in a circle: a.yaml -> a.yaml"),
        ({"a": "base: [b]"}, "a.yaml: base: expected the name of a YAML file (got ['b'])"),
        (
            {"abc": "", "b": "base: abd.yaml"},
            "b.yaml: base: abd.yaml: no such file; did you mean abc.yaml?",
        ),
        ({"a": "x: [", "b": "base: a.yaml"}, "a.yaml:1:5: not valid YAML: while parsing"),
    ],
)
def test_a_mistake_in_a_base_is_told_by_file_and_key(
    tmp_path: Path, texts: dict[str, str], expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(Experiment, derive(tmp_path, **texts), derived=True)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(expected)


def test_only_a_recipe_has_a_base(tmp_path: Path) -> None:
    file = derive(tmp_path, a="train: {steps: 3}", b="base: a.yaml")
    with pytest.raises(ConfigError, match="base: unknown key"):
        read_config(Experiment, file)


TRAIN = st.fixed_dictionaries(
    {"steps": st.integers(1, 9)},
    optional={"lr": st.floats(0, 1), "note": st.text("ab", max_size=3)},
)
CODEC = st.sampled_from(
    [{"type": "mel", "bands": 3}, {"type": "vae", "latent_dim": 3}, {"type": "mel"}]
)
TREE = st.fixed_dictionaries({"train": TRAIN}, optional={"codec": CODEC})


@given(trees=st.lists(TREE, min_size=1, max_size=4))
def test_a_chain_is_what_its_files_are_as_overrides_of_the_first(
    trees: list[dict[str, dict[str, object]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("chain")
    texts = {
        f"r{number}": json.dumps({**({"base": f"r{number - 1}.yaml"} if number else {}), **tree})
        for number, tree in enumerate(trees)
    }
    found = read_config(Experiment, derive(folder, **texts), derived=True)
    expected: dict[str, dict[str, object]] = {}
    for tree in trees:
        for name, block in tree.items():
            old = expected.get(name, {})
            keeps = old.get("type") == block.get("type")
            expected[name] = {**(old if keeps else {}), **block}
    assert found == parse_config(Experiment, expected, source="expected")


def test_a_block_says_what_differs_from_its_fields_default() -> None:
    class Outer(Config):
        train: Train = Train(steps=7, lr=0.5)
        codec: Codec = VAE(latent_dim=3)

    tree = {"train": {"note": "x"}, "codec": {"type": "mel"}}
    config = parse_config(Outer, tree, source="tree")
    assert config == Outer(train=Train(steps=7, lr=0.5, note="x"), codec=Mel())
