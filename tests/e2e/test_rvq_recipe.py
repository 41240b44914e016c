"""The token codec's recipe at its smallest: a crash changes nothing, and the tokens decode."""

from pathlib import Path

import pytest
import torch

from audiogen.codecs import load_codec
from audiogen.experiment import load_config
from audiogen.storage import read_tensors
from audiogen.training.loop.tracking import Tracker
from audiogen.training.stages import train

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "tiny" / "rvq.yaml"


@pytest.mark.slow
def test_a_crash_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_config(RECIPE, [f"run_dir={tmp_path / 'whole'}"])
    train(whole)
    crashed = load_config(RECIPE, [f"run_dir={tmp_path / 'crashed'}"])

    def crash(_: Tracker, step: int, __: object) -> None:
        if step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Tracker, "log", crash)
        with pytest.raises(KeyboardInterrupt):
            train(crashed)
    train(crashed)
    expected, found = (
        read_tensors(config.run_dir / "codec" / "model" / "weights.safetensors")
        for config in (whole, crashed)
    )
    assert expected.keys() == found.keys()
    assert "bottleneck.codebooks.entries" in found
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    codec = load_codec(whole.run_dir / "codec" / "model")
    tokens = codec.encode(0.1 * torch.randn(1, 1, 16000))
    assert tokens.shape == (1, 4, 32)
    assert int(tokens.max()) < 32
    assert codec.decode(tokens[:, :2]).shape == (1, 1, 32 * 512)
