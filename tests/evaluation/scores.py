"""Scores of an evaluation that never was."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from audiogen.evaluation.scores import Scores

KINDS = ("real", "reconstructions", "takes")
LABELS = ("rain", "sea waves", "clock tick")


def make_scores(
    labels: Sequence[str] = LABELS,
    per_label: int = 2,
    *,
    evaluate: dict[str, Any] | None = None,
    seconds_per_take: float | None = 0.6,
    **parts: Any,
) -> Scores:
    """Return scores of every kind; `parts` replace whole blocks."""
    rng = np.random.default_rng(1)

    def shares() -> dict[str, float]:
        real = 0.75 + 0.25 * rng.random()
        return {"takes": real * 0.7, "reconstructions": real * 0.9, "real": real}

    def character() -> dict[str, float]:
        return {"periodicity": 0.3 + rng.random() / 2, "regularity": 0.4, "sharpness_db": 9.0}

    distance = {
        "all": {"takes": 2.12, "real": 0.7, "noise": 18.3},
        "per_label": {
            label: {"takes": 3 + 9 * rng.random(), "real": 2.0, "noise": 60.0, "copies": 3.0}
            for label in labels
        },
    }
    takes = {
        "frechet": distance,
        "mmd": distance,
        "fad": {"all": {"takes": 41.5, "real": 22.0, "noise": 210.0, "copies": 29.0}},
        "kad": {"all": {"takes": 4.1, "real": 0.6, "noise": 61.0, "copies": 1.9}},
        "diversity": {"all": 0.68, "per_label": {name: 0.5 + rng.random() for name in labels}},
        "copies": {
            "threshold": 0.2,
            "nearest": [
                {"take": f"{label}-0.wav", "clip": f"{label}/003.ogg", "distance": 0.1 + 0.2 * k}
                for k, label in enumerate(labels)
            ],
            "planted": {"shifted": 0.97, "two mixed": 0.93},
            "held_out": 0.02,
        },
        "parameters": 23_400_000,
        "network_evaluations": 30,
        "batch_size": 8,
        "seconds_per_take": seconds_per_take,
    }
    return Scores.model_validate(
        {
            "key": {
                "model_digest": "0123456789abcdef",
                "sample": {},
                "evaluate": evaluate or {"takes_per_label": per_label},
            },
            "machine": "2 cores of a server",
            "codec": {
                "stft_distance": 0.61,
                "mel_distance": 0.42,
                "si_sdr_db": -3.1,
                "num_clips": 80,
                "parameters": 5_000_000,
                "encode_times_realtime": 88.0,
                "decode_times_realtime": 61.0,
            },
            "takes": takes,
            "second": {
                "all": {"takes": 0.66, "reconstructions": 0.71, "real": 0.77},
                "chance": 0.1,
                "per_label": {},
            },
            "character": {label: {kind: character() for kind in KINDS} for label in labels},
            "recognised": {
                "all": {"takes": 0.84, "reconstructions": 0.9, "real": 0.92},
                "chance": 0.1,
                "per_label": {label: shares() for label in labels},
                "confusion": {
                    label: {label: per_label - k % 3, labels[(k * 3 + 1) % len(labels)]: k % 3 + 1}
                    for k, label in enumerate(labels)
                },
            },
            "likelihood": {
                "per": "latent dimension",
                "held_out": {"mean": -0.97, "std": 0.31, "clips": 8},
                "train": {"mean": -1.08, "std": 0.34, "clips": 8},
                "structureless": 2.05,
                "noise_level": 0.01,
            },
            **parts,
        }
    )
