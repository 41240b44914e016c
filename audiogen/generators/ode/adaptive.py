"""An ODE solver that chooses its own steps, for results that must be exact to a tolerance.

Sampling uses the fixed steps of `solvers`; the likelihood uses this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, overload

import torch
from torch import Tensor

Parts = tuple[Tensor, ...]
"""A state of several tensors, each (B, ...)."""

# Dormand and Prince 1980; Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I",
# 2nd edition, table II.5.2. The last row of STAGES is the fifth-order solution itself.
NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
"""Fifth-order weights minus those of the embedded fourth-order solution."""
SAFETY, SHRINK, GROW = 0.9, 0.2, 10.0
SMALLEST_STEP = 1e-12
"""Of the whole interval; a step below it means that no step passes."""
MAX_STEPS = 10_000


@overload
def dopri5(
    drift: Callable[[Tensor, float], Tensor],
    x: Tensor, t_start: float, t_end: float, *, rtol: float, atol: float,
) -> Tensor: ...  # fmt: skip
@overload
def dopri5(
    drift: Callable[[Parts, float], Parts],
    x: Parts, t_start: float, t_end: float, *, rtol: float, atol: float,
) -> Parts: ...  # fmt: skip
def dopri5(
    drift: Any, x: Tensor | Parts, t_start: float, t_end: float, *, rtol: float, atol: float
) -> Tensor | Parts:
    """Solve dx/dt = drift(x, t) by Dormand and Prince's method of order 5(4) with step control.

    All items share one step. Each item has an error norm of its own (Hairer et al., eq. II.4.11:
    the root mean square over its numbers of error / (atol + rtol |x|); for a state of several
    tensors the largest over these), and a step is accepted when the norm of every item is at most
    1. So an item's result varies with its batch, but only within the tolerance.

    Args:
        drift: (x, t) -> dx/dt of the shape of x.
        x: (B, ...) at `t_start`, or a tuple of such tensors.
        t_start: where to start.
        t_end: where to end, before or after `t_start`.
        rtol: relative tolerance of a step's error.
        atol: absolute tolerance of a step's error. float32 cannot reach much below 1e-6.

    Returns:
        x at `t_end`, as a tensor or a tuple like `x`.

    Raises:
        ValueError: a tolerance is not positive, drift is not finite, or no step is small enough.
    """
    if not (rtol > 0 and atol > 0):
        raise ValueError(f"dopri5: rtol and atol must be above 0, got {rtol} and {atol}")
    alone = isinstance(x, Tensor)
    state: Parts = (x,) if isinstance(x, Tensor) else x

    def slope_at(parts: Parts, t: float) -> Parts:
        out: Parts = (drift(parts[0], t),) if alone else drift(parts, t)
        return out

    state = _integrate(slope_at, state, (t_start, t_end), (rtol, atol))
    return state[0] if alone else state


def _integrate(
    drift: Callable[[Parts, float], Parts],
    state: Parts,
    interval: tuple[float, float],
    tolerance: tuple[float, float],
) -> Parts:
    t, t_end = interval
    if t == t_end:
        return state
    smallest = SMALLEST_STEP * abs(t_end - t)
    slope = drift(state, t)
    if not all(bool(part.isfinite().all()) for part in slope):
        raise ValueError(
            f"dopri5: the drift at t={t:g} is not finite\n  check the start and the model's weights"
        )
    step = _first_step(drift, state, slope, interval, tolerance)
    for _ in range(MAX_STEPS):
        last = abs(step) >= abs(t_end - t)
        step = t_end - t if last else step
        slopes = [slope]
        for node, weights in zip(NODES, STAGES, strict=True):
            reached = _add(state, slopes, weights, step)
            slopes.append(drift(reached, t + node * step))
        error = _add(tuple(torch.zeros_like(part) for part in state), slopes, ERROR, step)
        norm = _norm(error, _scale(tolerance, state, reached))
        if norm <= 1:
            if last:
                return reached
            # The last stage of a step is the first one of the next.
            t, state, slope = t + step, reached, slopes[-1]
        # A norm that is not finite comes from a step far too long.
        factor = SAFETY * max(norm, 1e-10) ** -0.2 if math.isfinite(norm) else SHRINK
        step *= min(GROW if norm <= 1 else 1.0, max(SHRINK, factor))
        if abs(step) < smallest:
            break
    raise ValueError(
        f"dopri5: no step at t={t:g} meets rtol={tolerance[0]:g}, atol={tolerance[1]:g}\n"
        "  loosen the tolerance; if that does not help, the drift jumps or is not finite there"
    )


def _first_step(
    drift: Callable[[Parts, float], Parts],
    state: Parts,
    slope: Parts,
    interval: tuple[float, float],
    tolerance: tuple[float, float],
) -> float:
    """A signed first step from the sizes of x, x' and x'' (Hairer et al., section II.4)."""
    t, t_end = interval
    scale = _scale(tolerance, state, state)
    size, speed = _norm(state, scale), _norm(slope, scale)
    guess = 0.01 * size / speed if min(size, speed) > 1e-5 else 1e-6
    guess = math.copysign(min(guess, abs(t_end - t)), t_end - t)
    ahead = drift(_add(state, [slope], (1.0,), guess), t + guess)
    change = tuple(new - old for new, old in zip(ahead, slope, strict=True))
    bend = _norm(change, scale) / abs(guess)
    largest = max(speed, bend)
    width = (0.01 / largest) ** 0.2 if largest > 1e-15 else max(1e-6, abs(guess) * 1e-3)
    width = width if math.isfinite(width) else abs(guess)
    return math.copysign(min(100 * abs(guess), width, abs(t_end - t)), t_end - t)


def _add(state: Parts, slopes: Sequence[Parts], weights: Sequence[float], step: float) -> Parts:
    """State plus step times the weighted sum of slopes."""
    out = list(state)
    for slope, weight in zip(slopes, weights, strict=True):
        if weight:
            out = [part + (step * weight) * rise for part, rise in zip(out, slope, strict=True)]
    return tuple(out)


def _scale(tolerance: tuple[float, float], before: Parts, after: Parts) -> Parts:
    """What an error is measured against: atol + rtol times the larger of both sizes."""
    rtol, atol = tolerance
    pairs = zip(before, after, strict=True)
    return tuple(atol + rtol * torch.maximum(one.abs(), two.abs()) for one, two in pairs)


def _norm(values: Parts, scale: Parts) -> float:
    """Largest root mean square of values / scale of any item and part; NaN where one is NaN."""
    squares = [
        (value / size).reshape(len(value), -1).square().mean(dim=1)
        for value, size in zip(values, scale, strict=True)
    ]
    return float(torch.stack(squares).sqrt().max())
