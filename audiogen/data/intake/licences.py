"""Licence policy: which sounds may be trained on, by their licence, and what is said of the rest.

Licences are SPDX identifiers (https://spdx.org/licenses/). What is not in the table here counts as
unknown, and unknown is not allowed: a text that nobody understood is no permission.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self, get_args

import yaml
from pydantic import model_validator

from audiogen.data.manifest import ManifestRow
from audiogen.schema import Config

LicencePolicy = Literal["cc0", "commercial", "research"]
LicenceKind = Literal[
    "public_domain", "attribution", "share_alike", "non_commercial", "no_derivatives", "sampling"
]

OWN = "LicenseRef-Own"
"""Licence of a sound without one whose user states to own it (`data.i_own_these`)."""
SAMPLING_PLUS = "LicenseRef-CC-Sampling-Plus-1.0"

ALLOWED: Mapping[LicencePolicy, frozenset[LicenceKind]] = {
    "cc0": frozenset({"public_domain"}),
    # Share-alike is left out: whether its terms reach a model and its takes is not settled.
    "commercial": frozenset({"public_domain", "attribution"}),
    "research": frozenset(get_args(LicenceKind)),
}

LICENCE_REASONS: Mapping[str, str] = {
    "no_licence": "no licence is known; if they are your own, set data.i_own_these=true",
    "licence_not_allowed": "data.licence_policy does not allow their licence",
    "licence_conflict": "the same bytes also have a licence that is not allowed",
}

_NAMES: Mapping[LicenceKind, Sequence[str]] = yaml.safe_load(
    Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
)
KINDS: Mapping[str, LicenceKind] = {name: kind for kind, names in _NAMES.items() for name in names}
"""What the licences that are known by name allow."""

_log = logging.getLogger(__name__)


class LicenceTerms(Config):
    """Under which terms sounds are used; these settings stand under `data`."""

    licence_policy: LicencePolicy = "commercial"
    """cc0: public domain alone. commercial: that, attribution licences and your own sounds.
    research: every licence that is known, for models that are neither sold nor released."""
    i_own_these: bool = False
    """Your statement that the sounds without a licence are yours to train on; it is recorded."""
    unknown_licence_reason: str = ""
    """Under research: why sounds may be used whose licence text is not known; it is recorded."""

    @model_validator(mode="after")
    def _unknown_is_for_research(self) -> Self:
        if self.unknown_licence_reason.strip() and self.licence_policy != "research":
            raise ValueError(
                "unknown_licence_reason: licences that are not known are for"
                f" licence_policy=research alone, got {self.licence_policy}"
            )
        return self

    def refusal(self, licence: str) -> str:
        """Say why a sound of this licence may not be used: a code, empty when it may."""
        licence = licence.strip()
        if licence in {"", OWN}:
            if not self.i_own_these:
                return "no_licence"
            return "licence_not_allowed" if self.licence_policy == "cc0" else ""
        kind = KINDS.get(licence)
        if kind is None:
            is_allowed = bool(self.unknown_licence_reason.strip())  # of `research` alone
        else:
            is_allowed = kind in ALLOWED[self.licence_policy]
        return "" if is_allowed else "licence_not_allowed"

    def describe(self) -> str:
        """Say the policy and the statements made with it, in a sentence each."""
        texts = [f"Licence policy: {self.licence_policy}."]
        if self.i_own_these:
            texts.append(
                "Who trained the model states to own the sounds without a licence"
                f" (`i_own_these`); they are listed as {OWN}."
            )
        if self.unknown_licence_reason:
            texts.append(f"Unknown licences were used because: {self.unknown_licence_reason}")
        return " ".join(texts)


def least_strict(terms: Sequence[LicenceTerms | None]) -> LicenceTerms | None:
    """Return what holds of sounds of all these terms together; None where nobody stated some."""
    stated = [one for one in terms if one is not None]
    if not stated or len(stated) < len(terms):
        return None
    policies: list[LicencePolicy] = ["cc0", "commercial", "research"]
    reasons = dict.fromkeys(one.unknown_licence_reason for one in stated)
    return LicenceTerms(
        licence_policy=max((one.licence_policy for one in stated), key=policies.index),
        i_own_these=any(one.i_own_these for one in stated),
        unknown_licence_reason="; ".join(filter(None, reasons)),
    )


def apply_policy(
    rows: Sequence[ManifestRow], terms: LicenceTerms, folder: Path
) -> list[ManifestRow]:
    """Refuse the rows that the terms do not allow; what is left is to be split after that.

    Rows that are refused keep what is known of the file. Used rows without a licence get the
    licence `OWN`. The folder of the sounds is for messages.

    Raises:
        ValueError: nothing is left.
    """
    reasons = [terms.refusal(row.licence) if row.verdict == "used" else "" for row in rows]
    not_allowed = {
        row.sha256
        for row, reason in zip(rows, reasons, strict=True)
        if reason == "licence_not_allowed"
    }
    judged = []
    for row, reason in zip(rows, reasons, strict=True):
        if row.verdict == "refused":
            judged.append(row)
        elif reason or row.sha256 in not_allowed:  # a copy does not wash a licence off
            why = reason or "licence_conflict"
            judged.append(replace(row, verdict="refused", split="", reason=why))
        else:
            judged.append(replace(row, licence=row.licence.strip() or OWN))
    used = [row for row in judged if row.verdict == "used"]
    refused = [row for row in judged if row.reason in LICENCE_REASONS]
    if not used:
        raise ValueError(_nothing_left(refused, terms, folder))
    if refused:
        text = "%d of %d sounds are left out for their licences; `audiogen prepare` lists them"
        _log.warning(text, len(refused), len(refused) + len(used))
    return judged


def _nothing_left(refused: Sequence[ManifestRow], terms: LicenceTerms, folder: Path) -> str:
    """Say what was found instead of a licence that is allowed, and what to type, in four lines."""
    policy = terms.licence_policy
    counts = Counter(row.licence.strip() or "none" for row in refused).most_common(4)
    found = ", ".join(f"{name[:40]!r} ({count})" for name, count in counts)
    head = f"{folder}: licence_policy={policy} allows none of its sounds; their licences: {found}."
    if policy == "cc0":
        again = "If more may be used, run the same again with"
        setting, option = "data.licence_policy=commercial", "--licence-policy commercial"
    elif {row.reason for row in refused} == {"no_licence"}:
        head = f"{folder}: no licence is known of its {len(refused)} sounds."
        again = "If they are your own, run the same again and say so, with"
        setting, option = "data.i_own_these=true", "--i-own-these"
    elif policy == "commercial":
        again = "If the model is for research alone, run the same again with"
        setting, option = "data.licence_policy=research", "--licence-policy research"
    else:
        again = "If you know that they may be used for research, run the same again with"
        setting = "data.unknown_licence_reason=WHY"
        option = setting
    return (
        f"{head}\n{again}\n"
        f'  make ... ARGS="{setting}"   or   audiogen ... {option}\n'
        f"Else give each file its SPDX licence in {folder / 'metadata.csv'} (docs/licences.md)."
    )
