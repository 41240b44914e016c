"""What the judge hears takes, reconstructions and real clips as."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from audiogen.evaluation.material import Sounds
from audiogen.evaluation.scores import Recognised, Shares
from audiogen.judge.judge import Judge

Confusion = dict[str, dict[str, int]]


def recognition(judge: Judge, sounds: Mapping[str, Sounds]) -> Recognised | None:
    """Let the judge name sounds; those whose label it does not know are left out.

    `sounds` are by what they are: "real", "reconstructions" and "takes". Returns None where the
    judge knows the label of none of them.
    """
    found: dict[str, Confusion] = {}
    for kind, given in sounds.items():
        known = [index for index, label in enumerate(given.labels) if label in judge.labels]
        named = judge.named(given.features(judge.sample_rate)[known]) if known else []
        found[kind] = confusion([given.labels[index] for index in known], named)
    if not any(found.values()):
        return None
    return Recognised(
        all=Shares(**{kind: right_share(rows) for kind, rows in found.items() if rows}),
        chance=1 / len(judge.labels),
        per_label={label: _shares(found, label) for label in judge.labels},
        confusion=found.get("takes", {}),
    )


def _shares(found: Mapping[str, Confusion], label: str) -> Shares:
    """Shares of the sounds of one label."""
    rows = {kind: {label: all_[label]} for kind, all_ in found.items() if label in all_}
    return Shares(**{kind: right_share(row) for kind, row in rows.items()})


def confusion(expected: Sequence[str], named: Sequence[str]) -> Confusion:
    """Count what is named for each expected label, the most frequent first."""
    rows: dict[str, Counter[str]] = {label: Counter() for label in sorted(set(expected))}
    for label, name in zip(expected, named, strict=True):
        rows[label][name] += 1
    return {label: dict(row.most_common()) for label, row in rows.items()}


def right_share(rows: Confusion) -> float:
    """Share of sounds that are named by their own label, 0 to 1."""
    right = sum(row.get(label, 0) for label, row in rows.items())
    return right / sum(sum(row.values()) for row in rows.values())
