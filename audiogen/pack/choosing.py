"""Best of N: several candidates for one take, of which the one with the best score is kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_opening
from torch import Tensor

from audiogen.audio.dsp import loudness_lufs
from audiogen.pack.curation.cards import NEAR_DB, FloatArray, fingerprint
from audiogen.pages.pictures import spectrogram
from audiogen.pipeline import Pipeline
from audiogen.seeds import later_seed
from audiogen.takes.making import Made, make_takes
from audiogen.takes.take import Candidate, Choosing, Take

CANDIDATE_STEP = 100_000_000
"""From one candidate's seed to the next; loops that are made again lie between them."""
CLIPPED_SHARE = 0.02
"""Of flattened peaks; from here on the score is 0."""
FLAT_SAMPLES = 3
"""So many equal samples at the peak are a peak that was cut."""
QUIET_LUFS = (-60.0, -40.0)
"""Below the first there is nothing to hear; from the second on a take is loud enough."""
FRAME_SECONDS = 0.02
EMPTY = 1e-5
"""Largest sample of a frame without sound (-100 dBFS)."""
_log = logging.getLogger(__name__)


class Chooser:
    """Makes candidates with one model and chooses between them, by its recogniser if it has one."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._judge = pipeline.judge
        self._rate = pipeline.codec.spec.sample_rate
        self._unnamed: set[str] = set()
        if self._judge is None:
            text = (
                "%s: the model has no recogniser to tell how a take fits its prompt; the best is"
                " chosen by its texture alone (`audiogen train` makes one of sounds with labels)"
            )
            _log.warning(text, pipeline.config.name)

    def choose(self, wanted: Sequence[Take], batch_size: int) -> list[Made]:
        """Make `best_of` candidates for each of a few takes of one prompt, and keep the best.

        The takes are chosen in turn, so that one that is nearly another loses. Of equal scores
        the first candidate's counts.

        Args:
            wanted: takes alike in settings.
            batch_size: sounds made at once; it does not change what is chosen.
        """
        count = wanted[0].best_of
        asked = [
            take.model_copy(update={"seed": later_seed(take.seed, number * CANDIDATE_STEP)})
            for take in wanted
            for number in range(count)
        ]
        made: list[Made] = []
        for first in range(0, len(asked), batch_size):
            made += make_takes(self._pipeline, asked[first : first + batch_size])
        taken: list[FloatArray] = []
        kept = []
        for first in range(0, len(made), count):
            candidates = made[first : first + count]
            prints = [fingerprint(spectrogram(wav, self._rate)) for _, wav in candidates]
            scores = [
                self._score(one, print_, taken)
                for one, print_ in zip(candidates, prints, strict=True)
            ]
            best = max(range(count), key=lambda number: (scores[number].score, -number))
            taken.append(prints[best])
            take, wav = candidates[best]
            choosing = Choosing(
                chosen=best,
                candidates=tuple(scores),
                label=self._label(take.prompt),
                judge="" if self._judge is None else self._judge.digest,
            )
            kept.append((take.model_copy(update={"choosing": choosing}), wav))
        return kept

    def _score(self, made: Made, print_: FloatArray, taken: Sequence[FloatArray]) -> Candidate:
        take, wav = made
        near = min([NEAR_DB, *(float(np.sqrt(((print_ - one) ** 2).mean())) for one in taken)])
        seam = 1.0 if take.seam is None else 1 / max(1.0, take.seam.score)
        label, prompt = self._label(take.prompt), None
        if self._judge is not None and label is not None:
            prompt = self._judge.probabilities(wav)[label]
        texture = soundness(wav, self._rate) * seam * near / NEAR_DB
        return Candidate(
            seed=take.seed,
            score=round(texture * (1 if prompt is None else prompt), 4),
            texture=round(texture, 4),
            prompt=None if prompt is None else round(prompt, 4),
        )

    def _label(self, prompt: str) -> str | None:
        """The label that a prompt names; the log says of each prompt that names none."""
        label = self._pipeline.named(prompt)
        if label is None and self._judge is not None and prompt not in self._unnamed:
            self._unnamed.add(prompt)
            text = "%.60r names no sound that the recogniser knows; chosen by texture alone"
            _log.warning(text, prompt)
        return label


def soundness(wav: Tensor, sample_rate: int) -> float:
    """1 for a sound (C, T) without clipping, silence or gaps; 0 for one that is nothing else."""
    lufs, (nothing, enough) = loudness_lufs(wav, sample_rate), QUIET_LUFS
    loud = min(1.0, max(0.0, (lufs - nothing) / (enough - nothing)))
    size = max(1, min(wav.shape[1], round(FRAME_SECONDS * sample_rate)))
    peaks = wav[:, : wav.shape[1] // size * size].abs().amax(dim=0).reshape(-1, size).amax(dim=1)
    sounding = float((peaks > EMPTY).float().mean())
    return loud * sounding * max(0.0, 1 - clipped_share(wav) / CLIPPED_SHARE)


def clipped_share(wav: Tensor) -> float:
    """Share of the samples of (C, T) that belong to a peak with a flat top."""
    samples = wav.numpy()
    peak = np.abs(samples).max(axis=1, keepdims=True)
    flat = 0
    for sign in (1, -1):
        at_peak = (sign * samples >= peak * (1 - 1e-5)) & (peak > EMPTY)
        flat += int(binary_opening(at_peak, np.ones((1, FLAT_SAMPLES))).sum())
    return flat / samples.size
