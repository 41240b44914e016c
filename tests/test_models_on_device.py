"""Takes, edits and tokens on a device: those of the CPU, and no tensor is left behind."""

import json
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pretend_device
import pytest
import torch
from torch import Tensor

from audiogen import devices
from audiogen.audio.io.files import read_audio
from audiogen.devices import usable_device
from audiogen.evaluation.metrics.embedding import SoundEffectEmbedding, why_no_embedding
from audiogen.generators import AutoregressiveConfig, MaskedConfig, build_generator
from audiogen.pipeline import Pipeline
from audiogen.take_request import TakeRequest, Variation
from audiogen.takes import editing, morph
from audiogen.takes.making import write_takes
from audiogen.takes.sources import EditRequest
from audiogen.types import Conditions, LatentSpec

ROOT = Path(__file__).resolve().parents[1]
HERE = "cpu"
THERE = "pretend:0"
ROUNDING = 5e-3
"""Of a waveform: other kernels round otherwise."""


# Which device


@pytest.fixture
def unusable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with an NVIDIA GPU, and a torch that cannot use it."""
    (tmp_path / "version").touch()
    monkeypatch.setattr(devices, "NVIDIA_DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)


@pytest.mark.usefixtures("unusable")
def test_a_gpu_that_torch_cannot_use_is_no_silent_day_on_the_cpu() -> None:
    with pytest.raises(ValueError, match=r"NVIDIA GPU that torch .* cannot use") as caught:
        usable_device()
    assert len(str(caught.value).splitlines()) <= 4
    assert usable_device(HERE) == torch.device(HERE)


@pytest.mark.usefixtures("unusable")
@pytest.mark.parametrize(
    ("name", "value"),
    [("ACCELERATE_USE_CPU", "true"), ("CUDA_VISIBLE_DEVICES", ""), ("CUDA_VISIBLE_DEVICES", "-1")],
)
def test_whoever_wants_the_cpu_gets_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert usable_device() == torch.device(HERE)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "xpu"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"device {name}: torch .* cannot use it") as caught:
        usable_device(name)
    assert len(str(caught.value).splitlines()) <= 4


# What models make there


def a_take(pipeline: Pipeline, **asked: Any) -> list[Tensor]:
    sampling = pipeline.config.sample.model_copy(update={"steps": 2})
    lengths = asked.pop("lengths", (1.5, 1.5))
    requests = [
        TakeRequest(prompt=prompt, seconds=seconds, seed=7, sampling=sampling, **asked)
        for prompt, seconds in zip(("rain", "a bell"), lengths, strict=True)
    ]
    return pipeline.takes(requests)


def base(device: str, model: Path) -> Iterator[Tensor]:
    """A take of a real model, whose prompts are read by a real text encoder."""
    del model
    yield from a_take(Pipeline.from_pretrained("base", device=device))


def takes(device: str, model: Path) -> Iterator[Tensor]:
    """Of every kind."""
    pipeline = pipeline_of(device, model)
    yield from a_take(pipeline)
    yield from a_take(pipeline, lengths=(0.6, 1.5))
    yield from a_take(pipeline, lengths=(2.7, 2.7))  # longer than what the model hears at once
    yield from a_take(pipeline, loop=True)
    yield from a_take(pipeline, negative_prompt="wind", controls={"brightness": 2000.0})
    yield from a_take(pipeline, variation=Variation(from_seed=3, amount=0.5), transpose=2.0)


def pipeline_of(device: str, model: Path) -> Pipeline:
    pipeline = Pipeline.from_pretrained(model, device=device)
    assert str(pipeline.codec.device) == device
    return pipeline


def edits(device: str, model: Path) -> Iterator[Tensor]:
    """Of every kind, of files of the CPU."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pipeline = pipeline_of(HERE, model)
        asked = TakeRequest.of_each(["rain", "wind"], [3], seconds=1.5)
        first, second = write_takes(pipeline, asked, folder)
        bare = folder / "bare.wav"
        bare.write_bytes(first.read_bytes())
        request = EditRequest(out=folder / "edits", steps=2, device=device)
        for path in (
            *editing.vary(model, first, request, amount=0.5, count=1),
            editing.transpose(model, first, request, semitones=-3.0),
            *morph.morph(model, first, second, request, count=3)[1:2],
            *editing.vary(model, bare, request, amount=0.5, count=1),
            editing.inpaint(model, bare, request, regions=["0.5:0.9"]),
            editing.extend(model, bare, request, seconds=2.5, before=False),
            *morph.morph(model, bare, second, request, count=3)[1:2],
        ):
            yield read_audio(path)[0]


def tokens(device: str, model: Path) -> Iterator[Tensor]:
    """Of both families, which are exact. An LSTM is one operation that the device has not."""
    del model
    spec = LatentSpec(
        kind="tokens",
        channels=3,
        vocab_size=16,
        hop_length=512,
        sample_rate=16_000,
        audio_channels=1,
    )
    size = {"dim": 32, "depth": 2, "num_heads": 2}
    asked = Conditions(
        text=torch.randn(2, 4, 8, generator=torch.manual_seed(1)),
        text_mask=torch.ones(2, 4, dtype=torch.bool),
        pooled=torch.randn(2, 8, generator=torch.manual_seed(2)),
        controls={"seconds": torch.ones(2), "role": torch.zeros(2)},
    ).to(torch.device(device))
    for config in (AutoregressiveConfig(**size), MaskedConfig(**size)):
        torch.manual_seed(0)
        generator = build_generator(config, spec, text_dim=8, window_frames=12).eval()
        generator.to(torch.device(device))
        sampling = generator.sampling(guidance_scale=2.0)
        yield generator.sample(asked, 12, sampling=sampling, seeds=[1, 2])


def embeddings(device: str, model: Path) -> Iterator[Tensor]:
    """Of the network that takes and recordings are compared by."""
    del model
    if not why_no_embedding():
        wav = 0.1 * torch.randn(1, 44_100, generator=torch.manual_seed(3))
        yield torch.from_numpy(SoundEffectEmbedding(torch.device(device))([wav], 44_100))


MADE: dict[str, Callable[[str, Path], Iterator[Tensor]]] = {
    made.__name__: made for made in (base, takes, edits, tokens, embeddings)
}


@pytest.fixture(scope="module")
def problems(make_model: Callable[..., Path]) -> dict[str, str]:
    """What was wrong in each check; they share a process of their own, which has the device."""
    if pretend_device.register is None:
        pytest.skip("this torch has no devices that are written in Python")
    model = make_model(trunk="harmonic", controls={"brightness": (200.0, 6000.0)})
    done = subprocess.run(
        [sys.executable, __file__, str(model)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_on_the_pretend_device(name: str, problems: dict[str, str]) -> None:
    assert not problems[name]


def difference(name: str, model: Path, wanted: list[Tensor]) -> str:
    """How what is made on the device is other than on the CPU; empty where it is the same."""
    try:
        found = [one.cpu() for one in MADE[name](THERE, model)]
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            if one.shape != other.shape or float((one - other).abs().max()) > ROUNDING:
                return f"number {number} differs"
    except Exception:
        return traceback.format_exc(limit=-8)
    return ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = Path(sys.argv[1])
    made = {name: list(function(HERE, given)) for name, function in MADE.items()}
    with pretend_device.pretend_device():
        told = {name: difference(name, given, wanted) for name, wanted in made.items()}
    sys.stdout.write(json.dumps(told))
