"""What a compiled step works on: arrays of numpy, in tuples whose fields numba knows by name."""

from __future__ import annotations

from typing import Any, NamedTuple


class Place(NamedTuple):
    """Which part of the work is meant: of which section, layer and thread, and of which step."""

    section: int
    layer: int
    part: int
    now: int


class Matrices(NamedTuple):
    """One array for each kind of matrix, over all D layers.

    They are the panels (D, parts, in / TALL, W / WIDE, TALL, WIDE), of float32, int8, or uint16,
    which are the bits of bfloat16; or the scales or biases of their columns (D, parts, W), of
    float32. Panels of `gate_up` hold columns of both, side by side. (There is no tuple for a
    matrix and its scale, as compiled loops take no tuples of tuples.)
    """

    qkv: Any
    project: Any
    query: Any
    cross_project: Any
    gate_up: Any
    down: Any


class Gains(NamedTuple):
    """Gains of the norms (D, dim), of heads (D, head_dim), and of the last one (dim,)."""

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
        cos: of the rotary angles (S, head_dim // 2).
        sin: likewise.
    """

    keys: Any
    values: Any
    context_keys: Any
    context_values: Any
    hidden: Any
    seen: Any
    cos: Any
    sin: Any


class Scratch(NamedTuple):
    """What sections hand on, (B, width) each, with zeros behind the real width.

    Attributes:
        x: the step, which is changed in place (B, dim).
        normed: of width dim.
        heads: of width 3 dim.
        attended: of width dim.
        active: of the width of the feed-forward.
    """

    x: Any
    normed: Any
    heads: Any
    attended: Any
    active: Any
