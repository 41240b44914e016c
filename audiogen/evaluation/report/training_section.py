"""The training of a report: the curves of each stage, as metrics.jsonl has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from audiogen.pages.charts import line_chart
from audiogen.pages.markup import Markup, duration, finite, join, missing, section, tag
from audiogen.storage import parse_json

_NOT_CURVES = {"step", "seconds"}
_LEVEL = "loss_level_"
_LAST = ("lr", "grad_norm", "audio_seconds_per_second")  # curves that are no losses


class Curves(dict[str, dict[float, float]]):
    """What one stage logged: by name, the values at steps; of one step the last value counts."""

    @property
    def steps(self) -> int:
        """The last step."""
        return int(max(self["step"]))

    @property
    def seconds(self) -> float:
        """How long the stage ran."""
        return max(self.get("seconds", {}).values(), default=0.0)


def read_curves(content: str) -> tuple[dict[str, Curves], int]:
    """Read metrics.jsonl by stage; return also how many lines are broken (kill -9)."""
    stages: dict[str, Curves] = {}
    skipped = 0
    for line in filter(str.strip, content.splitlines()):
        try:
            row = parse_json(line, "metrics.jsonl")
        except ValueError:
            row = None
        step = finite(row.get("step")) if isinstance(row, dict) else None
        if step is None:
            skipped += 1
            continue
        curves = stages.setdefault(str(row.get("stage", "")), Curves())
        for name, value in row.items():
            if (known := finite(value)) is not None:
                curves.setdefault(name, {})[step] = known
    return stages, skipped


def training_section(
    training: Mapping[str, Curves], stages: Sequence[str], problems: Mapping[str, str]
) -> Markup:
    """Draw the curves of the `stages` that the run should have, then of others that it has.

    `problems` says why metrics.jsonl is not used, and under "lines" what of it is not.
    """
    title, command = "Training", "audiogen train RECIPE"
    if not training:
        problem = problems.get("metrics.jsonl", "metrics.jsonl has no steps.")
        return section("training", title, missing(problem, command))
    blocks = []
    for stage in [*stages, *sorted(training.keys() - set(stages))]:
        if stage not in training:
            blocks.append(missing(f"There are no curves of the {stage}.", command))
            continue
        curves = training[stage]
        facts = f" {curves.steps:,} steps in {duration(curves.seconds)}"
        heading = tag("h3", stage.capitalize() or "Stage", tag("span", facts, class_="quiet"))
        blocks.append(join([heading, _charts(curves)]))
    lead = "Lines are means, the shade is the range of the values that share a point."
    return section("training", title, *blocks, lead=f"{lead} {problems.get('lines', '')}".strip())


def _charts(curves: Curves) -> Markup:
    """Draw the loss, the loss by noise level, and everything else small."""
    points = {name: sorted(curves[name].items()) for name in curves.keys() - _NOT_CURVES}
    levels = sorted((name for name in points if name.startswith(_LEVEL)), key=lambda n: (len(n), n))
    large = [line_chart("loss", {"loss": points["loss"]})] if "loss" in points else []
    if levels:
        named = {f"level {name.removeprefix(_LEVEL)}": points[name] for name in levels}
        large.append(line_chart("loss by noise level, low to high", named))
    others = sorted(points.keys() - {*levels, "loss"}, key=lambda name: (name in _LAST, name))
    small = [
        line_chart(name.replace("_", " "), {name: points[name]}, size="small") for name in others
    ]
    return join([tag("div", *row, class_="charts") for row in (large, small) if row])
