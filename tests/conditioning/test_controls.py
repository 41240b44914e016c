"""Controls: what is read and refused, ranges, and how the conditioner takes and drops them."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from audiogen.conditioning.conditioner import Conditioner, ConditionerConfig
from audiogen.conditioning.controls import (
    CONTROL_NAMES,
    KEYS,
    MEASURES,
    control_number,
    make_controls,
    parse_controls,
    place_in_range,
)
from audiogen.generators.ode.flow import FlowConfig
from audiogen.schema import ConfigError
from audiogen.types import Conditions

TEXT_DIM, DIM = 6, 16
KNOWN = ConditionerConfig(controls={"brightness": (200, 6000), "tempo": (60, 180), "key": (0, 23)})


def make_conditions(batch: int, **controls: float) -> Conditions:
    return Conditions(
        text=torch.ones(batch, 2, TEXT_DIM),
        text_mask=torch.ones(batch, 2, dtype=torch.bool),
        pooled=torch.ones(batch, TEXT_DIM),
        controls={name: torch.full((batch,), value) for name, value in controls.items()},
    )


def test_every_control_has_its_measure() -> None:
    assert tuple(MEASURES) == CONTROL_NAMES
    assert len(set(KEYS)) == 24
    assert KEYS[:4] == ("Cmaj", "Amin", "Gmaj", "Emin")


def test_what_is_not_asked_for_has_its_default() -> None:
    known = KNOWN.model_copy(update={"defaults": {"brightness": 9000, "key": "Gmaj"}})
    assert known.numbers({}) == {"brightness": 6000, "key": 2}  # the end of its range, no refusal
    assert known.numbers({"brightness": 300}) == {"brightness": 300, "key": 2}
    with pytest.raises(ConfigError, match="outside"):
        known.numbers({"brightness": 9000})


@pytest.mark.parametrize(
    ("defaults", "said"),
    [({"density": 3}, "density is not among"), ({"brightness": "loud"}, "expected a number")],
)
def test_a_default_is_of_a_control_of_the_model(defaults: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ConditionerConfig.model_validate({"controls": ["brightness"], "defaults": defaults})


def test_controls_are_read_from_texts() -> None:
    read = parse_controls(["brightness=2.5e3", " key = F#min "])
    assert read == {"brightness": 2500.0, "key": "F#min"}
    for wrong in ("brightness", "=3", "tempo=", ""):
        with pytest.raises(ConfigError, match="expected NAME=VALUE"):
            parse_controls([wrong])
    with pytest.raises(ConfigError, match="'tempo': given twice"):
        parse_controls(["tempo=90", "tempo=91"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("brightness", "bright"),
        ("brightness", math.nan),
        ("brightness", math.inf),
        ("tempo", True),
        ("tempo", None),
        ("key", 3),
        ("key", "amin"),
        ("key", "Hmin"),
    ],
)
def test_values_of_another_kind_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"expected a (number|key such as Amin)"):
        control_number(name, value)


def test_places_in_a_range() -> None:
    hertz = torch.tensor([100.0, 200.0, math.sqrt(200 * 6000), 6000.0, 20_000.0, torch.nan])
    places = place_in_range("brightness", hertz, (200, 6000))  # equal ratios, equal steps
    torch.testing.assert_close(places[:5], torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))
    assert bool(places[5].isnan())
    beats = place_in_range("tempo", torch.tensor([0.0, 120.0, 999.0]), (60, 180))
    torch.testing.assert_close(beats, torch.tensor([0.0, 0.5, 1.0]))
    # Lengths beyond those of training are told as they are.
    assert float(place_in_range("seconds", torch.tensor([60.0]), (0, 30))) == 2


def test_what_an_item_lacks_is_not_given() -> None:
    made = make_controls(
        seconds=[1.0, 2.0, 3.0], measures=[{"tempo": 90.0}, {}, {"key": 3.0, "tempo": math.nan}]
    )
    assert list(made) == ["seconds", "role", "tempo", "key"]
    assert made["tempo"].isnan().tolist() == [False, True, True]
    assert made["key"].isnan().tolist() == [True, True, False]


def test_names_are_a_list_in_a_recipe_and_have_ranges_in_a_model() -> None:
    wanted = FlowConfig.model_validate({"conditioner": {"controls": ["density", "key"]}})
    assert wanted.conditioner.controls == {"density": "auto", "key": "auto"}
    again = FlowConfig.model_validate(wanted.model_dump(mode="json"))
    assert again == wanted
    with pytest.raises(ValueError, match="no range for density, key"):
        _ = wanted.conditioner.ranges
    half = wanted.with_ranges({"density": (0, 8), "tempo": (60, 180)})
    assert half.conditioner.controls == {"density": (0, 8), "key": "auto"}
    assert half.with_ranges({"density": (1, 2)}).conditioner.controls["density"] == (0, 8)


@pytest.mark.parametrize(
    ("controls", "said"),
    [
        (["brightnes"], "Input should be 'brightness'"),
        ({"density": (3, 3)}, "a range rises"),
        ({"density": (0, math.inf)}, "a range rises"),
        ({"brightness": (0, 100)}, "begins above 0"),
        ({"key": (0, 5)}, "no range of its own"),
        ([["density"]], "valid dictionary"),
        ("density", "valid dictionary"),
    ],
)
def test_wrong_controls_of_a_recipe_are_refused(controls: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ConditionerConfig(controls=controls)


def test_values_of_a_request_become_numbers() -> None:
    assert KNOWN.numbers({}) == {}
    assert KNOWN.numbers({"key": "Gmaj", "brightness": 200}) == {"brightness": 200, "key": 2}


@pytest.mark.parametrize(
    ("controls", "lines"),
    [
        (
            {"brightnes": 3},
            [
                "controls:",
                "  brightnes: this model was not trained with it; did you mean brightness?",
                "  it has brightness (200 to 6000 Hz), tempo (60 to 180 bpm), key (such as Amin or"
                " C#maj)",
            ],
        ),
        (
            {"seconds": 3, "loudness": 1, "key": "x", "tempo": 300, "brightness": "9"},
            [
                "controls:",
                "  seconds: this model was not trained with it; loudness: this model was not"
                " trained with it; key: expected a key such as Amin or C#maj, got 'x'; tempo: 300"
                " is outside of what this model knows; brightness: expected a number, got '9'",
                "  it has brightness (200 to 6000 Hz), tempo (60 to 180 bpm), key (such as Amin or"
                " C#maj)",
            ],
        ),
    ],
)
def test_all_that_is_wrong_with_a_request_is_said(
    controls: dict[str, Any], lines: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        KNOWN.numbers(controls)
    assert str(caught.value).splitlines() == lines


def test_a_model_without_controls_says_so() -> None:
    with pytest.raises(ConfigError, match="tempo: this model was trained without controls"):
        ConditionerConfig().numbers({"tempo": 90})


def test_a_conditioner_without_ranges_is_not_built() -> None:
    with pytest.raises(ValueError, match="no range for tempo"):
        Conditioner(ConditionerConfig(controls=["tempo"]), TEXT_DIM, DIM)  # type: ignore[arg-type]


def num_given(conditioner: Conditioner, conditions: Conditions) -> torch.Tensor:
    """How many of the measures of each item are not dropped."""
    values = conditioner._control_values(conditions)
    return sum((~values[name].isnan()).long() for name in KNOWN.controls)  # type: ignore[return-value]


def test_half_are_told_words_alone_and_the_others_any_number_of_measures() -> None:
    conditioner = Conditioner(KNOWN, TEXT_DIM, DIM).train()
    conditions = make_conditions(4000, seconds=3.0, role=0.0, brightness=900, tempo=90, key=3)
    counts = num_given(conditioner, conditions).bincount(minlength=4)
    assert counts.tolist() == pytest.approx([2500, 500, 500, 500], abs=130)
    values = conditioner._control_values(conditions)
    for name in KNOWN.controls:
        assert float(values[name].isnan().float().mean()) == pytest.approx(0.75, abs=0.04)
    for name in ("seconds", "role"):
        assert float(values[name].isnan().float().mean()) == pytest.approx(0.2, abs=0.04)
    conditioner.eval()
    assert num_given(conditioner, conditions).unique().tolist() == [3]


def test_a_control_with_a_default_is_told_beside_words_alone() -> None:
    """At sampling it always is."""
    usual = KNOWN.model_copy(update={"defaults": {"brightness": 900.0}})
    conditioner = Conditioner(usual, TEXT_DIM, DIM).train()
    conditions = make_conditions(4000, seconds=3.0, role=0.0, brightness=900, tempo=90, key=3)
    values = conditioner._control_values(conditions)
    alone = values["tempo"].isnan() & values["key"].isnan()
    assert float(alone.float().mean()) == pytest.approx(0.5 + 0.5 / 3, abs=0.04)
    assert float(values["brightness"][alone].isnan().float().mean()) == pytest.approx(0.2, abs=0.04)


def test_nothing_is_dropped_where_all_is_to_be_kept() -> None:
    conditioner = Conditioner(KNOWN, TEXT_DIM, DIM).train()
    conditioner.keep_all()
    conditions = make_conditions(200, seconds=3.0, role=0.0, brightness=900, tempo=90, key=3)
    assert num_given(conditioner, conditions).unique().tolist() == [3]
    assert len(conditioner(conditions).vector.unique(dim=0)) == 1


def test_without_measures_there_are_two_names_and_each_is_dropped_on_its_own() -> None:
    torch.manual_seed(3)
    conditioner = Conditioner(ConditionerConfig(), TEXT_DIM, DIM).train()
    names = {name.split(".")[1] for name in conditioner.state_dict() if name.startswith("controls")}
    assert names == {"seconds", "role"}
    conditions = make_conditions(20_000, seconds=3.0, role=0.0)
    torch.manual_seed(4)
    prompt = ~conditioner(conditions).mask[:, 1]
    torch.manual_seed(4)
    torch.rand(20_000)  # of the prompts
    values = conditioner._control_values(conditions)
    seconds, role = (values[name].isnan() for name in ("seconds", "role"))
    dropped = torch.stack([prompt, seconds, role]).double()
    shares = torch.tensor([0.1, 0.2, 0.2], dtype=torch.float64)
    torch.testing.assert_close(dropped.mean(dim=1), shares, atol=0.015, rtol=0)
    assert torch.corrcoef(dropped).triu(1).abs().max() < 0.03


def test_beyond_the_range_is_its_end_and_not_given_is_none_of_it() -> None:
    conditioner = Conditioner(KNOWN, TEXT_DIM, DIM).eval()
    plain = make_conditions(1, seconds=3.0, role=0.0)

    def vector(**controls: float) -> torch.Tensor:
        more = {name: torch.tensor([value]) for name, value in controls.items()}
        found: torch.Tensor = conditioner(
            replace(plain, controls={**plain.controls, **more})
        ).vector
        return found

    assert torch.equal(vector(brightness=20_000.0), vector(brightness=6000.0))
    assert not torch.allclose(vector(brightness=3000.0), vector(brightness=6000.0), atol=1e-3)
    assert torch.equal(vector(brightness=math.nan), vector())
    assert not torch.allclose(vector(brightness=200.0), vector(), atol=1e-3)


def test_measures_are_as_loud_as_prompts_and_neighbours_are_alike() -> None:
    conditioner = Conditioner(
        ConditionerConfig(controls={"tonality": (0, 1), "key": (0, 23)}), TEXT_DIM, 256
    )
    places = torch.linspace(0, 1, 24)
    with torch.no_grad():
        smooth, distinct = (conditioner.controls[name](places) for name in ("tonality", "key"))
    for vectors in (smooth, distinct):
        assert 0.6 < float(vectors.std()) < 1.6
    steps = [float((one[1:] - one[:-1]).norm(dim=1).mean()) for one in (smooth, distinct)]
    assert 2 * steps[0] < steps[1]
