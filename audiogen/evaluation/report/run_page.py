"""The report of a run: one self-contained page with its data, curves, sounds and metrics."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, TypeVar

from audiogen.data.manifest import ManifestRow, read_manifest
from audiogen.evaluation.report.data_section import data_section, total_length
from audiogen.evaluation.report.figures import metrics_section
from audiogen.evaluation.report.players import demos_section, pairs_section, takes_section
from audiogen.evaluation.scores import Scores, read_scores
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.pages.charts import line_chart
from audiogen.pages.markup import (
    DASH,
    TIMES,
    Markup,
    duration,
    finite,
    fold,
    join,
    missing,
    number,
    section,
    table,
    tag,
    tiles,
)
from audiogen.run_folder import RunFolder
from audiogen.storage import atomic_write_text, parse_json, read_json

ReadT = TypeVar("ReadT")

_STAGES = ("codec", "generator")
_KINDS = {"vae": "VAE", "residual": "RVQ", "fsq": "FSQ", "mel": "log-mel"}
_NOT_CURVES = ("step", "seconds", "stage")
_SIGMA = "loss_level_"
_LAST = ("lr", "grad_norm", "audio_seconds_per_second")  # curves that are no losses
# Without a generator the first is left out.
_SECTIONS = ("takes", "codec", "demos", "metrics", "training", "data", "machine", "config")


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """What the text files of a run folder say.

    Attributes:
        config: of the run; None when config.yaml is not there or damaged.
        config_text: text of config.yaml.
        environment: environment.json.
        rows: manifest.jsonl.
        training: lines of metrics.jsonl by stage; of lines with the same step the last counts.
        scores: evaluation/metrics.json.
        problems: file name -> why it is not used ("config.yaml is not there.").
    """

    config: ExperimentConfig | None
    config_text: str
    environment: Mapping[str, Any]
    rows: Sequence[ManifestRow]
    training: Mapping[str, Sequence[Mapping[str, Any]]]
    scores: Scores | None
    problems: Mapping[str, str]

    @property
    def codec_only(self) -> bool:
        """Whether the run has a codec and is to have no generator."""
        return self.config is not None and self.config.generator is None


def write_report(run_dir: Path) -> Path:
    """Write `run_dir`/report.html from what the run folder holds; what is missing is said.

    Returns:
        The page, one file that opens from disk without a network.

    Raises:
        ValueError: `run_dir` is not a folder.
    """
    if not run_dir.is_dir():
        raise ValueError(f"{run_dir}: no such run folder; `audiogen train RECIPE` makes one")
    run = _read_run(run_dir)
    takes, strip = Markup(""), Markup("")
    if not run.codec_only:
        scored = run.scores.takes if run.scores else None
        takes, strip = takes_section(
            run_dir, [one.take for one in scored.copies.near] if scored else []
        )
    body = [
        takes,
        pairs_section(run_dir),
        demos_section(run_dir),
        metrics_section(run.scores, run.problems.get("evaluation/metrics.json", "")),
        _training_section(run),
        data_section(run.rows, run.problems.get("manifest.jsonl", "")),
        _machine_section(run),
        _config_section(run),
    ]
    name = run_dir.resolve().name
    head = tag("header", tag("h1", name), _summary(run), strip, tiles(_key_figures(run)))
    links = (tag("a", anchor, href=f"#{anchor}") for anchor in _SECTIONS[run.codec_only :])
    page = fill_page(f"{name} · audiogen", join([tag("nav", *links, class_="menu"), head, *body]))
    target = RunFolder(run_dir).report
    atomic_write_text(target, page)
    return target


def fill_page(title: str, body: Markup) -> str:
    """Put the parts into the template; only its own script may run, and nothing may be fetched."""
    template = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    script = re.search(r"<script>(.*?)</script>", template, re.DOTALL)
    digest = hashlib.sha256(script.group(1).encode() if script else b"").digest()
    allowed = f"'sha256-{base64.b64encode(digest).decode()}'"
    return Template(template).substitute(title=join([title]), body=body, script_hash=allowed)


def _read_run(run_dir: Path) -> RunFiles:
    """Read the text files; one that is absent or damaged is named in `problems`."""
    run, problems = RunFolder(run_dir), dict[str, str]()

    def read(path: Path, reader: Callable[[Path], ReadT]) -> ReadT | None:
        name = path.relative_to(run_dir).as_posix()
        try:
            return reader(path)
        except FileNotFoundError:
            problems[name] = f"{name} is not there."
        except (OSError, ValueError) as error:
            problems[name] = f"{name} cannot be read: {error}."
        return None

    training, skipped = _read_training(read(run.metrics, _text) or "")
    if skipped:
        problems["lines"] = f"Lines of metrics.jsonl that are not whole and left out: {skipped}."
    return RunFiles(
        config=read(run.config, lambda _: load_config(run_dir)),
        config_text=read(run.config, _text) or "",
        environment=read(run.environment, _tree) or {},
        rows=read(run.manifest, read_manifest) or (),
        training=training,
        scores=read(run.scores, read_scores),
        problems=problems,
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _tree(path: Path) -> Mapping[str, Any]:
    """Read a JSON object."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError("it does not hold a JSON object")
    return found


def _read_training(content: str) -> tuple[dict[str, list[Mapping[str, Any]]], int]:
    """Return the lines by stage in order of step, and how many lines are broken (kill -9)."""
    stages: dict[str, dict[float, Mapping[str, Any]]] = {}
    skipped = 0
    for line in content.splitlines():
        try:
            row = parse_json(line, "metrics.jsonl")
        except ValueError:
            row = None
        step = finite(row.get("step")) if isinstance(row, dict) else None
        if row is None or step is None:
            skipped += bool(line.strip())
            continue
        # A resumed run repeats steps, and a step may have several lines (losses, then speed).
        known = stages.setdefault(str(row.get("stage", "")), {})
        known[step] = {**known.get(step, {}), **row}
    return {stage: [rows[step] for step in sorted(rows)] for stage, rows in stages.items()}, skipped


def _summary(run: RunFiles) -> Markup:
    """Say in one sentence what this is."""
    parts = []
    if run.config is not None:
        tree = run.config.codec.model_dump()
        kind = tree.get("bottleneck", tree)["type"]  # a codec of tokens is known by its bottleneck
        parts.append(f"{_KINDS.get(kind, kind)} codec")
        if run.config.generator is not None:
            parts.append(f"{run.config.generator.type} generator")
        parts.append(f"{run.config.codec.sample_rate:,.0f} Hz")
    used = [row for row in run.rows if row.verdict == "used"]
    heard = f", trained on {total_length(used)} of sound" if used else ""
    made = f": {' · '.join(parts)}" if parts else ""
    what = "A codec of sounds" if run.codec_only else "A generator of sounds from text"
    return tag("p", f"{what}{heard}{made}.", class_="lead")


def _key_figures(run: RunFiles) -> list[tuple[str, str]]:
    """Return the figures one looks for first; those that are not known are left out."""
    figures = []
    used = [row for row in run.rows if row.verdict == "used"]
    if used:
        figures.append((f"{len(used):,}", f"clips, {total_length(used)}"))
    spent = sum(_spent(rows) for rows in run.training.values())
    if spent:
        figures.append((duration(spent), "of training"))
    if run.scores is None:
        return figures
    heard, takes = run.scores.recognised, run.scores.takes
    if heard is not None:
        kind = "reconstructions" if takes is None else "takes"
        share = heard.all.reconstructions if takes is None else heard.all.takes
        words = f"real {number(heard.all.real, 2)}, chance {number(heard.chance, 2)}"
        figures.append((number(share, 2), f"of {kind} recognised; {words}"))
    if takes is not None:
        way = takes.frechet.all.way_to_noise
        if way is not None:
            figures.append((f"{100 * way:.0f} %", "of the way from real to noise (Fréchet)"))
        if takes.seconds_per_take is not None:
            figures.append((f"{number(takes.seconds_per_take, 2)} s", "to make a take"))
    speed = number(run.scores.codec.decode_times_realtime, 2)
    figures.append((f"{speed}{TIMES}", "real time, codec decoding"))
    return figures


def _spent(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return how long a stage ran, s."""
    return max((finite(row.get("seconds")) or 0.0 for row in rows), default=0.0)


def _training_section(run: RunFiles) -> Markup:
    """Draw the curves of the stages."""
    title, command = "Training", "audiogen train RECIPE"
    if not run.training:
        problem = run.problems.get("metrics.jsonl", "metrics.jsonl has no steps.")
        return section("training", title, missing(problem, command))
    blocks: list[Markup] = []
    wanted = _STAGES[:1] if run.codec_only else _STAGES
    for stage in [*wanted, *sorted(set(run.training) - set(wanted))]:
        rows = run.training.get(stage)
        if not rows:
            blocks.append(missing(f"There are no curves of the {stage}.", command))
            continue
        curves: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            for key in row.keys() - _NOT_CURVES:
                if (value := finite(row[key])) is not None:
                    curves.setdefault(key, []).append((float(row["step"]), value))
        facts = f" {int(rows[-1]['step']):,} steps in {duration(_spent(rows))}"
        heading = tag("h3", stage.capitalize() or "Stage", tag("span", facts, class_="quiet"))
        blocks.append(join([heading, _curves(curves)]))
    note = run.problems.get("lines", "")
    lead = "Lines are means, the shade is the range of the values that share a point."
    return section("training", title, *blocks, lead=f"{lead} {note}".strip())


def _curves(curves: Mapping[str, list[tuple[float, float]]]) -> Markup:
    """Draw the loss, the loss by noise level, and everything else small."""
    sigmas = sorted((key for key in curves if key.startswith(_SIGMA)), key=_natural)
    large = [line_chart("loss", {"loss": curves["loss"]})] if "loss" in curves else []
    if sigmas:
        named = {f"level {key.removeprefix(_SIGMA)}": curves[key] for key in sigmas}
        large.append(line_chart("loss by noise level, low to high", named))
    others = sorted(set(curves) - set(sigmas) - {"loss"}, key=lambda key: (key in _LAST, key))
    small = [line_chart(key.replace("_", " "), {key: curves[key]}, size="small") for key in others]
    return join([tag("div", *row, class_="charts") for row in (large, small) if row])


def _natural(key: str) -> tuple[float, str]:
    """Sort names by the number that they hold."""
    found = re.search(r"\d+(\.\d+)?", key)
    return (float(found.group()) if found else 0.0, key)


def _machine_section(run: RunFiles) -> Markup:
    """Say on which machine and for how long the run was trained."""
    rows: list[tuple[str, object]] = []
    for stage, lines in run.training.items():
        rows.append((f"{stage}: steps", f"{int(lines[-1]['step']):,}"))
        rows.append((f"{stage}: time", duration(_spent(lines))))
        speeds = [finite(line.get("audio_seconds_per_second")) for line in lines]
        known = sorted(speed for speed in speeds if speed is not None)
        if known:
            middle = number(known[len(known) // 2])
            rows.append((f"{stage}: speed", f"{middle} s of sound per second"))
    problem = run.problems.get("environment.json", "")
    note = missing(problem, "audiogen train RECIPE") if problem else ""
    rows += list(_flat(run.environment))
    grid = table(("", ""), rows, "figures plain") if rows else ""
    return section("machine", "Machine and durations", grid, note)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Yield the leaves of a JSON tree with dotted names."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{prefix}{key}", words or DASH


def _config_section(run: RunFiles) -> Markup:
    """Return the resolved config, folded."""
    if not run.config_text:
        problem = run.problems["config.yaml"]
        return section("config", "Config", missing(problem, "audiogen prepare RECIPE"))
    pre = tag("pre", tag("code", run.config_text), tabindex=0)
    return section("config", "Config", fold("config.yaml, resolved", pre))
