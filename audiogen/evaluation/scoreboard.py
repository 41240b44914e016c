"""What a terminal shows of evaluations: lines for one run, and a table of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from audiogen.evaluation.scores import (
    NOTHING_HELD_OUT,
    CodecScores,
    Likelihood,
    Referenced,
    Scores,
    read_scores,
)
from audiogen.experiment import load_config
from audiogen.run_folder import RunFolder, how_far
from audiogen.storage import sha256_file
from audiogen.trees import did_you_mean

HEADER = (
    "run",
    "method",
    "recognised",
    "by a second",
    "class Fréchet",
    "diversity",
    "likelihood",
    "s/take",
    "parameters",
)


def summary(scores: Scores) -> list[str]:
    """Say how near the codec's output is, what its tokens are like, and how clips are predicted."""
    lines = [NOTHING_HELD_OUT] if scores.codec is None else _codec_lines(scores.codec)
    if scores.likelihood is not None:
        held_out, train = scores.likelihood.held_out, scores.likelihood.train
        of = [] if held_out is None else [f"{held_out.mean:.4g} on {held_out.clips} held-out clips"]
        of.append(f"{train.mean:.4g} on {train.clips} training clips")
        lines.append(f"bits per {scores.likelihood.per}: {', '.join(of)}")
    return lines


def _codec_lines(codec: CodecScores) -> list[str]:
    """Say how near the codec's output is, and what its tokens are like."""
    other = codec.griffin_lim
    stft = f" (Griffin-Lim {other.stft_distance:.3f})" if other else ""
    mel = f" (Griffin-Lim {other.mel_distance:.3f})" if other else ""
    lines = [
        f"codec on {codec.num_clips} held-out clips: STFT distance {codec.stft_distance:.3f}{stft},"
        f" mel distance (dB) {codec.mel_distance:.3f}{mel},"
        f" encoding {codec.encode_times_realtime:.0f}x,"
        f" decoding {codec.decode_times_realtime:.0f}x"
    ]
    if codec.bits_per_second is not None:
        lines.append(f"bitrate {codec.bits_per_second / 1000:.2f} kbit/s")
        lines.append("codebooks  STFT distance  mel distance (dB)  SI-SDR (dB)  used  perplexity")
    return lines + [
        f"{one.count:9d}  {one.stft_distance:13.3f}  {one.mel_distance:17.2f}"
        f"  {one.si_sdr_db:11.1f}  {one.used:4.0%}  {one.perplexity:10.0f}"
        for one in codec.codebooks
    ]


def scoreboard(runs: Sequence[Path]) -> str:
    """Return a table of evaluated runs, the lines of a few references below it.

    Raises:
        FileNotFoundError: a run was not evaluated.
    """
    scores = [_scores(run) for run in runs]
    rows = [_row(run, found) for run, found in zip(runs, scores, strict=True)]
    notes = [_references(scores[0])]
    if len({sha256_file(RunFolder(run).manifest) for run in runs}) > 1:
        notes.append("The runs were not trained on the same data: their figures do not compare.")
    if any(found.key.evaluate != scores[0].key.evaluate for found in scores):
        notes.append("The runs were not evaluated alike: see evaluate in their config.yaml.")
    return "\n".join([*_lines([HEADER, *rows]), *notes])


def _scores(run: Path) -> Scores:
    file = RunFolder(run).scores
    if not file.is_file():
        raise FileNotFoundError(
            f"{run}: not evaluated{did_you_mean(run)}{how_far(run)}\n"
            f"  expected {file}; `audiogen evaluate {run}` makes it"
        )
    return read_scores(file)


def _row(run: Path, scores: Scores) -> tuple[str, ...]:
    config, takes = load_config(run), scores.takes
    heard, again = scores.recognised, scores.second
    parts = [] if config.generator is None else [config.generator.type]
    return (
        run.name,
        " on ".join([*parts, config.codec.family]),
        _number(heard.all.takes if heard else None),
        _number(again.all.takes if again else None),
        _number(frechet.takes if (frechet := _class_frechet(scores)) else None),
        _number(takes.diversity.all if takes else None),
        _likelihood(scores.likelihood),
        _number(takes.seconds_per_take if takes else None),
        f"{takes.parameters / 1e6:.1f} M" if takes else "-",
    )


def _likelihood(found: Likelihood | None) -> str:
    if found is None or found.held_out is None:
        return "-"
    mean = found.held_out.mean
    return f"{mean:.0f} bit/s" if found.per == "second of sound" else f"{mean:.2f} bit/dim"


def _references(scores: Scores) -> str:
    """What the figures of a run lie between."""
    heard, again, distance = scores.recognised, scores.second, _class_frechet(scores)
    return (
        f"references: recognised, real {_number(heard.all.real if heard else None)}"
        f" and chance {_number(heard.chance if heard else None)};"
        f" by a second, training clips {_number(again.all.real if again else None)} and through"
        f" the codec {_number(again.all.reconstructions if again else None)};"
        f" class Fréchet, real {_number(distance.real if distance else None)},"
        f" training clips through the codec {_number(distance.copies if distance else None)}"
        f" and noise {_number(distance.noise if distance else None)}; diversity, real 1"
    )


def _class_frechet(scores: Scores) -> Referenced | None:
    """Fréchet distance as the mean over labels; over all sounds where there are no labels."""
    found = scores.takes.frechet if scores.takes else None
    return None if found is None else found.of_labels or found.all


def _number(value: float | None) -> str:
    """Return a figure with two digits, a dash where there is none."""
    return "-" if value is None else f"{value:.2f}"


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns, the first two to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
