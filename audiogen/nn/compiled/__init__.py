"""What makes the steps of a finished decoder fast, from outside: it does not know of it.

On a CPU all of a Transformer's step is one function that numba compiles, and only this package
imports numba; on CUDA a step is replayed as one graph.
"""

from __future__ import annotations

from functools import partial

from audiogen.nn.decoder import Begin, Decoder
from audiogen.nn.lowbit import WeightKind, with_weights
from audiogen.nn.transformer import Transformer


def compiled(decoder: Decoder, weights: WeightKind) -> Begin:
    """Return how to begin steps of a decoder as they are fastest where it is.

    Args:
        decoder: for inference; stays as it is. Its weights are copied, unless they are fp32, or
            read as they are then: they must not change before the last step.
        weights: in what they are kept; smaller ones are read faster.

    Returns:
        What does as `Decoder.begin`, up to rounding.
    """
    device = next(decoder.parameters()).device.type
    kept = with_weights(decoder, weights)
    if device == "cpu" and isinstance(decoder.backbone, Transformer):
        from audiogen.nn.compiled.cpu import CPUDecoder  # noqa: PLC0415 (numba is slow to import)

        return CPUDecoder(decoder, kept, weights).begin
    if device == "cuda":
        from audiogen.nn.compiled.graph import begin  # noqa: PLC0415 (as above)

        return partial(begin, kept)
    return kept.begin
