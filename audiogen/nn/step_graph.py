"""One step of a decoder as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class StepGraph:
    """A single step as a CUDA graph: its hundreds of kernels are launched at once.

    What it reads and writes stays where it lay when the graph was captured, in the same shape.
    """

    def __init__(self) -> None:
        """Make a graph that is captured in its first step."""
        self._graph: torch.cuda.CUDAGraph | None = None

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
        if self._graph is None:
            self._graph = self._capture(run, x, now)
        self._x.copy_(x)
        self._index.fill_(now)
        self._graph.replay()
        return self._out.clone()

    def _capture(
        self, run: Callable[[Tensor, Tensor], Tensor], x: Tensor, now: int
    ) -> torch.cuda.CUDAGraph:
        self._x, self._index = x.clone(), torch.full((1,), now, device=x.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(x.device):
            own: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            own.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(own):  # libraries set themselves up, which cannot be captured
                run(self._x, self._index)
            torch.cuda.current_stream().wait_stream(own)
            with torch.cuda.graph(graph):
                self._out = run(self._x, self._index)
        return graph
