"""The machine is named as figures need it."""

import pytest
import torch

from audiogen.evaluation.machine import processor_name


def test_the_processor_is_named_with_its_instructions() -> None:
    name, _, instructions = processor_name().rpartition(", ")
    assert name
    assert instructions == torch.backends.cpu.get_cpu_capability()


def test_a_gpu_is_named_where_the_model_was_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    assert processor_name(torch.device("cuda", 0)) == "a GPU"
    assert processor_name(torch.device("cpu")) != "a GPU"
