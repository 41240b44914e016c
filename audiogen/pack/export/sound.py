"""One take made ready for a DAW: rate, level, edges, bits, and the metadata in the file."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

import audiogen
from audiogen.audio.dsp import loudness_lufs, resample
from audiogen.audio.io.chunks import Acid, Broadcast, Chunks, Cue, Sampler
from audiogen.audio.io.files import Encoding
from audiogen.audio.loops import resample_ring
from audiogen.audio.measure.measures import PITCHES, SoundMeasures, measure_sound, true_peak_db

Kind = Literal["Loops", "OneShots", "Textures"]
KINDS: tuple[Kind, ...] = ("Loops", "OneShots", "Textures")
Format = Literal["wav24", "wav16", "flac"]
FORMATS: Mapping[Format, tuple[str, Encoding]] = {
    "wav24": (".wav", "PCM_24"),
    "wav16": (".wav", "PCM_16"),
    "flac": (".flac", "PCM_24"),
}
BED_LUFS = -23.0
"""EBU R 128, of loops and textures."""
PEAK_DB = -1.0
"""dBFS of one-shots, and the limit of every true peak, dBTP."""
EDGE_SECONDS = 0.005
ONE_SHOT_SECONDS = 8.0
"""What is longer is a texture, whatever happens in it."""
ONE_SHOT_STATIONARITY = 0.4
ONE_SHOT_EVENTS = 3
SHORT_SECONDS = 0.5
"""What is shorter is a one-shot, however steady."""
ROOT_OCTAVE = 60  # MIDI note of C4


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Length of a loop in music; all None for a loop that is counted in samples alone."""

    bpm: float | None = None
    bars: int | None = None
    beats_per_bar: int | None = None

    @property
    def beats(self) -> int | None:
        """Of one turn."""
        if self.bars is None or self.beats_per_bar is None:
            return None
        return self.bars * self.beats_per_bar

    def num_samples(self, length: int, from_rate: int, to_rate: int) -> int:
        """Return the length at `to_rate` of a turn that has `length` samples at `from_rate`."""
        if self.bpm is None or self.beats is None:
            return max(1, round(length * to_rate / from_rate))
        return max(1, round(self.beats * 60 / self.bpm * to_rate))


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A sound as it is exported: wav (C, T), and what was measured on it."""

    wav: Tensor
    kind: Kind
    loop: Loop | None
    measures: SoundMeasures


def find_loop(told: Mapping[str, Any], path: Path) -> Loop | None:
    """Return what a sidecar tells of a loop; None for other takes.

    Raises:
        ValueError: its numbers are none, or out of bounds.
    """
    if "loop" not in told:
        return None
    given = told["loop"] if isinstance(told["loop"], dict) else {}
    values = {name: given.get(name) for name in ("bpm", "bars", "beats_per_bar")}
    if all(value is None for value in values.values()):
        return Loop()
    bounds = {"bpm": 999, "bars": 4096, "beats_per_bar": 64}
    numbers = {name: _number(value) for name, value in values.items()}
    for name, number in numbers.items():
        if not 1 <= number <= bounds[name]:
            raise ValueError(
                f"{path.with_suffix('.json')}: loop.{name} must be 1 to {bounds[name]},"
                f" got {values[name]!r}."
            )
    return Loop(
        bpm=numbers["bpm"],
        bars=int(numbers["bars"]),
        beats_per_bar=int(numbers["beats_per_bar"]),
    )


def _number(value: object) -> float:
    """Return a number of a JSON file as it is; NaN, which no bounds hold, for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value)


def make_ready(wav: Tensor, from_rate: int, to_rate: int, loop: Loop | None) -> Ready:
    """Bring a take (C, T) to `to_rate` Hz, without DC, at its level, with its edges.

    Loops are resampled on their ring to the length that their tempo asks for, and keep their
    ends. One-shots have 5 ms faded at both.
    """
    wav = wav - wav.mean(dim=1, keepdim=True)
    if loop is not None:
        wav = _ring_at(wav, loop, from_rate, to_rate)
        kind: Kind = "Loops"
    else:
        wav = resample(wav, from_rate, to_rate)
        kind = _kind(measure_sound(wav, to_rate))
    if kind == "OneShots":
        wav = _faded(wav, max(1, round(EDGE_SECONDS * to_rate)))
    wav = _levelled(wav, to_rate, kind)
    return Ready(wav=wav, kind=kind, loop=loop, measures=measure_sound(wav, to_rate))


def _ring_at(wav: Tensor, loop: Loop, from_rate: int, to_rate: int) -> Tensor:
    """Resample one turn; only rates are changed, so that no pitch moves beyond a sample's worth."""
    wanted = loop.num_samples(wav.shape[1], from_rate, to_rate)
    natural = wav.shape[1] * to_rate / from_rate
    if abs(wanted - natural) > max(2.0, 1e-3 * natural):
        raise ValueError(
            f"its loop of {wav.shape[1] / from_rate:.3f} s does not last the {loop.bars} bars at"
            f" {loop.bpm:g} bpm that its JSON file names"
        )
    return resample_ring(wav, wanted)


def _kind(found: SoundMeasures) -> Kind:
    """Tell a one-shot from a texture by length, steadiness and the number of events."""
    few = found.event_density_hz * found.seconds <= ONE_SHOT_EVENTS
    unsteady = found.stationarity < ONE_SHOT_STATIONARITY
    if found.seconds < SHORT_SECONDS or (found.seconds <= ONE_SHOT_SECONDS and few and unsteady):
        return "OneShots"
    return "Textures"


def _faded(wav: Tensor, width: int) -> Tensor:
    """Fade both edges with half a raised cosine."""
    width = min(width, wav.shape[1] // 2)
    slope = 0.5 - 0.5 * torch.cos(torch.pi * torch.arange(width) / max(1, width))
    wav = wav.clone()
    wav[:, :width] *= slope
    wav[:, wav.shape[1] - width :] *= slope.flip(0)
    return wav


def _levelled(wav: Tensor, rate: int, kind: Kind) -> Tensor:
    """Scale by one gain: beds to -23 LUFS, one-shots to -1 dBFS, none above -1 dBTP."""
    lufs = loudness_lufs(wav, rate)
    if lufs == -math.inf:
        return wav
    top = PEAK_DB - 0.01  # rounding to bits, and dither, may add to it
    gain_db = top - true_peak_db(wav, rate, ring=kind == "Loops")
    if kind != "OneShots":
        gain_db = min(gain_db, BED_LUFS - lufs)
    return wav * 10 ** (gain_db / 20)


def dithered(wav: Tensor, seed_text: str) -> Tensor:
    """Round to 16 bits with triangular dither of two steps; the same text gives the same bits."""
    generator = torch.Generator().manual_seed(zlib.crc32(seed_text.encode()))
    noise = torch.rand(2, *wav.shape, generator=generator, dtype=torch.float64)
    steps = (wav.double() * 32768 + noise[0] - noise[1]).round().clamp(-32768, 32767)
    return (steps / 32768).float()


def describe(ready: Ready, told: Mapping[str, Any], *, pack: str, name: str, made: float) -> Chunks:
    """Return the metadata of an exported file.

    Args:
        ready: the sound.
        told: the take's sidecar.
        pack: name of the pack.
        name: of the file, without suffix.
        made: when the take was made, seconds since 1970.
    """
    prompt = str(told.get("prompt", ""))
    licences = licences_of(told)
    seed, model = str(told.get("seed", "")), str(told.get("model", ""))
    when, found = datetime.fromtimestamp(made, UTC), ready.measures
    length, root = ready.wav.shape[1], _root_note(found.key)
    loop = ready.loop
    fields = {
        "PROJECT": pack,
        "NOTE": prompt,
        "USER/SEED": seed,
        "USER/MODEL": model,
        "USER/MODEL_DIGEST": str(told.get("model_digest", "")),
        "USER/LICENCES": ", ".join(licences),
        "USER/KEY": found.key or "",
        "USER/TEMPO": "" if loop is None or loop.bpm is None else f"{loop.bpm:g}",
    }
    info = {
        "INAM": prompt or name,
        "ISFT": f"audiogen {audiogen.__version__}",
        "ICOP": "Training sounds: " + (", ".join(licences) or "licences not stated"),
        "ICMT": f"seed {seed}, model {model}" if seed or model else "",
    }
    return Chunks(
        sampler=Sampler(
            root_note=ROOT_OCTAVE if root is None else root,
            loops=() if loop is None else ((0, length),),
        ),
        acid=Acid(
            one_shot=ready.kind == "OneShots",
            root_note=root,
            beats=(loop.beats or 0) if loop else 0,
            beats_per_bar=(loop.beats_per_bar or 4) if loop else 4,
            bpm=(loop.bpm or 0.0) if loop else 0.0,
        ),
        cues=() if loop is None else _bar_cues(loop, length),
        broadcast=Broadcast(
            description=prompt,
            originator="audiogen",
            reference=str(told.get("model_digest", ""))[:16] + "-" + seed[:12],
            date=when.strftime("%Y-%m-%d"),
            time=when.strftime("%H:%M:%S"),
            loudness_lufs=_level(found.loudness_lufs),
            true_peak_db=_level(found.true_peak_db),
        ),
        ixml={key: value for key, value in fields.items() if value},
        info={key: value for key, value in info.items() if value},
    )


def licences_of(told: Mapping[str, Any]) -> list[str]:
    """Return the licences of the training sounds that a sidecar names."""
    given = told.get("licences")
    return sorted(str(name) for name in given) if isinstance(given, dict) else []


def _bar_cues(loop: Loop, length: int) -> tuple[Cue, ...]:
    """A cue at each bar; at the start alone where bars are not known."""
    bars = min(loop.bars or 1, 256)
    places = (round(number * length / bars) for number in range(bars))
    return tuple(Cue(position=at, label=f"bar {n}") for n, at in enumerate(places, 1))


def _root_note(key: str | None) -> int | None:
    return None if key is None else ROOT_OCTAVE + PITCHES.index(key[:-3])


def _level(value: float | None) -> float | None:
    """A level that two bytes of hundredths can hold."""
    return None if value is None else max(-327.0, min(327.0, value))
