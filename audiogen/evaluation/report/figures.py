"""The figures of a report: evaluation/metrics.json, each number beside its references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audiogen.evaluation.report.players import take_anchor
from audiogen.pages.charts import bar, heat_table, scale, way_to_noise
from audiogen.pages.markup import (
    DASH,
    TIMES,
    Markup,
    finite,
    fold,
    join,
    missing,
    number,
    section,
    table,
    tag,
)

_NEAREST_SHOWN = 10
_CODEC_ROWS = (
    ("Multi-resolution STFT distance", "stft_distance", "", "0 is perfect"),
    ("Mel distance", "mel_distance", "dB", "0 is perfect"),
    ("SI-SDR", "si_sdr_db", "dB", "higher is better; low for noise"),
)


def metrics_section(metrics: Mapping[str, Any], problem: str, *, codec_only: bool) -> Markup:
    """Return the section of all metrics.

    Args:
        metrics: what evaluation/metrics.json holds; each of its parts may be absent.
        problem: why there are none, "" when there are some.
        codec_only: the run has no generator, so that nothing is said of takes.
    """
    title = "Metrics"
    if problem:
        return section("metrics", title, missing(problem, "audiogen evaluate RECIPE"))
    blocks = [_recognised(part(metrics, "recognised"))]
    blocks += [] if codec_only else _blocks_of_takes(metrics)
    blocks.append(_codec(part(metrics, "codec")))
    if not codec_only:
        blocks.append(_sampling(part(metrics, "sampling")))
    if codebooks := part(metrics, "codec").get("codebooks"):
        blocks.append(_codebooks(part(metrics, "codec"), codebooks))
    if density := part(metrics, "bits_per_dimension"):
        blocks.append(_density(density))
    if likelihood := part(metrics, "token_likelihood"):
        blocks.append(_token_likelihood(likelihood))
    machine = metrics.get("machine")
    where = tag("p", f"Measured on {machine}.", class_="quiet") if machine else ""
    lead = "Measured on held-out recordings, with no downloaded network."
    return section("metrics", title, *blocks, where, lead=lead)


def _blocks_of_takes(metrics: Mapping[str, Any]) -> list[Markup]:
    """Return what compares takes, as a set, with recordings."""
    return [
        _distance(
            "Fréchet distance",
            part(metrics, "frechet"),
            "Distance between the statistics of takes and of held-out sounds (envelope moments,"
            " modulation power and cross-band correlations of a cochlear filterbank).",
        ),
        _distance(
            "MMD",
            part(metrics, "mmd"),
            "Kernel distance on the same statistics; it needs fewer sounds to be sure.",
        ),
        _diversity(part(metrics, "diversity")),
        _copies(part(metrics, "copies")),
    ]


def part(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the block `key` of a JSON tree, empty when it is not there."""
    block = tree.get(key)
    return block if isinstance(block, dict) else {}


def near_copies(metrics: Mapping[str, Any]) -> list[str]:
    """Return the file names of takes that lie nearer to a training clip than the threshold."""
    copies = part(metrics, "copies")
    threshold = finite(copies.get("threshold"))
    if threshold is None:
        return []
    return [
        str(pair.get("take")).rpartition("/")[2]
        for pair in _nearest(copies)
        if (finite(pair.get("distance")) or 0.0) < threshold
    ]


def _nearest(copies: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the copy check's pairs that have a distance, nearest first."""
    pairs = copies.get("nearest")
    rows = [row for row in pairs if isinstance(row, dict)] if isinstance(pairs, list) else []
    known = [row for row in rows if finite(row.get("distance")) is not None]
    return sorted(known, key=lambda row: float(row["distance"]))


def _block(anchor: str, title: str, words: str, *body: object) -> Markup:
    """Return one metric with its heading and one sentence on how to read it."""
    return tag(
        "div", tag("h3", title), tag("p", words, class_="how"), *body, class_="metric", id=anchor
    )


def _absent(title: str) -> Markup:
    """Say that evaluation wrote no such metric."""
    words = "This run's evaluation/metrics.json does not have it."
    return _block("", title, words)


def _distance(title: str, block: Mapping[str, Any], words: str) -> Markup:
    """Draw a distance on the scale from real-against-real to noise, in all and for each label."""
    if not block:
        return _absent(title)
    labels = part(block, "per_label")
    named = [("all", part(block, "all")), *((name, part(labels, name)) for name in sorted(labels))]
    rows = []
    for name, row in named:
        takes, floor, ceiling = row.get("takes"), row.get("real"), row.get("noise")
        way = way_to_noise(takes, floor, ceiling)
        share = DASH if way is None else f"{100 * way:.0f} %"
        drawn = scale(takes, floor, ceiling)
        head = tag("strong", name) if name == "all" else name
        rows.append([head, number(floor), drawn, number(ceiling), number(takes), share])
    read = (
        " Left end: real against real, the floor. Right end: noise, the ceiling."
        " The tick is half way."
    )
    header = ("", "real", "real ← takes → noise", "noise", "takes", "way to noise")
    return _block("", title, words + read, table(header, rows, "figures scales"))


def _recognised(block: Mapping[str, Any]) -> Markup:
    """Draw how often a classifier names the right label, beside its own accuracy."""
    title = "Recognised"
    if not block:
        return _absent(title)
    chance = block.get("chance")
    kinds = [kind for kind in ("takes", "reconstructions", "real") if kind in block]
    big = [[kind, bar(block.get(kind), kind=kind, mark=chance)] for kind in kinds]
    words = (
        "Share of sounds whose label a small classifier names; it was trained on the real training"
        f" clips. Its own accuracy on real held-out clips is the ceiling; the line is chance,"
        f" {number(chance, 2)}."
    )
    labels, confusion = part(block, "per_label"), part(block, "confusion")
    rows = [
        [name, *(bar(part(labels, name).get(kind), kind=kind, mark=chance) for kind in kinds)]
        for name in sorted(labels)
    ]
    matrix = {name: part(confusion, name) for name in sorted(confusion)}
    return _block(
        "recognised",
        title,
        words,
        table(("", ""), big, "figures bars big"),
        table(("", *kinds), rows, "figures bars") if rows else "",
        join([tag("h4", "What the takes are taken for"), heat_table(matrix)]) if matrix else "",
    )


def _diversity(block: Mapping[str, Any]) -> Markup:
    """Draw the spread of takes within a prompt relative to that of real clips."""
    title = "Diversity within a prompt"
    if not block:
        return _absent(title)
    labels = part(block, "per_label")
    named = [("all", block.get("all")), *((name, labels[name]) for name in sorted(labels))]
    limit = max([1.25, *(finite(value) or 0.0 for _, value in named)])
    rows = [
        [
            tag("strong", name) if name == "all" else name,
            bar(value, kind="takes", mark=1.0, limit=limit),
        ]
        for name, value in named
    ]
    words = "How much takes differ from each other; 1, the line, is how much real clips do."
    return _block("", title, words, table(("", "relative to real"), rows, "figures bars"))


def _copies(block: Mapping[str, Any]) -> Markup:
    """List the takes that are nearest to a training clip."""
    title = "Copy check"
    if not block:
        return _absent(title)
    threshold, pairs = finite(block.get("threshold")), _nearest(block)
    rows = []
    for pair in pairs:
        distance, name = float(pair["distance"]), str(pair.get("take"))
        flag = threshold is not None and distance < threshold
        verdict = tag("span", "near-copy", class_="badge") if flag else ""
        link = tag("a", name, href=f"#{take_anchor(name)}")
        rows.append([link, pair.get("clip", DASH), number(distance), verdict])
    header = ("take", "nearest training clip", "distance", "")
    words = (
        f"Near-copies: {number(block.get('count'))}. A take is one when its distance to a training"
        f" clip is less than {number(threshold)}."
    )
    first = table(header, rows[:_NEAREST_SHOWN], "figures") if rows else ""
    rest = rows[_NEAREST_SHOWN:]
    more = fold(f"{len(rest)} more", table(header, rest, "figures")) if rest else ""
    return _block("copies", title, words, first, more)


def _codec(block: Mapping[str, Any]) -> Markup:
    """List the codec's reconstruction figures."""
    title = "Codec reconstruction"
    if not block:
        return _absent(title)
    speeds = [
        (name.capitalize(), f"{number(block.get(f'{name}_times_realtime'))}{TIMES}")
        for name in ("encode", "decode")
    ]
    other = part(block, "griffin_lim")
    rows: list[Sequence[object]] = [
        *(
            [name, _figure(block, key, unit), *([_figure(other, key, unit)] if other else []), read]
            for name, key, unit, read in _CODEC_ROWS
        ),
        *([*row, *([DASH] if other else []), "faster than real time"] for row in speeds),
    ]
    header = ("", "codec", "Griffin-Lim", "") if other else ("", "", "")
    words = f"Over {number(block.get('num_clips'))} held-out clips."
    if other:
        words += " Griffin-Lim makes sound of the same bands without any training."
    return _block("", title, words, table(header, rows, "figures plain"))


def _figure(block: Mapping[str, Any], key: str, unit: str) -> str:
    """Return one figure with its unit."""
    return f"{number(block.get(key))} {unit}".strip()


def _sampling(block: Mapping[str, Any]) -> Markup:
    """List what a take costs."""
    title = "Cost of a take"
    if not block:
        return _absent(title)
    rows = [
        ("Time per take", f"{number(block.get('seconds_per_take'))} s"),
        ("Network evaluations", number(block.get("network_evaluations"))),
        ("Batch size", number(block.get("batch_size"))),
    ]
    return _block("", title, "", table(("", ""), rows, "figures plain"))


def _density(block: Mapping[str, Any]) -> Markup:
    """List how well recordings are predicted, in bits."""
    rows = [
        (
            f"{name} clips",
            number(block.get(split)),
            number(block.get(f"{split}_std")),
            number(block.get(f"{split}_clips")),
        )
        for split, name in (("held_out", "Held-out"), ("train", "Training"))
    ]
    words = (
        f"Exact likelihood of latents with a noise of {number(block.get('noise_level'))}, given"
        " their prompts; lower is better. Numbers without any structure cost 2.05 bits. It compares"
        " models of the same codec alone."
    )
    header = ("", "bits per latent dimension", "between clips", "clips")
    return _block("", "Likelihood", words, table(header, rows, "figures plain"))


def _codebooks(block: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Markup:
    """List what each number of codebooks gives, and how each codebook is used."""
    cells = [
        (
            number(row.get("count")),
            number(row.get("stft_distance")),
            f"{number(row.get('mel_distance'))} dB",
            f"{number(row.get('si_sdr_db'))} dB",
            f"{100 * (finite(row.get('used')) or 0.0):.0f} %",
            number(row.get("perplexity")),
        )
        for row in rows
    ]
    kilobits = (finite(block.get("bits_per_second")) or 0.0) / 1000
    words = (
        f"{kilobits:.2f} kbit/s in all. Distances are of sounds decoded from the first codebooks"
        f" alone; used is the share of the {number(block.get('vocab_size'))} entries of the last of"
        " them that occur in the training clips."
    )
    header = ("codebooks", "STFT distance", "mel distance", "SI-SDR", "used", "perplexity")
    return _block("", "Codebooks", words, table(header, cells, "figures plain"))


def _token_likelihood(block: Mapping[str, Any]) -> Markup:
    """List how well the tokens of recordings are predicted, in bits and by codebook."""
    rows = []
    for split, name in (("held_out", "Held-out"), ("train", "Training")):
        perplexity = block.get(f"{split}_perplexity")
        each = perplexity if isinstance(perplexity, list) else []
        rows.append(
            (
                f"{name} clips",
                number(block.get(split)),
                number(block.get(f"{split}_std")),
                number(block.get(f"{split}_clips")),
                ", ".join(f"{value:.0f}" for value in map(finite, each) if value is not None),
            )
        )
    words = (
        "Exact likelihood of the codec's tokens, given their prompts; lower is better. Tokens"
        f" without any structure cost {number(block.get('uniform'))} bits per second. It compares"
        " models of the same codec alone."
    )
    for kind in ("bf16", "int8"):
        if f"held_out_{kind}" in block:
            bits = number(block[f"held_out_{kind}"])
            rows.append((f"Held-out clips, {kind} weights", bits, DASH, DASH, DASH))
    header = ("", "bits per second", "between clips", "clips", "perplexity of each codebook")
    return _block("", "Likelihood", words, table(header, rows, "figures plain"))
