"""One take made ready for a DAW: rate, level, edges, bits, and the metadata in the file."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

import torch
from torch import Tensor

import audiogen
from audiogen.audio.dsp import PEAK_DB, TARGET_LUFS, loudness_lufs, resample
from audiogen.audio.io.files import Encoding
from audiogen.audio.io.riff import Acid, Broadcast, Chunks, Cue, Sampler, plain_text
from audiogen.audio.loops import measure_seam, resample_ring
from audiogen.audio.measure.measures import PITCHES, SoundMeasures, measure_sound, true_peak_db
from audiogen.take_request import Tempo
from audiogen.takes.take import Take

Kind = Literal["Loops", "OneShots", "Textures"]
KINDS: tuple[Kind, ...] = ("Loops", "OneShots", "Textures")
Format = Literal["wav24", "wav16", "flac"]
FORMATS: Mapping[Format, tuple[str, Encoding]] = {
    "wav24": (".wav", "PCM_24"),
    "wav16": (".wav", "PCM_16"),
    "flac": (".flac", "PCM_24"),
}
EDGE_SECONDS = 0.005
ATTACK_SECONDS = 0.001
"""Of a one-shot, faded in before its first sound."""
LEAD_DB = -60.0
"""What lies below it, against the peak, in front of a one-shot is silence."""
ONE_SHOT_SECONDS = 8.0
"""What is longer is a texture, whatever happens in it."""
ONE_SHOT_STATIONARITY = 0.4
ONE_SHOT_EVENTS = 3
SHORT_SECONDS = 0.5
"""What is shorter is a one-shot, however steady."""
TITLE_CHARACTERS = 1000
ROOT_OCTAVE = 60  # MIDI note of C4


def make_ready(wav: Tensor, from_rate: int, to_rate: int, take: Take) -> tuple[Tensor, Kind, Take]:
    """Bring a sound (C, T) to `to_rate` Hz, without DC, at its level, with its edges.

    Loops are resampled on their ring to the length that their tempo asks for, and keep their
    ends. Textures have 5 ms faded at both; one-shots begin without silence, have 1 ms faded in
    and 5 ms faded out.

    Returns:
        The sound, what it is, and the take with what was measured on it.

    Raises:
        ValueError: a loop does not last the bars that the take tells of.
    """
    whole = wav
    wav = _without_dc(whole)
    if take.loop:
        wav = _ring_at(wav, take.tempo, from_rate, to_rate)
    else:
        wav = resample(wav, from_rate, to_rate)
    kind: Kind = "Loops" if take.loop else _kind(measure_sound(wav, to_rate))
    if kind == "OneShots":
        wav = resample(_without_dc(_without_lead(whole, from_rate)), from_rate, to_rate)
    if kind != "Loops":
        attack = ATTACK_SECONDS if kind == "OneShots" else EDGE_SECONDS
        wav = _faded(wav, round(attack * to_rate), round(EDGE_SECONDS * to_rate))
    wav = _levelled(wav, to_rate, kind)
    has_seam = take.loop and wav.shape[1] >= 16
    facts = {
        "measures": measure_sound(wav, to_rate),
        "sample_rate": to_rate,
        "samples": wav.shape[1],
        "seam": measure_seam(wav, to_rate) if has_seam else None,
    }
    return wav, kind, take.model_copy(update=facts)


def _ring_at(wav: Tensor, tempo: Tempo | None, from_rate: int, to_rate: int) -> Tensor:
    """Resample one turn; only rates are changed, so that no pitch moves beyond a sample's worth."""
    natural = wav.shape[1] * to_rate / from_rate
    wanted = max(1, round(natural if tempo is None else tempo.seconds * to_rate))
    if tempo is not None and abs(wanted - natural) > max(2.0, 1e-3 * natural):
        raise ValueError(
            f"its loop of {wav.shape[1] / from_rate:.3f} s does not last the {tempo.bars} bars at"
            f" {tempo.bpm:g} bpm that its JSON file names"
        )
    return resample_ring(wav, wanted)


def _kind(found: SoundMeasures) -> Kind:
    """Tell a one-shot from a texture by length, steadiness and the number of events."""
    few = found.event_density_hz * found.seconds <= ONE_SHOT_EVENTS
    unsteady = found.stationarity < ONE_SHOT_STATIONARITY
    if found.seconds < SHORT_SECONDS or (found.seconds <= ONE_SHOT_SECONDS and few and unsteady):
        return "OneShots"
    return "Textures"


def _without_dc(wav: Tensor) -> Tensor:
    return wav - wav.mean(dim=1, keepdim=True)


def _without_lead(wav: Tensor, rate: int) -> Tensor:
    """Cut the silence in front of a sound, but for what its attack is faded in over."""
    level = (wav - wav.median(dim=1, keepdim=True).values).abs().amax(dim=0)
    sounding = (level > level.max() * 10 ** (LEAD_DB / 20)).nonzero()
    first = int(sounding[0]) if len(sounding) else 0
    return wav[:, max(0, first - round(ATTACK_SECONDS * rate)) :]


def _faded(wav: Tensor, width_in: int, width_out: int) -> Tensor:
    """Fade both edges with half a raised cosine, over so many samples."""
    wav = wav.clone()
    half = wav.shape[1] // 2
    wav[:, : min(width_in, half)] *= _slope(min(width_in, half))
    wav[:, wav.shape[1] - min(width_out, half) :] *= _slope(min(width_out, half)).flip(0)
    return wav


def _slope(width: int) -> Tensor:
    return 0.5 - 0.5 * torch.cos(torch.pi * torch.arange(width) / max(1, width))


def _levelled(wav: Tensor, rate: int, kind: Kind) -> Tensor:
    """Scale by one gain: beds to -23 LUFS, one-shots to -1 dBFS, none above -1 dBTP."""
    lufs = loudness_lufs(wav, rate)
    if lufs == -math.inf:
        return wav
    top = PEAK_DB - 0.01  # rounding to bits, and dither, may add to it
    gain_db = top - true_peak_db(wav, rate, ring=kind == "Loops")
    if kind != "OneShots":
        gain_db = min(gain_db, TARGET_LUFS - lufs)
    return wav * 10 ** (gain_db / 20)


def dithered(wav: Tensor, seed_text: str) -> Tensor:
    """Round to 16 bits with triangular dither of two steps; the same text gives the same bits."""
    generator = torch.Generator().manual_seed(zlib.crc32(seed_text.encode()))
    noise = torch.rand(2, *wav.shape, generator=generator, dtype=torch.float64)
    steps = (wav.double() * 32768 + noise[0] - noise[1]).round().clamp(-32768, 32767)
    return (steps / 32768).float()


def describe(wav: Tensor, kind: Kind, take: Take, *, pack: str, name: str, made: float) -> Chunks:
    """Return the metadata of an exported file.

    Args:
        wav: (C, T), as it is exported.
        kind: the folder that it goes to.
        take: with what was measured on the sound.
        pack: name of the pack.
        name: of the file, without suffix.
        made: when the take was made, seconds since 1970.
    """
    licences = ", ".join(sorted(take.licences))
    seed = str(take.seed) if take.model else ""
    when, found = datetime.fromtimestamp(made, UTC), take.measures
    key = None if found is None else found.key
    root, tempo = _root_note(key), take.tempo
    fields = {
        "PROJECT": pack,
        "NOTE": take.prompt,
        "USER/SEED": seed,
        "USER/MODEL": take.model,
        "USER/MODEL_DIGEST": take.model_digest,
        "USER/LICENCES": licences,
        "USER/KEY": key or "",
        "USER/TEMPO": "" if tempo is None else f"{tempo.bpm:g}",
    }
    info = {
        "INAM": take.prompt or name,
        "ISFT": f"audiogen {audiogen.__version__}",
        "ICOP": "Training sounds: " + (licences or "licences not stated"),
        "ICMT": f"seed {seed}, model {take.model}" if take.model else "",
    }
    return Chunks(
        sampler=Sampler(
            root_note=ROOT_OCTAVE if root is None else root,
            loops=((0, wav.shape[1]),) if take.loop else (),
        ),
        acid=_acid(kind, tempo, root),
        cues=_bar_cues(tempo, wav.shape[1]) if take.loop else (),
        broadcast=Broadcast(
            description=take.prompt,
            originator="audiogen",
            reference=take.model_digest[:16] + "-" + seed[:12],
            date=when.strftime("%Y-%m-%d"),
            time=when.strftime("%H:%M:%S"),
            loudness_lufs=None if found is None else found.loudness_lufs,
            true_peak_db=None if found is None else found.true_peak_db,
        ),
        ixml={key: value for key, value in fields.items() if value},
        info={key: value for key, value in info.items() if value},
    )


def vorbis_comments(take: Take, *, pack: str, name: str) -> dict[str, str]:
    """Return the metadata of an exported FLAC file, by the names that soundfile gives them.

    Args:
        take: that the file is.
        pack: name of the pack.
        name: of the file, without suffix.
    """
    licences = ", ".join(sorted(take.licences))
    made = f"seed {take.seed}, model {take.model} {take.model_digest}"
    comments = {
        "title": plain_text(take.prompt or name)[:TITLE_CHARACTERS],
        "artist": take.model,
        "album": pack,
        "comment": made if take.model else "",
        "license": "Training sounds: " + (licences or "licences not stated"),
        "software": f"audiogen {audiogen.__version__}",
    }
    return {key: plain_text(value) for key, value in comments.items() if plain_text(value)}


def _acid(kind: Kind, tempo: Tempo | None, root: int | None) -> Acid | None:
    """What a DAW stretches by; None for what has no tempo and is no one-shot."""
    if kind == "OneShots":
        return Acid(one_shot=True, root_note=root, beats=0, beats_per_bar=4, bpm=0.0)
    if tempo is None:
        return None
    beats, per_bar = tempo.beats, tempo.beats_per_bar
    return Acid(one_shot=False, root_note=root, beats=beats, beats_per_bar=per_bar, bpm=tempo.bpm)


def _bar_cues(tempo: Tempo | None, length: int) -> tuple[Cue, ...]:
    """A cue at each bar; at the start alone where bars are not known."""
    bars = 1 if tempo is None else min(tempo.bars, 256)
    places = (round(number * length / bars) for number in range(bars))
    return tuple(Cue(position=at, label=f"bar {n}") for n, at in enumerate(places, 1))


def _root_note(key: str | None) -> int | None:
    return None if key is None else ROOT_OCTAVE + PITCHES.index(key[:-3])
