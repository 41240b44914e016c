"""The report of a run: one self-contained page with its data, curves, sounds and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from audiogen.data.manifest import ManifestRow, read_manifest
from audiogen.evaluation.report.data_section import data_section, total_length
from audiogen.evaluation.report.figures import metrics_section
from audiogen.evaluation.report.players import demos_section, pairs_section, takes_section
from audiogen.evaluation.report.training_section import Curves, read_curves, training_section
from audiogen.evaluation.scores import Scores, read_scores
from audiogen.experiment import ExperimentConfig, load_config
from audiogen.pages.markup import (
    TIMES,
    Markup,
    duration,
    fill_page,
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
from audiogen.storage import atomic_write_text, read_json

ReadT = TypeVar("ReadT")

_KINDS = {"vae": "VAE", "residual": "RVQ", "fsq": "FSQ", "mel": "log-mel"}
# Without a generator the first is left out.
_SECTIONS = ("takes", "codec", "demos", "metrics", "training", "data", "machine", "config")


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """What the text files of a run folder say; nothing for a file that is absent or damaged.

    Attributes:
        training: the curves of metrics.jsonl by stage.
        problems: file name -> why it is not used ("config.yaml is not there.").
    """

    config: ExperimentConfig | None
    config_text: str
    environment: Mapping[str, Any]
    rows: Sequence[ManifestRow]
    training: Mapping[str, Curves]
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
        near = scored.copies.near if scored else []
        takes, strip = takes_section(run_dir, [one.take for one in near])
    stages = ("codec",) if run.codec_only else ("codec", "generator")
    body = [
        takes,
        pairs_section(run_dir, run.scores),
        demos_section(run_dir),
        metrics_section(run.scores, run.problems.get("evaluation/metrics.json", "")),
        training_section(run.training, stages, run.problems),
        data_section(run.rows, run.problems.get("manifest.jsonl", "")),
        _machine_section(run),
        _config_section(run),
    ]
    name = run_dir.resolve().name
    head = tag("header", tag("h1", name), _summary(run), strip, tiles(_key_figures(run)))
    links = (tag("a", anchor, href=f"#{anchor}") for anchor in _SECTIONS[run.codec_only :])
    page = fill_page(
        f"{name} · audiogen", body=join([tag("nav", *links, class_="menu"), head, *body])
    )
    target = RunFolder(run_dir).report
    atomic_write_text(target, page)
    return target


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

    training, skipped = read_curves(read(run.metrics, _text) or "")
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
    spent = sum(curves.seconds for curves in run.training.values())
    if spent:
        figures.append((duration(spent), "of training"))
    if run.scores is None:
        return figures
    takes = run.scores.takes
    second = None if takes is None else run.scores.second
    heard = second or run.scores.recognised
    if heard is not None:
        kind = "reconstructions" if takes is None else "takes"
        share = heard.all.reconstructions if takes is None else heard.all.takes
        by = " by a second listener" if second else ""
        words = f"real {number(heard.all.real, 2)}, chance {number(heard.chance, 2)}"
        figures.append((number(share, 2), f"of {kind} recognised{by}; {words}"))
    if takes is not None:
        way = takes.frechet.all.way_to_noise if takes.frechet else None
        if way is not None:
            figures.append((f"{round(100 * way)} %", "of the way from real to noise (Fréchet)"))
        if takes.seconds_per_take is not None:
            figures.append((f"{number(takes.seconds_per_take, 2)} s", "to make a take"))
    if run.scores.codec is not None:
        speed = number(run.scores.codec.decode_times_realtime, 2)
        figures.append((f"{speed}{TIMES}", "real time, codec decoding"))
    return figures


def _machine_section(run: RunFiles) -> Markup:
    """Say on which machine and for how long the run was trained."""
    rows: list[tuple[str, object]] = []
    for stage, curves in run.training.items():
        rows.append((f"{stage}: steps", f"{curves.steps:,}"))
        rows.append((f"{stage}: time", duration(curves.seconds)))
        speeds = sorted(curves.get("audio_seconds_per_second", {}).values())
        if speeds:
            middle = number(speeds[len(speeds) // 2])
            rows.append((f"{stage}: speed", f"{middle} s of sound per second"))
    problem = run.problems.get("environment.json", "")
    note = missing(problem, "audiogen train RECIPE") if problem else ""
    rows += [(name, str(value)) for name, value in run.environment.items()]
    grid = table(("", ""), rows, "figures plain") if rows else ""
    return section("machine", "Machine and durations", grid, note)


def _config_section(run: RunFiles) -> Markup:
    """Return the resolved config, folded."""
    if not run.config_text:
        problem = run.problems["config.yaml"]
        return section("config", "Config", missing(problem, "audiogen prepare RECIPE"))
    pre = tag("pre", tag("code", run.config_text), tabindex=0)
    return section("config", "Config", fold("config.yaml, resolved", pre))
