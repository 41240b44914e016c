"""The choice follows the request, then the device, then the measurement."""

import pytest
import torch

from audiogen.training.loop import precision
from audiogen.training.loop.precision import choose_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("speedup", "choice"), [(1.49, "no"), (1.5, "bf16"), (3.9, "bf16")])
def test_auto_on_cpu_takes_bf16_when_it_pays(
    monkeypatch: pytest.MonkeyPatch, speedup: float, choice: str
) -> None:
    monkeypatch.setattr(precision, "measure_bf16_speedup", lambda: speedup)
    chosen, reason = choose_precision(CPU, "auto")
    assert chosen == choice
    assert f"{speedup:.1f}x" in reason
    assert "\n" not in reason


def test_the_measurement_leaves_random_numbers_alone() -> None:
    state = torch.get_rng_state()
    speedup = precision.measure_bf16_speedup()
    assert 0.001 < speedup < 100
    assert torch.equal(torch.get_rng_state(), state)


def test_requests_are_obeyed_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "measure_bf16_speedup", lambda: pytest.fail("measured"))
    assert choose_precision(CPU, "fp32")[0] == "no"
    assert choose_precision(CPU, "bf16")[0] == "bf16"
    assert choose_precision(torch.device("mps"), "auto")[0] == "no"


@pytest.mark.parametrize("supported", [True, False])
def test_gpu(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GPU X")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: supported)
    chosen, reason = choose_precision(GPU, "auto")
    assert chosen == ("bf16" if supported else "no")
    assert "GPU X" in reason
    assert choose_precision(GPU, "fp32")[0] == "no"
    if supported:
        assert choose_precision(GPU, "bf16")[0] == "bf16"
    else:
        with pytest.raises(ValueError, match="GPU X does not support"):
            choose_precision(GPU, "bf16")
