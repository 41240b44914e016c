"""The machine is named as figures need it."""

import platform

import pytest
import torch

from audiogen import machine
from audiogen.machine import processor_name


def test_the_processor_is_named_with_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    name, _, instructions = processor_name().rpartition(", ")
    assert name
    assert instructions == torch.backends.cpu.get_cpu_capability()


def test_a_gpu_is_named_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert processor_name() == "a GPU"


@pytest.mark.parametrize("mkl", [True, False])
@pytest.mark.parametrize("vendor", ["GenuineIntel", "AuthenticAMD"])
def test_mkl_is_fast_on_the_processors_of_its_vendor(
    vendor: str, mkl: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    monkeypatch.setattr(machine, "_cpuinfo", lambda field: {"vendor_id": vendor}[field])
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert machine.has_fast_mkl.__wrapped__() is (mkl and vendor == "GenuineIntel")
