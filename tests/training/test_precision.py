"""The choice of precision follows the request, then the hardware."""

from typing import Any

import pytest
import torch

from audiogen.training.distributed.launch import choose_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("abilities", "choice"),
    [({"avx2": True}, "no"), ({"avx512_bf16": False}, "no"), ({"amx_bf16": True}, "bf16")],
)
def test_auto_on_cpu_takes_bf16_where_the_hardware_has_it(
    monkeypatch: pytest.MonkeyPatch, abilities: dict[str, Any], choice: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    chosen, reason = choose_precision(CPU, "auto")
    assert chosen == choice
    assert "\n" not in reason
    assert choose_precision(CPU, "fp32")[0] == "no"
    assert choose_precision(CPU, "bf16")[0] == "bf16"


def test_another_device_trains_in_float32() -> None:
    assert choose_precision(torch.device("mps"), "auto")[0] == "no"


@pytest.mark.parametrize("supported", [True, False])
def test_gpu(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GPU X")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: supported)
    chosen, reason = choose_precision(GPU, "auto")
    assert chosen == ("bf16" if supported else "no")
    assert ("GPU X" in reason) == supported
    assert choose_precision(GPU, "fp32")[0] == "no"
    if supported:
        assert choose_precision(GPU, "bf16")[0] == "bf16"
    else:
        with pytest.raises(ValueError, match="does not support"):
            choose_precision(GPU, "bf16")
