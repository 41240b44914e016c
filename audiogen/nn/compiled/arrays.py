"""What a compiled step works on: arrays of numpy, in tuples whose fields numba knows by name."""

from __future__ import annotations

from typing import Any, NamedTuple


class Weights(NamedTuple):
    """All matrices that a step multiplies by.

    Each thread has a row of panels of its own, which lie in the order in which it reads them.

    Attributes:
        numbers: (threads, all numbers) of float32, int8, or uint16, which are bits of bfloat16.
        scales: of the columns of the panels (threads, all columns), float32.
        biases: likewise.
        places: of the panel of a layer and section, (depth, sections, 4): where its numbers begin,
            where its columns begin, and its height and width in blocks.
    """

    numbers: Any
    scales: Any
    biases: Any
    places: Any


class Gains(NamedTuple):
    """Gains of the norms (D, dim), of heads (D, head_dim), and of the last one (dim,).

    Those of queries hold the scale of the scores.
    """

    attention: Any
    cross: Any
    feed: Any
    query: Any
    key: Any
    cross_query: Any
    last: Any


class Memory(NamedTuple):
    """What earlier steps and the context left; R is batch times heads.

    Attributes:
        keys: (D, R, S, head_dim), of which the earlier steps are there.
        values: likewise.
        context_keys: (D, R, N, head_dim).
        context_values: likewise.
        hidden: added to the scores of the context (B, N), 0 or -inf.
        seen: added to those of the steps (S,): zeros.
        turns: cosines and sines of the rotary angles (S, head_dim // 2, 2).
    """

    keys: Any
    values: Any
    context_keys: Any
    context_values: Any
    hidden: Any
    seen: Any
    turns: Any


class Scratch(NamedTuple):
    """What sections hand on, (B, width) each, with zeros behind the real width.

    Attributes:
        x: the step, which is changed in place (B, dim).
        normed: of width dim.
        heads: of width 3 dim.
        attended: of width dim.
        active: of the width of the feed-forward.
        logits: of all classes.
    """

    x: Any
    normed: Any
    heads: Any
    attended: Any
    active: Any
    logits: Any
