"""What a policy lets through: a thousand random manifests, real recordings, the messages."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from audiogen.data.intake.licences import KINDS, LICENCE_REASONS, OWN, LicenceTerms, apply_policy
from audiogen.data.intake.scan import scan_folder, summarise
from audiogen.data.intake.spdx import spdx
from audiogen.data.manifest import ManifestRow

FOLDER = Path("sounds")
# What people write, and what it is worth; written by hand, so that it does not follow the code.
ZERO = (
    "CC0",
    "cc0-1.0",
    "CC0 1.0 Universal",
    "http://creativecommons.org/publicdomain/zero/1.0/",
    "Creative Commons 0",
    "PDDL-1.0",
    "CC-PDM-1.0",
    "LicenseRef-PublicDomain",
    "unlicense",
)
CREDIT = (
    "CC-BY-4.0",
    "CC BY 3.0",
    "https://creativecommons.org/licenses/by/4.0/",
    "MIT",
    "Attribution 4.0 International (CC BY 4.0)",
    "CC-BY-3.0-US",
    "apache-2.0",
    "LicenseRef-CC-BY",
)
LIMITED = (
    "CC-BY-SA-4.0",
    "CC BY-NC 3.0",
    "cc-by-nc-sa-4.0",
    "CC BY-ND 2.0",
    "CC-BY-NC-ND-3.0-IGO",
    "http://creativecommons.org/licenses/by-nc/3.0/",
    "Sampling+",
    "Attribution-NonCommercial 4.0 International",
)
UNKNOWN = (
    "all rights reserved",
    "ask me",
    "not CC0",
    "CC0, but not for music",
    "CC BY",
    "CC0?",
    "CC BY 4.0, non-commercial use only",
    "CC BY 3.0 NonCommercial",
    "CC0 or CC BY-NC 4.0",
    "CC0-NC",
    "royalty free",
    "CC BY 5.0",
    "C\u04210-1.0",
    "-",
    "0",
    "none",
    "=CC0",
    "CC-BY-4.0 AND CC-BY-NC-4.0",
    "https://creativecommons.org/licenses/by/3.0/us/",
    "NC-BY 3.0",
    "CC BY 4.0 ND",
    "proprietary; CC BY 4.0",
)
WORTH = {
    **dict.fromkeys(ZERO, "zero"),
    **dict.fromkeys(CREDIT, "credit"),
    **dict.fromkeys(LIMITED, "limited"),
    **dict.fromkeys(UNKNOWN, "unknown"),
    "": "none",
}


def worth(text: str) -> str:
    return WORTH.get(text, "unknown")


def lets_through(terms: LicenceTerms) -> set[str]:
    """The kinds of licence that the terms should allow."""
    kinds = {
        "cc0": {"zero"},
        "commercial": {"zero", "credit"},
        "research": {"zero", "credit", "limited"},
    }[terms.licence_policy]
    if terms.i_own_these and terms.licence_policy != "cc0":
        kinds |= {"none"}
    return kinds | ({"unknown"} if terms.unknown_licence_reason else set())


@st.composite
def any_terms(draw: st.DrawFn) -> LicenceTerms:
    policy = draw(st.sampled_from(["cc0", "commercial", "research"]))
    reason = draw(st.sampled_from(["", "a course"])) if policy == "research" else ""
    return LicenceTerms.model_validate(
        {
            "licence_policy": policy,
            "i_own_these": draw(st.booleans()),
            "unknown_licence_reason": reason,
        }
    )


TEXTS = st.sampled_from(sorted(WORTH)) | st.builds(
    "{} {}".format,  # a licence and something more is another licence
    st.sampled_from((*ZERO, *CREDIT)),
    st.sampled_from(("not for sale", "except music", "NC", "(non commercial)", "non", "unless")),
)
MANIFESTS = st.lists(st.tuples(TEXTS, st.integers(0, 12)), min_size=1, max_size=24)


def row(number: int, licence: str, content: int) -> ManifestRow:
    return ManifestRow(
        path=f"{number}.wav",
        sha256=f"{content:064x}",
        seconds=1.0,
        sample_rate=8000,
        channels=1,
        label=f"label {content % 3}",
        source_id=str(content),
        split="train",
        licence=licence,
    )


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(manifest=MANIFESTS, terms=any_terms())
def test_nothing_leaks_and_nothing_is_refused_without_reason(
    manifest: list[tuple[str, int]], terms: LicenceTerms
) -> None:
    before = [row(n, spdx(text), content) for n, (text, content) in enumerate(manifest)]
    allowed = lets_through(terms)
    tainted = {c for text, c in manifest if worth(text) not in allowed | {"none"}}
    if terms.licence_policy == "cc0" and terms.i_own_these:
        tainted |= {c for text, c in manifest if worth(text) == "none"}  # own, which is not CC0
    expected = [worth(text) in allowed and content not in tainted for text, content in manifest]
    if not any(expected):
        with pytest.raises(ValueError, match="sounds") as caught:
            apply_policy(before, terms, FOLDER)
        assert len(str(caught.value).splitlines()) <= 4
        return
    after = apply_policy(before, terms, FOLDER)
    assert [one.verdict == "used" for one in after] == expected
    for (text, _), one in zip(manifest, after, strict=True):
        if one.verdict == "used":
            assert one.licence == (OWN if not text else spdx(text))
        else:
            assert one.split == ""
            assert one.reason in LICENCE_REASONS
    assert [one.path for one in after] == [one.path for one in before]


def test_a_reason_says_what_was_missing() -> None:
    rows = [row(0, "CC0-1.0", 0), row(1, "", 1), row(2, "CC-BY-NC-4.0", 2), row(3, "CC0-1.0", 2)]
    after = apply_policy(rows, LicenceTerms(), FOLDER)
    reasons = [one.reason for one in after]
    assert reasons == ["", "no_licence", "licence_not_allowed", "licence_conflict"]
    assert after[2] == replace(rows[2], verdict="refused", split="", reason="licence_not_allowed")
    told = summarise(after)
    assert "refused, no_licence" in told
    assert "data.i_own_these=true" in told


def test_refused_rows_stay_refused_and_the_statement_is_recorded() -> None:
    broken = ManifestRow(path="x.wav", verdict="refused", reason="empty")
    terms = LicenceTerms(i_own_these=True)
    after = apply_policy([broken, row(1, "", 1)], terms, FOLDER)
    assert after[0] == broken
    assert after[1].licence == OWN
    # The name of the statement in a table is not the statement.
    with pytest.raises(ValueError, match="no licence is known"):
        apply_policy([row(1, OWN, 1)], LicenceTerms(), FOLDER)


def test_what_is_left_is_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = ["file,label,source_id,licence"]
    for n in range(10):
        rng = np.random.default_rng(n)
        soundfile.write(tmp_path / f"rain {n}.wav", rng.normal(size=4000) * 0.1, 8000)
        table.append(f"rain {n}.wav,rain,{n},{'CC-BY-NC-4.0' if n > 7 else 'CC0-1.0'}")
    (tmp_path / "metadata.csv").write_text("\n".join(table))
    with caplog.at_level(logging.WARNING):
        rows = scan_folder(tmp_path, held_out=0.25, terms=LicenceTerms())
    assert sum(one.verdict == "refused" for one in rows) == 2
    assert "2 of 10 sounds are left out for their licences" in caplog.text
    assert Counter(one.split for one in rows) == {"train": 6, "held_out": 2, "": 2}


def test_esc10_under_each_policy(esc10: Path) -> None:
    rows = scan_folder(esc10)

    def used(policy: str) -> Counter[str]:
        terms = LicenceTerms.model_validate({"licence_policy": policy})
        after = apply_policy(rows, terms, esc10)
        return Counter(one.licence for one in after if one.verdict == "used")

    assert used("cc0") == {"CC0-1.0": 188}
    assert used("commercial") == {"CC0-1.0": 188, "CC-BY-3.0": 130}
    assert used("research").total() == 320  # two are under Sampling Plus, which bars advertising


@pytest.mark.parametrize(
    ("licence", "terms", "typed"),
    [
        ("", LicenceTerms(), 'ARGS="data.i_own_these=true"'),
        ("", LicenceTerms(), "audiogen ... --i-own-these"),
        ("CC-BY-NC-4.0", LicenceTerms(), 'ARGS="data.licence_policy=research"'),
        ("CC-BY-4.0", LicenceTerms(licence_policy="cc0"), "--licence-policy commercial"),
        ("ask me", LicenceTerms(licence_policy="research"), "data.unknown_licence_reason=WHY"),
    ],
)
def test_the_refusal_says_what_to_type(licence: str, terms: LicenceTerms, typed: str) -> None:
    with pytest.raises(ValueError, match=r"metadata\.csv") as caught:
        apply_policy([row(0, licence, 0)], terms, FOLDER)
    assert typed in str(caught.value)
    assert len(str(caught.value).splitlines()) == 4


def test_unknown_licences_need_the_research_policy() -> None:
    with pytest.raises(ValidationError, match="licence_policy=research alone"):
        LicenceTerms(unknown_licence_reason="I asked")


def test_what_the_terms_say_of_themselves() -> None:
    assert LicenceTerms().describe() == "Licence policy: commercial."
    told = LicenceTerms(
        licence_policy="research", i_own_these=True, unknown_licence_reason="a course"
    ).describe()
    assert all(text in told for text in ("research", OWN, "a course"))


def test_every_known_licence_is_found_by_its_own_name() -> None:
    for name in KINDS:
        assert spdx(name) == name
        assert spdx(name.lower()) == name
