"""FAD and KAD: sets of sounds compared on an embedding that others have too."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from audiogen.data.intake.scan import LEAST_HELD_OUT
from audiogen.evaluation.material import Sounds
from audiogen.evaluation.metrics.distances import frechet_audio_distance, kernel_audio_distance
from audiogen.evaluation.metrics.embedding import SoundEffectEmbedding
from audiogen.evaluation.scores import Distance, Referenced


def embedded_scores(
    sounds: Mapping[str, Sounds], sample_rate: int, device: torch.device
) -> dict[str, Distance]:
    """Return `fad` and `kad` over all sounds; nothing where there are too few.

    Few points make FAD larger, so that all sets are thinned out evenly to the size of the
    smallest.

    Args:
        sounds: "takes", "held_out", "training" (another real set: the floor), "copies" (training
            clips through the codec) and "noise" (the ceiling); clips (C, T) of one length.
        sample_rate: in Hz.
        device: where to embed.
    """
    count = min(len(found.wavs) for found in sounds.values())
    if count < LEAST_HELD_OUT:
        return {}
    embed = SoundEffectEmbedding(device)
    points = {}
    for kind, found in sounds.items():
        evenly = [found.wavs[number * len(found.wavs) // count] for number in range(count)]
        points[kind] = embed(evenly, sample_rate)
    real = points.pop("held_out")
    scores = {}
    for name, distance in (("fad", frechet_audio_distance), ("kad", kernel_audio_distance)):
        values = {kind: distance(found, real) for kind, found in points.items()}
        values["real"] = values.pop("training")
        scores[name] = Distance(all=Referenced(**values))
    return scores
