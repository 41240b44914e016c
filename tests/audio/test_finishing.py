"""What every generated sound goes through last."""

from __future__ import annotations

import pytest
import torch

from audiogen.audio.dsp import resample
from audiogen.audio.finishing import finished


def test_a_take_above_full_scale_at_another_rate_is_lowered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("audiogen.audio.finishing.set_loudness", lambda wav, *_, **__: wav)
    wav = torch.ones(1, 1600)
    wav[:, ::2] = -1
    wav[:, 300:310] = 1
    assert torch.equal(finished(wav, 16_000, 0.1), wav)
    assert float(resample(wav, 16_000, 48_000).abs().max()) > 1
    faster = finished(wav, 16_000, 0.1, to_rate=48_000)
    assert faster.shape == (1, 4800)
    assert 0.999 < float(faster.abs().max()) <= 1
