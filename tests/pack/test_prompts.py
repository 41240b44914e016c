"""Lists of prompts: what they mean, and all their mistakes at once."""

from pathlib import Path
from typing import Any

import pytest

from audiogen.pack.prompts import Entry, bare_prompts, read_prompts
from audiogen.schema import ConfigError
from audiogen.take_request import Tempo


def read(tmp_path: Path, name: str, text: str, **defaults: Any) -> list[Entry]:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return [entry for _, entry in read_prompts(path, defaults)]


def said(tmp_path: Path, name: str, text: str, **defaults: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, name, text, **defaults)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def settings(entry: Entry) -> dict[str, Any]:
    return entry.model_dump(exclude_none=True, exclude={"prompt"})


def test_text_is_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\ufeffrain\n\n  {wind} \nMañana, 雨\n", encoding="utf-8")
    listed = read_prompts(path, {"count": 3, "seconds": "5-10"})
    assert [(where, entry.prompt) for where, entry in listed] == [
        ("line 1", "rain"),
        ("line 3", "{wind}"),
        ("line 4", "Mañana, 雨"),
    ]
    assert settings(listed[0][1]) == {"count": 3, "seconds": (5.0, 10.0)}


def test_csv_has_a_column_for_each_setting(tmp_path: Path) -> None:
    text = (
        "prompt,count,seconds,loop,bpm,bars,negative_prompt,guidance_scale,model\n"
        '"rain, far",2,5-10,,,,music,2.5,runs/a\n'
        '"two\nlines",,,yes,90,4,,,\n'
        "bells,,8,,,,,,\n"
    )
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    listed = read_prompts(path, {"count": 4, "seconds": 3})
    assert [where for where, _ in listed] == ["line 2", "line 4", "line 5"]
    first, second, third = (entry for _, entry in listed)
    assert first.prompt == "rain, far"
    assert settings(first) == {
        "count": 2,
        "seconds": (5.0, 10.0),
        "negative_prompt": "music",
        "guidance_scale": 2.5,
        "model": "runs/a",
    }
    assert second.prompt == "two\nlines"
    assert second.tempo == Tempo(bpm=90, bars=4)
    assert settings(second) == {"count": 4, "loop": True, "bpm": 90.0, "bars": 4}
    assert settings(third) == {"count": 4, "seconds": (8.0, 8.0)}


def test_themes_and_templates_give_grids(tmp_path: Path) -> None:
    text = """\
defaults: {count: 4, seconds: [5, 10]}
prompts:
  - rain
  - {prompt: "{place} at {time}", variants: {place: [a harbour, a wood], time: [dawn, night]}}
  - {theme: biodiversity, variants: [frogs, "{bees}"], count: 2}
  - {theme: Bolivia, template: "{style}, in {theme}", variants: {style: [bells]},
     loop: true, bpm: 90, bars: 2}
  - {prompt: "{not} a template", seconds: 3}
"""
    entries = read(tmp_path, "a.yaml", text, seconds=1, steps=9)
    assert [entry.prompt for entry in entries] == [
        "rain",
        "a harbour at dawn",
        "a harbour at night",
        "a wood at dawn",
        "a wood at night",
        "biodiversity, frogs",
        "biodiversity, {bees}",
        "bells, in Bolivia",
        "{not} a template",
    ]
    assert settings(entries[0]) == {"count": 4, "seconds": (5.0, 10.0), "steps": 9}
    assert settings(entries[5])["count"] == 2
    assert entries[7].tempo == Tempo(bpm=90, bars=2)
    assert "seconds" not in settings(entries[7])
    assert settings(entries[8])["seconds"] == (3.0, 3.0)


def test_a_length_sets_aside_the_other_kind_of_default(tmp_path: Path) -> None:
    text = """\
defaults: {loop: true, bpm: 120, bars: 1}
prompts: [rain, {prompt: wind, seconds: 4}, {prompt: sea, loop: false}]
"""
    rain, wind, sea = read(tmp_path, "a.yml", text, seconds=6)
    assert rain.tempo == Tempo(bpm=120, bars=1)
    assert (wind.tempo, settings(wind)["seconds"]) == (None, (4.0, 4.0))
    assert (sea.tempo, settings(sea)["loop"]) == (None, False)


def test_all_mistakes_of_a_yaml_list_are_said_at_once(tmp_path: Path) -> None:
    text = """\
defaults: {cuont: 4}
prompts:
  - {prompt: a, seconds: five}
  - {prompt: a, loop: true, bpm: 90}
  - {prompt: "{plaec}", variants: {place: [b]}}
  - {theme: a}
  - {prompt: a, theme: a}
  - {prompt: a, seconds: 10-5}
  - {prompt: a, seconds: 0.1}
  - {prompt: a, guidance: 3}
  - 7
  - {prompt: a, bpm: 90, bars: 1}
  - {prompt: a, loop: true, bpm: 90, bars: 1, seconds: 4}
"""
    found = said(tmp_path, "a.yaml", text)
    for number, (line, words) in enumerate(
        [
            ("defaults, cuont", "did you mean count?"),
            ("prompts.0, seconds", "unable to parse"),
            ("prompts.1", "give both bpm and bars"),
            ("prompts.2", "no variants for {plaec}; did you mean 'place'?"),
            ("prompts.3", "a theme or template needs variants"),
            ("prompts.4", "give a prompt or a theme"),
            ("prompts.5", "a range goes from the shorter to the longer"),
            ("prompts.6", "a take has at least 0.5 s"),
            ("prompts.7, guidance", "did you mean guidance_scale?"),
            ("prompts.8", "expected a section of keys"),
            ("prompts.9", "a tempo is for loops"),
            ("prompts.10", "leave out seconds"),
        ]
    ):
        assert found[number].startswith((f"{line}: ", f"{line}, ")), found
        assert words in found[number]
    assert found[12:] == []


def test_all_mistakes_of_a_csv_list_are_said_by_line(tmp_path: Path) -> None:
    text = "prompt,count,loop\nrain,x,\nwind,0,perhaps\nsea,1,,,5\n,1,\n"
    found = said(tmp_path, "a.csv", text)
    assert sorted(line.partition(":")[0] for line in found) == [
        "line 2, count",
        "line 3, count",
        "line 3, loop",
        "line 4",
    ]
    found = said(tmp_path, "a.csv", "promt,cout\nrain,1\n")
    assert found[0] == "line 1: unknown column 'promt'; did you mean 'prompt'?"
    assert found[1] == "line 1: unknown column 'cout'; did you mean 'count'?"
    assert found[2].startswith("line 1: no column 'prompt'")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "\n \n", "no prompt in it"),
        ("a.csv", "prompt\n", "no prompt in it"),
        ("a.json", "[]", r"\.txt, \.csv or \.yaml"),
        ("a.yaml", "prompts: []", "no prompt in it"),
        ("a.yaml", "{}", "prompts: missing"),
        ("a.yaml", 'prompts: ["\\uD800"]', "prompts.0"),
        (
            "a.yaml",
            f"prompts: [{{prompt: '{'{a}{b}{c}'}', variants: {{a: &x "
            f"[{', '.join('a' * 60)}], b: *x, c: *x}}}}]",
            "expands to 216,000 prompts",
        ),
    ],
)
def test_what_is_no_list(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(tmp_path, name, text)


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    for name, words in (("a.txt", "not UTF-8"), ("b.csv", "no such file"), ("c.yaml", "no such")):
        with pytest.raises(ConfigError, match=words):
            read_prompts(tmp_path / name, {})


def test_controls_stand_in_a_section_or_in_a_cell(tmp_path: Path) -> None:
    text = """\
defaults: {controls: {brightness: 2500}}
prompts:
  - rain
  - {prompt: bells, controls: {density: 3, key: F#min}}
"""
    rain, bells = read(tmp_path, "a.yaml", text)
    assert rain.controls == {"brightness": 2500.0}
    assert bells.controls == {"density": 3.0, "key": "F#min"}
    rows = "prompt,controls\nrain,brightness=2500; key=Amin\nwind,\nsea,density=1e1 tempo=90\n"
    rain, wind, sea = read(tmp_path, "a.csv", rows)
    assert rain.controls == {"brightness": 2500.0, "key": "Amin"}
    assert wind.controls is None
    assert sea.controls == {"density": 10.0, "tempo": 90.0}


def test_mistakes_in_controls_are_said_where_they_stand(tmp_path: Path) -> None:
    text = """\
prompts:
  - {prompt: a, controls: {brightnes: 3}}
  - {prompt: a, controls: {density: [3]}}
  - {prompt: a, controls: 3}
"""
    found = said(tmp_path, "a.yaml", text)
    assert found[0].startswith("prompts.0, controls.brightnes: ")
    assert "did you mean 'brightness'?" in found[0]
    assert found[1].startswith("prompts.1, controls.density")
    assert found[-1].startswith("prompts.2, controls: expected a section of keys")
    [found_in_cell] = said(tmp_path, "a.csv", "prompt,controls\nrain,brightness\n")
    assert found_in_cell.startswith("line 2, controls: control 'brightness': expected NAME=VALUE")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('prompt,count\n"rain,1\nwind,2\n', 2),
        ('prompt,count\nsea,1\n"rain,1\n"wind",2\n', 3),
        ('"prompt,count\nrain,1\n', 1),
        ('prompt\n"rain" on tin\n', 2),
    ],
)
def test_a_quote_that_is_not_closed_is_said_with_its_line(
    tmp_path: Path, text: str, line: int
) -> None:
    [found] = said(tmp_path, "a.csv", text)
    assert found.startswith(f"line {line}: ")
    assert "a quote is not closed" in found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "prompts:\n  - rain, on tin\n  - prompt: 'wind'\n"),
        ("a.YML", "prompts: ['rain, on tin', wind]\n"),
        ("a.csv", 'prompt,count\n"rain, on tin",\nwind,\n'),
        ("a.txt", "rain, on tin\n\nwind\n"),
        ("a", "rain, on tin\nwind\n"),
    ],
)
def test_prompts_alone_are_read_from_every_kind_of_list(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert bare_prompts(tmp_path / name) == ["rain, on tin", "wind"]


def test_settings_are_not_dropped_where_prompts_alone_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,count\nrain,\nwind,2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 3: has settings of its own \(count\)") as caught:
        bare_prompts(path)
    assert len(str(caught.value).splitlines()) <= 4
