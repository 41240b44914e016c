"""Names of exported files: 10,000 hostile prompts, no escape, none twice, all parsed back."""

import random
import re
from pathlib import Path
from typing import get_args

import pytest
from stem_reader import parse_stem

from audiogen.pack.export.names import (
    RESERVED,
    Names,
    Naming,
    prompt_words,
    ucs_category,
)

COUNT = 10_000
HOSTILE = (
    "../../etc/passwd",
    "..\\..\\windows\\system32",
    "/absolute",
    "C:\\x",
    "a/../b",
    "con",
    "NUL",
    "com1.wav",
    "lpt9",
    "aux",
    "\0",
    "\x1b[31mred",
    "\n\r\t",
    "rain\u202egpj.exe",
    "مطر على سقف",
    "雨が降る",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "x" * 10_000,
    "word " * 2_000,
    "",
    " ",
    ".",
    "..",
    "-rf",
    "$(rm -rf ~)",
    "`id`",
    "a\u0300" * 50,
    "Größe",
    "=cmd|'/c calc'!A0",
    "%2e%2e%2f",
    "rain 120 bpm Amin",
    "\ud800",
    "808",
    "CON.",
    "b_90_Amin",
)


def prompts() -> list[str]:
    chance = random.Random(0)  # noqa: S311 - nothing is secret here
    made = list(HOSTILE)
    while len(made) < COUNT:
        kind = chance.randrange(3)
        if kind == 0:
            made.append(chance.choice((" ", "", "/", "_")).join(chance.choices(HOSTILE, k=2)))
        elif kind == 1:
            made.append(chance.choice(HOSTILE))
        else:
            letters = chance.choices(range(1, 0xD7FF), k=chance.randint(0, 40))
            made.append("".join(map(chr, letters)))
    return made


@pytest.mark.parametrize("naming", get_args(Naming))
def test_hostile_prompts_neither_escape_nor_overwrite_and_are_parsed_back(
    naming: Naming, tmp_path: Path
) -> None:
    names = Names(naming, creator="../x", source="My Pack: vol. 1")
    chance = random.Random(1)  # noqa: S311
    seen = set()
    for prompt in prompts():
        bpm, key = chance.choice([None, 87.6]), chance.choice([None, "C#min", "../x"])
        stem = names.give(prompt, bpm=bpm, key=key)
        assert stem.isascii()
        assert re.fullmatch(r"[A-Za-z0-9_#-]+" if naming != "ucs" else r"[A-Za-z0-9_ ]+", stem)
        assert len(stem) <= 120
        assert not RESERVED.fullmatch(stem)
        assert (tmp_path / f"{stem}.wav").resolve().parent == tmp_path.resolve()
        assert stem.lower() not in seen
        seen.add(stem.lower())
        told = parse_stem(stem, naming)
        words = prompt_words(prompt, digits=naming != "splice")
        assert told.words[: len(words)] == words
        if naming == "splice":
            assert told.bpm == (None if bpm is None else 88)
            assert told.key == (key if key == "C#min" else None)
        if naming == "ucs":
            assert (told.creator, told.source) == ("x", "MyPackvol1")
    assert len(seen) == COUNT


@pytest.mark.parametrize(
    ("prompt", "category"),
    [
        ("dog bark", "ANMLDog"),
        ("rain", "RAIN"),
        ("sea waves", "WATRWave"),
        ("baby cry", "VOXBaby"),
        ("clock tick", "CLOCKTick"),
        ("person sneeze", "HMNSneez"),
        ("helicopter", "AEROHeli"),
        ("chainsaw", "TOOLPowr"),
        ("rooster", "BIRDFowl"),
        ("fire crackling", "FIRECrkl"),
        ("thunder, far away", "THUN"),
        ("a brainstorm", "DSGNMisc"),
    ],
)
def test_plain_prompts_have_a_category(prompt: str, category: str) -> None:
    assert ucs_category(prompt_words(prompt)) == category


def test_names_are_those_of_the_rules() -> None:
    splice, ucs, plain = Names("splice"), Names("ucs", source="Pack01"), Names("plain")
    assert splice.give("Rain on tin", bpm=90, key="Amin") == "rain_on_tin_90_Amin"
    assert splice.give("rain on TIN!", bpm=90, key="Amin") == "rain_on_tin_b_90_Amin"
    assert ucs.give("rain, tin roof") == "RAINMetl_Rain Tin Roof 01_AG_Pack01"
    assert ucs.give("a choir of stars") == "DSGNMisc_A Choir Of Stars 01_AG_Pack01"
    assert plain.give("rain") == "rain-001"
    assert plain.give("rain") == "rain-002"
    assert ucs_category(("wind", "in", "trees")) == "WINDVege"
    for stem, naming in (("Rain", "splice"), ("a_b", "ucs"), ("rain", "plain")):
        with pytest.raises(ValueError, match="not a name"):
            parse_stem(stem, naming)  # type: ignore[arg-type]
