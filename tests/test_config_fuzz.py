"""Recipes with anything in them are configs or a ConfigError, and typos are understood."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audiogen.codecs.saved import SavedConfig
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.schema import ConfigError, dump_config, parse_config

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
TREES = {path.stem: yaml.safe_load(dump_config(load_config(path))) for path in RECIPES}
TREES["saved"] = {
    **TREES["flow"],
    "codec": SavedConfig(path=Path("runs/diffusion")).model_dump(mode="json"),
}
Keys = tuple[str, ...]


def places(tree: Any, before: Keys = ()) -> Iterator[Keys]:
    """Every key of a tree, by its path."""
    for key, value in tree.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from places(value, (*before, key))


def block(tree: Any, keys: Keys) -> Any:
    for key in keys:
        tree = tree[key]
    return tree


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from([0, -1, 1e9, 10**30, "NaN", "1e-3", "auto", "vae", "../..", "\x00"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def edited(draw: st.DrawFn) -> dict[str, Any]:
    """A recipe in which some values are others, or keys are gone or new."""
    tree: dict[str, Any] = copy.deepcopy(TREES[draw(st.sampled_from(sorted(TREES)))])
    for _ in range(draw(st.integers(1, 3))):
        keys = draw(st.sampled_from(sorted(places(tree))))
        parent = block(tree, keys[:-1])
        match draw(st.sampled_from(["change", "remove", "add"])):
            case "change":
                parent[keys[-1]] = draw(ANYTHING)
            case "remove":
                parent.pop(keys[-1])
            case "add":
                parent[draw(st.text(max_size=8))] = draw(ANYTHING)
    return tree


@pytest.mark.parametrize("cases", [300, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_a_recipe_is_a_config_or_an_error_that_says_where(cases: int) -> None:
    @given(tree=edited())
    @settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))
    def check(tree: dict[str, Any]) -> None:
        try:
            config = parse_config(ExperimentConfig, tree, source="recipe.yaml")
        except ConfigError as error:
            first, *problems = str(error).splitlines()
            assert first.startswith("recipe.yaml")
            assert problems
        else:
            tree = yaml.safe_load(dump_config(config))
            assert parse_config(ExperimentConfig, tree, source="again") == config

    check()


def test_nearly_every_typo_is_understood(tmp_path: Path) -> None:
    """A letter is missing; the error names the key that was meant."""
    understood = []
    for name, tree in TREES.items():
        for keys in places(tree):
            if len(keys[-1]) < 4:
                continue
            changed = copy.deepcopy(tree)
            parent = block(changed, keys[:-1])
            typo = keys[-1][:2] + keys[-1][3:]
            if typo in parent:
                continue
            parent[typo] = parent.pop(keys[-1])
            with pytest.raises(ConfigError) as caught:
                parse_config(ExperimentConfig, changed, source=name)
            understood.append(f"{keys[-1]}" in str(caught.value).partition("did you mean")[2])
    assert len(understood) > 500
    assert sum(understood) >= 0.95 * len(understood)
