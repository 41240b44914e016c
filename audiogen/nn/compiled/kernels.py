"""A step of a decoder on a CPU, compiled by numba: without the cost of hundreds of small calls.

One step reads all weights for a few multiplications each, so that its speed is that of the memory.
A matrix (in, out) lies in panels of W columns, one for each thread, and a panel in blocks, which
are padded with zeros: (in / TALL, W / WIDE, TALL, WIDE). A thread reads all of its panels from the
beginning to the end of one stretch of memory, and asks ahead for what comes next. The order of a
sum is always the same: an item gets the same numbers, bit by bit, in any batch and with any number
of threads.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

TALL, WIDE = 8, 16
"""Rows and columns of a block."""
AHEAD = 1536
"""Bytes between the weights in use and those asked for. On an AMD EPYC 256 to 1536 were alike, 4096
was slower by 6 to 20 %; on an Intel Xeon 2048 to 8192 were alike."""
LINE = 64
"""Bytes that memory gives at a time."""
EPS = np.finfo(np.float32).eps
"""Of RMSNorm, as torch has it for float32."""

_VECTOR = ir.VectorType(ir.FloatType(), WIDE)
# Without the first, sums stay in their order; neither set forbids infinities, which hide places.
_ANY_ORDER = {"reassoc", "contract", "nsz"}
_IN_ORDER = {"contract", "nsz"}

QKV, ATTEND, PROJECT, QUERY, CROSS, CROSS_PROJECT, GATE_UP, DOWN, HEADS = range(9)
"""What a layer does, in this order, and the last one's HEADS, which make logits; each waits until
all threads are done with the one before."""
SECTIONS = 9


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


@intrinsic
def _prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Bring near what lies `index` numbers behind an array's begin; the array may end before."""
    del typing, index

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, given[0]).data
        number = ir.IntType(32)
        address = builder.bitcast(builder.gep(data, [given[1]]), ir.PointerType(ir.IntType(8)))
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        # To read, into the second cache: the first is too small for what is asked for.
        builder.call(ask, [address, number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


def _address(builder: Any, data: Any, begin: Any, offset: Any, kind: Any) -> Any:
    """Where a value of a kind lies, `begin + offset` numbers behind `data`."""
    return builder.bitcast(builder.gep(data, [builder.add(begin, offset)]), ir.PointerType(kind))


def _load_weights(builder: Any, held: Any, data: Any, begin: Any, offset: Any) -> Any:
    """WIDE weights, held as a type, as float32."""
    number = ir.FloatType() if held == types.float32 else ir.IntType(held.bitwidth)
    address = _address(builder, data, begin, offset, ir.VectorType(number, WIDE))
    loaded = builder.load(address, align=held.bitwidth // 8)
    if held == types.float32:
        return loaded
    if held == types.int8:
        return builder.sitofp(loaded, _VECTOR)
    whole = ir.VectorType(ir.IntType(32), WIDE)  # bfloat16 is the upper half of a float32
    upper = builder.shl(builder.zext(loaded, whole), ir.Constant(whole, [16] * WIDE))
    return builder.bitcast(upper, _VECTOR)


def _spread(builder: Any, value: Any) -> Any:
    """A vector of the same float32 WIDE times."""
    none = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(none, value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), WIDE), None)
    return builder.shuffle_vector(first, none, zeros)


@intrinsic(prefer_literal=True)
def _add_block(
    typing: Any, weights: Any, start: Any, x: Any, first: Any, sums: Any, place: Any, rows: Any
) -> Any:
    """Add the products of a few rows and a block to their sums.

    It is written in vectors, as compilers do not find them in loops that say the same. What a row
    gets does not depend on how many rows there are, which is a constant.

    The block begins at `start` of a panel of `weights`. Of the first row, `TALL` numbers begin at
    `first` of x (B, in), and `WIDE` sums at `place` of sums (B, W), counted through all rows.
    """
    del typing, start, first, place
    number, num_rows = types.intp, rows.literal_value

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _, start, _, first, _, place, _ = given
        held, x_held, sums_held = (
            context.make_array(signature.args[index])(context, builder, given[index])
            for index in (0, 2, 4)
        )
        x_step, sums_step = (builder.extract_value(two.shape, 1) for two in (x_held, sums_held))
        kind = signature.args[0].dtype
        constants = [ir.Constant(start.type, index) for index in range(TALL * WIDE)]
        places = [
            _address(
                builder, sums_held.data, place, builder.mul(sums_step, constants[row]), _VECTOR
            )
            for row in range(num_rows)
        ]
        found = [builder.load(address, align=4) for address in places]
        rows = [builder.add(first, builder.mul(x_step, constants[row])) for row in range(num_rows)]
        for index in range(TALL):
            line = _load_weights(builder, kind, held.data, start, constants[index * WIDE])
            for row in range(num_rows):
                address = _address(
                    builder, x_held.data, rows[row], constants[index], ir.FloatType()
                )
                factor = _spread(builder, builder.load(address, align=4))
                product = builder.fmul(factor, line, flags=["contract"])
                found[row] = builder.fadd(found[row], product, flags=["contract"])
        for address, value in zip(places, found, strict=True):
            builder.store(value, address, align=4)
        return context.get_dummy_value()

    taken = (weights, number, x, number, sums, number, rows)
    return types.void(*taken), generate


@njit(error_model="numpy")
def _product(panel: Any, height: int, count: int, x: Any) -> Any:
    """Multiply x (B, in) with a panel of blocks (in / TALL, W / WIDE, TALL, WIDE): (B, W).

    The panel (numbers,) is given flat, with its height and width in blocks.
    """
    batch, given = x.shape
    size, width = TALL * WIDE, count * WIDE
    sums = np.zeros((batch, width), np.float32)
    ahead, step = AHEAD // panel.itemsize, LINE // panel.itemsize
    for k in range(height):
        for n in range(count):
            block = (k * count + n) * size
            for index in range(block + ahead, block + ahead + size, step):
                _prefetch(panel, index)
            first, place = k * TALL, n * WIDE
            for _ in range(batch // 4):
                _add_block(panel, block, x, first, sums, place, 4)
                first, place = first + 4 * given, place + 4 * width
            if batch % 4 >= 2:
                _add_block(panel, block, x, first, sums, place, 2)
                first, place = first + 2 * given, place + 2 * width
            if batch % 2:
                _add_block(panel, block, x, first, sums, place, 1)
    return sums


@njit(fastmath=_IN_ORDER, error_model="numpy")
def _exp(x: Any) -> Any:
    """e^x in a way that is vectorised: 2^whole times a polynomial, as in Cephes' `expf` (Moshier).

    Below -87, where float32 ends, it is 0.
    """
    bounded = min(max(x, np.float32(-87)), np.float32(88))
    whole = np.float32(math.floor(bounded * np.float32(1.442695041) + np.float32(0.5)))
    rest = bounded - whole * np.float32(0.693359375) + whole * np.float32(2.12194440e-4)
    y = np.float32(1.9875691500e-4)
    for factor in (
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        1.6666665459e-1,
        5.0000001201e-1,
    ):
        y = y * rest + np.float32(factor)
    y = y * rest * rest + rest + np.float32(1)
    power = np.uint32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return y * power if x >= np.float32(-87) else np.float32(0)


@njit(fastmath=_ANY_ORDER, error_model="numpy")
def _normalise(x: Any, gain: Any, out: Any) -> None:
    """RMSNorm of vectors x (B, C) with a gain (C,); `out` may be wider."""
    for b in range(len(x)):
        total = np.float32(0)
        for c in range(len(gain)):
            total += x[b, c] * x[b, c]
        factor = np.float32(1) / np.float32(math.sqrt(total / np.float32(len(gain)) + EPS))
        for c in range(len(gain)):
            out[b, c] = x[b, c] * factor * gain[c]


@njit(error_model="numpy")
def _turn(vector: Any, turn: Any) -> None:
    """Turn pairs of numbers by rotary angles, given as cosine and sine (C / 2, 2), in place."""
    for i in range(len(turn)):
        even, odd = vector[0, 2 * i], vector[0, 2 * i + 1]
        vector[0, 2 * i] = even * turn[i, 0] - odd * turn[i, 1]
        vector[0, 2 * i + 1] = even * turn[i, 1] + odd * turn[i, 0]


@njit(fastmath=_ANY_ORDER, error_model="numpy")
def _attend(query: Any, keys: Any, values: Any, hidden: Any, stop: int, out: Any) -> None:
    """Attention of a scaled query (C,) to the first `stop` of keys and values (N, C)."""
    width = len(query)
    scores = np.empty(stop, np.float32)
    top = np.float32(-np.inf)
    for n in range(stop):
        score = np.float32(0)
        for c in range(width):
            score += query[c] * keys[n, c]
        scores[n] = score + hidden[n]
        top = max(top, scores[n])
    for n in range(stop):
        scores[n] = _exp(scores[n] - top)
    total = np.float32(0)
    sums = np.zeros(width, np.float32)
    for n in range(stop):
        total += scores[n]
        for c in range(width):
            sums[c] += scores[n] * values[n, c]
    for c in range(width):
        out[c] = sums[c] / total


@njit(error_model="numpy")
def _attend_with_head(
    section: int, layer: int, row: int, now: int, gains: Gains, memory: Memory, scratch: Scratch
) -> None:
    """Attention of one head of one item: to the context, or to the steps, where it is kept."""
    width = gains.query.shape[1]
    num_heads = memory.keys.shape[1] // len(scratch.x)
    item, first = row // num_heads, row % num_heads * width
    given, out = scratch.heads[item : item + 1], scratch.attended[item, first : first + width]
    query, key = np.empty((1, width), np.float32), np.empty((1, width), np.float32)
    if section == CROSS:
        _normalise(given[:, first : first + width], gains.cross_query[layer], query)
        keys, values = memory.context_keys[layer, row], memory.context_values[layer, row]
        _attend(query[0], keys, values, memory.hidden[item], len(keys), out)
        return
    key_first, value_first = first + num_heads * width, first + 2 * num_heads * width
    _normalise(given[:, first : first + width], gains.query[layer], query)
    _normalise(given[:, key_first : key_first + width], gains.key[layer], key)
    _turn(query, memory.turns[now])
    _turn(key, memory.turns[now])
    keys, values = memory.keys[layer, row], memory.values[layer, row]
    keys[now] = key[0]
    values[now] = given[0, value_first : value_first + width]
    _attend(query[0], keys, values, memory.seen, now + 1, out)


@njit(error_model="numpy")
def _add(columns: Any, part: int, out: Any) -> None:
    """Add the columns of a panel where they belong in `out`, which may be wider or narrower."""
    width = columns.shape[1]
    first = part * width
    for b in range(len(columns)):
        for c in range(min(width, out.shape[1] - first)):
            out[b, first + c] += columns[b, c]


@njit(fastmath=_IN_ORDER, error_model="numpy")
def _activate(columns: Any, part: int, out: Any) -> None:
    """SwiGLU of the columns of a panel, which are gates and as many ups."""
    width = columns.shape[1] // 2
    first = part * width
    for b in range(len(columns)):
        for c in range(min(width, out.shape[1] - first)):
            gate = columns[b, c]
            out[b, first + c] = gate / (np.float32(1) + _exp(-gate)) * columns[b, width + c]


@njit(fastmath=_IN_ORDER, error_model="numpy")
def _multiply(section: int, layer: int, part: int, weights: Weights, scratch: Scratch) -> None:
    """One panel of the section's matrix, and what comes of its columns."""
    given = scratch.normed
    if section in (PROJECT, CROSS_PROJECT):
        given = scratch.attended
    elif section == DOWN:
        given = scratch.active
    panel = weights.places[layer, section]
    scale, bias = weights.scales[part, panel[1] :], weights.biases[part, panel[1] :]
    sums = _product(weights.numbers[part, panel[0] :], panel[2], panel[3], given)
    for b in range(len(sums)):
        for c in range(sums.shape[1]):
            sums[b, c] = sums[b, c] * scale[c] + bias[c]
    if section == GATE_UP:
        _activate(sums, part, scratch.active)
    elif section in (QKV, QUERY):
        _add(sums, part, scratch.heads)
    elif section == HEADS:
        _add(sums, part, scratch.logits)
    else:
        _add(sums, part, scratch.x)


@njit(error_model="numpy")
def _prepare(section: int, layer: int, gains: Gains, scratch: Scratch) -> None:
    """Normalise the step where a section begins with that; what it adds to is then empty."""
    if section in (QKV, QUERY):
        scratch.heads[:] = 0
    if section == QKV:
        _normalise(scratch.x, gains.attention[layer], scratch.normed)
    elif section == QUERY:
        _normalise(scratch.x, gains.cross[layer], scratch.normed)
    elif section == GATE_UP:
        _normalise(scratch.x, gains.feed[layer], scratch.normed)
    elif section == HEADS:
        scratch.logits[:] = 0
        _normalise(scratch.x, gains.last, scratch.normed)


@njit(parallel=True, cache=True, error_model="numpy")
def take_step(weights: Weights, gains: Gains, memory: Memory, scratch: Scratch, now: int) -> None:
    """Run step `now` of a pre-norm Transformer with cross-attention, from `x` to `logits`.

    It is what `Decoder.last` computes; its key and value are added to the memory.
    """
    depth, parts, rows = len(weights.places), len(weights.numbers), memory.keys.shape[1]
    for layer in range(depth):
        for section in range(SECTIONS if layer == depth - 1 else HEADS):
            _prepare(section, layer, gains, scratch)
            for part in prange(parts):
                if section in (ATTEND, CROSS):
                    for row in range(rows * part // parts, rows * (part + 1) // parts):
                        _attend_with_head(section, layer, row, now, gains, memory, scratch)
                else:
                    _multiply(section, layer, part, weights, scratch)
