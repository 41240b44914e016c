"""Single steps of a decoder as a CUDA graph: their hundreds of kernels are launched at once."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from audiogen.nn.decoder import Decoder, Step, bounded
from audiogen.types import Context


def begin(decoder: Decoder, context: Context, max_steps: int) -> Step:
    """Do what `Decoder.begin` does, on CUDA, with single steps as a graph."""
    cache = decoder.backbone.cache(context, max_steps)
    return bounded(Graphed(partial(decoder.last, context=context, cache=cache)), max_steps)


class Graphed:
    """A `Step` of which single steps are replayed; as moshi's `CUDAGraphed`.

    A graph reads and writes what lay where when it was captured. A decoder's step is such a thing:
    its cache stays in place, and how many steps there were is a tensor in it.
    """

    def __init__(self, step: Step) -> None:
        """Wrap a step on CUDA, which is captured when it is taken for the second time."""
        self._step = step
        self._is_warm = False
        self._graph: torch.cuda.CUDAGraph | None = None
        self._x = self._out = torch.empty(0)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Take the next steps, as a `Step` does."""
        if x.shape[1] > 1:
            return self._step(x)
        if not self._is_warm:  # libraries set themselves up, which cannot be captured
            self._is_warm = True
            return self._step(x)
        if self._graph is None:
            self._x, self._graph = x.clone(), torch.cuda.CUDAGraph()
            stream = torch.cuda.Stream(x.device)  # type: ignore[no-untyped-call]
            # Other threads, such as those that load data, may go on.
            capture = torch.cuda.graph(
                self._graph, stream=stream, capture_error_mode="thread_local"
            )
            with torch.cuda.device(x.device), capture:
                self._out = self._step(self._x)  # captured, not run
        self._x.copy_(x)
        self._graph.replay()
        return self._out.clone()
