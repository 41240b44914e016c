"""One step of a decoder as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class _Captured:
    """A graph, and what it reads and writes, which stays where it lay then, in the same shape."""

    graph: torch.cuda.CUDAGraph
    x: Tensor
    index: Tensor
    out: Tensor


class StepGraph:
    """A single step as a CUDA graph: its hundreds of kernels are launched at once."""

    def __init__(self) -> None:
        """Make a graph that is captured in its first step."""
        self._captured: _Captured | None = None

    def __call__(self, run: Callable[[Tensor, Tensor], Tensor], x: Tensor, now: int) -> Tensor:
        """Take step `now`.

        Args:
            run: maps x and the number of its step, (1,), to (B, dim); the same in every step. Run
                again for the same step, it does the same.
            x: (B, dim), of the same shape in every step.
            now: number of the step.

        Returns:
            (B, dim).
        """
        if self._captured is None:
            self._captured = _capture(run, x, now)
        captured = self._captured
        captured.x.copy_(x)
        captured.index.fill_(now)
        captured.graph.replay()
        return captured.out.clone()


def _capture(run: Callable[[Tensor, Tensor], Tensor], x: Tensor, now: int) -> _Captured:
    x, index = x.clone(), torch.full((1,), now, device=x.device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(x.device):
        own: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        own.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(own):  # libraries set themselves up, which cannot be captured
            run(x, index)
        torch.cuda.current_stream().wait_stream(own)
        with torch.cuda.graph(graph):
            out = run(x, index)
    return _Captured(graph=graph, x=x, index=index, out=out)
