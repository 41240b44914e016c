"""The figures of a report: evaluation/metrics.json, each number beside its references."""

from __future__ import annotations

from collections.abc import Mapping

from audiogen.evaluation.report.players import take_anchor
from audiogen.evaluation.scores import (
    NOTHING_HELD_OUT,
    Bits,
    Character,
    CodecScores,
    Copies,
    Distance,
    Diversity,
    Likelihood,
    Recognised,
    Reconstruction,
    Scores,
    TakeScores,
)
from audiogen.pages.charts import bar, heat_table, scale
from audiogen.pages.markup import (
    DASH,
    TIMES,
    Markup,
    fold,
    join,
    missing,
    number,
    section,
    table,
    tag,
)

_NEAREST_SHOWN = 10
_FRECHET = (
    "Distance between the statistics of takes and of held-out sounds (envelope moments,"
    " modulation power and cross-band correlations of a cochlear filterbank)."
)
_CHARACTER = {
    "periodicity": "Periodic share of the energy",
    "waver": "Wavering of the pitch, semitones",
    "regularity": "Regularity of onsets",
    "sharpness_db": "Rise at onsets, dB",
    "width_db": "Side over mid, dB",
    "high_band_db": "Energy above 11 kHz, dB",
}
_EMBEDDED = (
    "on the embedding of aiSFX (Ma and Lerch 2022, CC BY 4.0), which others can compute too: over"
    " all windows of 2.3 s of equal numbers of takes and clips."
)
_FAD = f"Fréchet audio distance {_EMBEDDED} Few sounds make it larger."
_KAD = f"Kernel audio distance (Chung et al. 2025) {_EMBEDDED}"
_MMD = "Kernel distance on the same statistics; it needs fewer sounds to be sure."


def metrics_section(scores: Scores | None, problem: str) -> Markup:
    """Return the section of all metrics; without scores it says the problem."""
    title = "Metrics"
    if scores is None:
        return section("metrics", title, missing(problem, "audiogen evaluate RECIPE"))
    blocks = [_recognised(scores.recognised, chosen=bool(scores.key.sample.get("recognised")))]
    if scores.second is not None:
        blocks.append(_second(scores.second))
    blocks.append(_character(scores.character))
    if (takes := scores.takes) is not None:
        blocks += [
            _distance(title, distance, words)
            for title, distance, words in (
                ("Fréchet distance", takes.frechet, _FRECHET),
                ("MMD", takes.mmd, _MMD),
                ("FAD", takes.fad, _FAD),
                ("KAD", takes.kad, _KAD),
            )
            if distance is not None
        ]
        blocks += [_diversity(takes.diversity), _copies(takes.copies)]
    if scores.codec is not None:
        blocks.append(_codec(scores.codec))
    if takes is not None:
        blocks.append(_cost(takes))
    if scores.codec is not None and scores.codec.codebooks:
        blocks.append(_codebooks(scores.codec))
    if scores.likelihood is not None:
        blocks.append(_likelihood(scores.likelihood))
    blocks += [tag("p", f"Not measured: {note}.", class_="missing") for note in scores.notes]
    where = tag("p", f"Measured on {scores.machine}.", class_="quiet")
    lead = "Measured on held-out recordings, with no network that had to be downloaded."
    if scores.codec is None:
        lead = NOTHING_HELD_OUT
    return section("metrics", title, *blocks, where, lead=lead)


def _block(title: str, words: str, *body: object, anchor: str | None = None) -> Markup:
    """Return one metric with its heading and one sentence on how to read it."""
    return tag(
        "div", tag("h3", title), tag("p", words, class_="how"), *body, class_="metric", id=anchor
    )


def _distance(title: str, distance: Distance, words: str) -> Markup:
    """Draw a distance on the scale from real-against-real to noise, in all and for each label."""
    rows = []
    of_labels = [] if distance.of_labels is None else [("mean of labels", distance.of_labels)]
    whole = [("all together", distance.all), *of_labels]
    for name, found in [*whole, *sorted(distance.per_label.items())]:
        way = found.way_to_noise
        rows.append(
            [
                tag("strong", name) if (name, found) in whole else name,
                number(found.real),
                scale(way),
                number(found.noise),
                number(found.takes),
                DASH if found.copies is None else number(found.copies),
                DASH if way is None else f"{100 * way:.0f} %",
            ]
        )
    read = (
        " Left end: real against real, the floor. Right end: noise, the ceiling."
        " The tick is half way. Learnt by heart: training clips through the codec, as far away as a"
        " model that only repeats them would be."
    )
    header = (
        "",
        "real",
        "real ← takes → noise",
        "noise",
        "takes",
        "learnt by heart",
        "way to noise",
    )
    return _block(title, words + read, table(header, rows, "figures scales"))


def _recognised(found: Recognised | None, *, chosen: bool) -> Markup:
    """Draw how often a classifier names the right label, beside its own accuracy.

    `chosen` takes are those that it named.
    """
    title = "Recognised"
    if found is None:
        return _block(title, "The sounds have no two labels that could be told apart.")
    overall = found.all.model_dump(exclude_none=True)
    kinds = list(overall)
    big = [[kind, bar(share, kind=kind, mark=found.chance)] for kind, share in overall.items()]
    words = (
        "Share of sounds whose label a small classifier names; it was trained on the real training"
        " clips. Its own accuracy on real held-out clips is the ceiling; the line is chance,"
        f" {number(found.chance, 2)}."
    )
    if chosen and "takes" in overall:
        words += (
            " Takes that it does not name are made again (sample.recognised), so that its share of"
            " them says little: see the second listener's."
        )
    rows = []
    for name, shares in sorted(found.per_label.items()):
        of_kind = shares.model_dump()
        rows.append([name, *(bar(of_kind[k], kind=k, mark=found.chance) for k in kinds)])
    heat = heat_table(dict(sorted(found.confusion.items()))) if found.confusion else None
    return _block(
        title,
        words,
        table(("", ""), big, "figures bars big"),
        table(("", *kinds), rows, "figures bars") if rows else "",
        join([tag("h4", "What the takes are taken for"), heat]) if heat else "",
        anchor="recognised",
    )


def _second(found: Recognised) -> Markup:
    """Draw what a judge of the held-out clips hears."""
    kinds = {
        "takes": found.all.takes,
        "training clips": found.all.real,
        "training clips through the codec": found.all.reconstructions,
    }
    rows = [
        [name, bar(share, kind="takes" if name == "takes" else "real", mark=found.chance)]
        for name, share in kinds.items()
        if share is not None
    ]
    words = (
        "The same by a second classifier, trained on the held-out clips: it shares no recording"
        " with the model. What it names of the training clips is the ceiling."
    )
    return _block("Recognised by a second listener", words, table(("", ""), rows, "figures bars"))


def _character(found: Mapping[str, Mapping[str, Character]]) -> Markup:
    """Tables of pitch, rhythm and room: takes and reconstructions beside real clips."""
    known = {kind for kinds in found.values() for kind in kinds}
    kinds = [kind for kind in ("real", "reconstructions", "takes") if kind in known]
    tables = []
    for name, title in _CHARACTER.items():
        rows = [
            [label, *(_cell(getattr(of_kind.get(kind), name, None)) for kind in kinds)]
            for label, of_kind in sorted(found.items())
        ]
        if any(cell != DASH for row in rows for cell in row[1:]):
            tables.append(join([tag("h4", title), table(("", *kinds), rows, "figures")]))
    words = "What the ear misses first. Takes should be like real clips, neither above nor below."
    return _block("Pitch, rhythm and room", words, *tables) if tables else join([])


def _cell(value: float | None) -> object:
    return DASH if value is None else number(value, 2)


def _diversity(found: Diversity) -> Markup:
    """Draw the spread of takes within a prompt relative to that of real clips."""
    limit = max([1.25, *found.per_label.values()])
    named = [(tag("strong", "all"), found.all), *sorted(found.per_label.items())]
    rows = [[name, bar(value, kind="takes", mark=1.0, limit=limit)] for name, value in named]
    words = "How much takes differ from each other; 1, the line, is how much real clips do."
    grid = table(("", "relative to real"), rows, "figures bars")
    return _block("Diversity within a prompt", words, grid)


def _copies(copies: Copies) -> Markup:
    """List the takes that are nearest to a training clip."""
    near = copies.near
    rows = [
        [
            tag("a", one.take, href=f"#{take_anchor(one.take)}"),
            one.clip,
            number(one.distance),
            tag("span", "near-copy", class_="badge") if one in near else "",
        ]
        for one in sorted(copies.nearest, key=lambda one: one.distance)
    ]
    header = ("take", "nearest training clip", "distance", "")
    words = (
        f"Near-copies: {len(near)}. A take is one when its distance to a training"
        f" clip is less than {number(copies.threshold)}."
    )
    known = {
        **{f"planted: training clips, {kind}": share for kind, share in copies.planted.items()},
        **({} if copies.held_out is None else {"held-out clips": copies.held_out}),
    }
    shares = [[kind, f"{100 * share:.0f} %"] for kind, share in known.items()]
    rest = rows[_NEAREST_SHOWN:]
    return _block(
        "Copy check",
        words,
        table(("through the codec", "called near-copies"), shares, "figures") if shares else "",
        table(header, rows[:_NEAREST_SHOWN], "figures"),
        fold(f"{len(rest)} more", table(header, rest, "figures")) if rest else "",
        anchor="copies",
    )


def _codec(codec: CodecScores) -> Markup:
    """List the codec's reconstruction figures."""
    other = codec.griffin_lim
    read = ("0 is perfect", "0 is perfect", "higher is better; low for noise")
    names = ("Multi-resolution STFT distance", "Mel distance", "SI-SDR")
    columns = [names, _distances(codec), *([_distances(other)] if other else []), read]
    rows: list[tuple[object, ...]] = list(zip(*columns, strict=True))
    speeds = {"Encode": codec.encode_times_realtime, "Decode": codec.decode_times_realtime}
    for name, speed in speeds.items():
        beside = [DASH] if other else []
        rows.append((name, f"{number(speed)}{TIMES}", *beside, "faster than real time"))
    header = ("", "codec", "Griffin-Lim", "") if other else ("", "", "")
    words = f"Over {number(codec.num_clips)} held-out clips."
    if other:
        words += " Griffin-Lim makes sound of the same bands without any training."
    return _block("Codec reconstruction", words, table(header, rows, "figures plain"))


def _distances(found: Reconstruction) -> tuple[str, str, str]:
    """Return the three distances with their units."""
    return (
        number(found.stft_distance),
        f"{number(found.mel_distance)} dB",
        f"{number(found.si_sdr_db)} dB",
    )


def _cost(scores: TakeScores) -> Markup:
    """List what a take costs."""
    rows = [
        ("Time per take", f"{number(scores.seconds_per_take)} s"),
        ("Network evaluations", number(scores.network_evaluations)),
        ("Batch size", number(scores.batch_size)),
    ]
    return _block("Cost of a take", "", table(("", ""), rows, "figures plain"))


def _codebooks(codec: CodecScores) -> Markup:
    """List what each number of codebooks gives, and how each codebook is used."""
    rows = [
        (number(one.count), *_distances(one), f"{100 * one.used:.0f} %", number(one.perplexity))
        for one in codec.codebooks
    ]
    words = (
        f"{(codec.bits_per_second or 0) / 1000:.2f} kbit/s in all. Distances are of sounds decoded"
        " from the first codebooks alone; used is the share of the"
        f" {number(codec.vocab_size)} entries of the last of them that occur in the training clips."
    )
    header = ("codebooks", "STFT distance", "mel distance", "SI-SDR", "used", "perplexity")
    return _block("Codebooks", words, table(header, rows, "figures plain"))


def _likelihood(found: Likelihood) -> Markup:
    """List how well recordings are predicted, in bits."""

    def row(name: str, bits: Bits) -> tuple[str, ...]:
        each = ", ".join(f"{value:.0f}" for value in bits.perplexity)
        return (name, number(bits.mean), number(bits.std), number(bits.clips), each)

    rows = [row("Held-out clips", found.held_out)] if found.held_out else []
    rows.append(row("Training clips", found.train))
    rows += [
        (f"Held-out clips, {kind} weights", number(bits), DASH, DASH, DASH)
        for kind, bits in found.held_out_with.items()
    ]
    header = ["", f"bits per {found.per}", "between clips", "clips", "perplexity of each codebook"]
    what = "the codec's tokens"
    if found.noise_level is not None:
        what = f"latents with a noise of {number(found.noise_level)}"
    if not found.train.perplexity:
        header, rows = header[:-1], [one[:-1] for one in rows]
    words = (
        f"Exact likelihood of {what}, given their prompts; lower is better. Without any structure"
        f" they would cost {number(found.structureless)} bits. It compares models of the same codec"
        " alone."
    )
    return _block("Likelihood", words, table(header, rows, "figures plain"))
