"""The report of a run: one self-contained page with its data, curves, sounds and metrics."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from audiogen.data.manifest import ManifestRow, read_manifest
from audiogen.evaluation.report.data_section import data_section, total_length
from audiogen.evaluation.report.figures import metrics_section, near_copies, part
from audiogen.evaluation.report.players import demos_section, pairs_section, takes_section
from audiogen.pages.charts import line_chart, way_to_noise
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
from audiogen.storage import atomic_write_text, parse_json

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
        config: text of config.yaml.
        environment: environment.json.
        rows: manifest.jsonl.
        training: lines of metrics.jsonl by stage; of lines with the same step the last counts.
        metrics: evaluation/metrics.json.
        problems: file name -> why it is not used ("config.yaml is not there.").
    """

    config: str
    environment: Mapping[str, Any]
    rows: Sequence[ManifestRow]
    training: Mapping[str, Sequence[Mapping[str, Any]]]
    metrics: Mapping[str, Any]
    problems: Mapping[str, str]

    @property
    def settings(self) -> Mapping[str, Any]:
        """What config.yaml holds; empty when it is not there or damaged."""
        try:
            tree = yaml.safe_load(self.config)
        except yaml.YAMLError:
            return {}
        return tree if isinstance(tree, dict) else {}

    @property
    def codec_only(self) -> bool:
        """Whether the run has a codec and is to have no generator."""
        return "codec" in self.settings and self.settings.get("generator") is None


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
    problem = run.problems.get("evaluation/metrics.json", "")
    takes, strip = Markup(""), Markup("")
    if not run.codec_only:
        takes, strip = takes_section(run_dir, near_copies(run.metrics))
    body = [
        takes,
        pairs_section(run_dir),
        demos_section(run_dir),
        metrics_section(run.metrics, problem, codec_only=run.codec_only),
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
    problems: dict[str, str] = {}
    rows: Sequence[ManifestRow] = ()
    if _read_text(run_dir, "manifest.jsonl", problems):
        try:
            rows = read_manifest(RunFolder(run_dir).manifest)
        except ValueError as error:
            problems["manifest.jsonl"] = f"manifest.jsonl cannot be read: {error}"
    training, skipped = _read_training(_read_text(run_dir, "metrics.jsonl", problems))
    if skipped:
        problems["lines"] = f"Lines of metrics.jsonl that are not whole and left out: {skipped}."
    return RunFiles(
        config=_read_text(run_dir, "config.yaml", problems),
        environment=_read_tree(run_dir, "environment.json", problems),
        rows=rows,
        training=training,
        metrics=_read_tree(run_dir, "evaluation/metrics.json", problems),
        problems=problems,
    )


def _read_text(run_dir: Path, name: str, problems: dict[str, str]) -> str:
    """Return the text of a file; "" and an entry in `problems` when it cannot be read."""
    try:
        return (run_dir / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        problems[name] = f"{name} is not there."
    except (OSError, UnicodeDecodeError) as error:
        problems[name] = f"{name} cannot be read: {error}."
    return ""


def _read_tree(run_dir: Path, name: str, problems: dict[str, str]) -> Mapping[str, Any]:
    """Return a JSON object; {} and an entry in `problems` when there is none."""
    content = _read_text(run_dir, name, problems)
    if name in problems:
        return {}
    try:
        found = parse_json(content, name)
    except ValueError as error:
        problems[name] = f"{error}."
        return {}
    if not isinstance(found, dict):
        problems[name] = f"{name} does not hold a JSON object."
        return {}
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
    config = run.settings
    stages = ((part(config, key), key) for key in _STAGES)
    kinds = (
        (str(part(stage, "bottleneck").get("type") or stage.get("type") or ""), key)
        for stage, key in stages
    )
    parts = [f"{_KINDS.get(kind, kind)} {key}" for kind, key in kinds if kind]
    rate = finite(part(config, "codec").get("sample_rate")) or finite(config.get("sample_rate"))
    parts += [f"{rate:,.0f} Hz"] if rate else []
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
    recognised = part(run.metrics, "recognised")
    kind = "reconstructions" if run.codec_only else "takes"
    if finite(recognised.get(kind)) is not None:
        real, chance = number(recognised.get("real"), 2), number(recognised.get("chance"), 2)
        words = f"of {kind} recognised; real {real}, chance {chance}"
        figures.append((number(recognised[kind], 2), words))
    overall = part(part(run.metrics, "frechet"), "all")
    way = way_to_noise(overall.get("takes"), overall.get("real"), overall.get("noise"))
    if way is not None:
        figures.append((f"{100 * way:.0f} %", "of the way from real to noise (Fréchet)"))
    cost = part(run.metrics, "sampling").get("seconds_per_take")
    if finite(cost) is not None:
        figures.append((f"{number(cost, 2)} s", "to make a take"))
    speed = part(run.metrics, "codec").get("decode_times_realtime")
    if finite(speed) is not None:
        figures.append((f"{number(speed, 2)}{TIMES}", "real time, codec decoding"))
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
    problem = run.problems.get("config.yaml", "")
    if problem:
        return section("config", "Config", missing(problem, "audiogen prepare RECIPE"))
    pre = tag("pre", tag("code", run.config), tabindex=0)
    return section("config", "Config", fold("config.yaml, resolved", pre))
