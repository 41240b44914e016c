"""Numbers about a sound: how bright, busy, rough, steady and tonal; its pitch, key and tempo."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from torch import Tensor

from audiogen.audio.dsp import loudness_lufs, resample, stereo_correlation, to_channels
from audiogen.audio.io.decoding import SAMPLE_RATES_HZ
from audiogen.audio.pitch import track_pitch

FloatArray = npt.NDArray[np.float64]

OVERSAMPLING = 4
"""For true peaks (ITU-R BS.1770-4, annex 2)."""
FRAME_SECONDS = 0.046
FINE_SECONDS = 0.19
"""Frames in which partials of low tones lie apart."""
STEADY_SECONDS = 0.1
STEADY_DB = 6.0
"""Spread of the level at which stationarity is a half."""
FLOOR_DB = 60.0
"""Below the loudest moment of a band; what is quieter counts as this quiet."""
TONAL_DB = 30.0
"""Spectral flatness of a band, below 0 dB, from which it counts as entirely tonal."""
EVENT_DB = 3.0
"""A mean rise over all bands, within one hop, beyond that of the surroundings."""
EVENT_RATE = 22_050
ONSET_HOP = 256
LOWEST_HZ = 20.0
ONSET_HZ = EVENT_RATE / ONSET_HOP
ROUGH_HZ = (20.0, 150.0)
KEY_TONALITY, KEY_MATCH, KEY_MARGIN = 0.3, 0.7, 0.02
PERIODIC, PITCHED_SHARE = 0.8, 0.3
"""Periodicity from which a frame is periodic, and the share of the energy that must be so where a
sound has a pitch."""
PULSE_CLARITY = 0.4
CUT_HZ, CUT_WIDTH_HZ, CUT_DB = 4000.0, 1000.0, 20.0
"""Where a cut of the high frequencies is looked for from, between the means of which two stretches,
and from which difference on it is one."""
SILENCE = 1e-9
OF_SILENCE: Mapping[str, float] = {
    "event_density_hz": 0.0,
    "roughness": 0.0,
    "stationarity": 1.0,
    "tonality": 0.0,
}
PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
# Temperley (2007, chapter 6): how often each pitch class occurs in a key of C.
MAJOR = (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400)
MINOR = (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330)


@dataclass(frozen=True, kw_only=True)
class SoundMeasures:
    """What `measure_sound` finds; None is "there is none", as for the key of noise.

    Attributes:
        seconds: length.
        loudness_lufs: ITU-R BS.1770-4; None for silence, and so is `true_peak_db`.
        true_peak_db: dBTP, of the fourfold oversampled sound.
        brightness_hz: centroid of the magnitude spectrum, frames weighted by their energy.
        bandwidth_hz: where high frequencies were cut off, as in MP3 files; half the sample rate
            where they were not.
        event_density_hz: onsets per second.
        roughness: 0 to about 1: depth of the beating at 20 to 150 Hz within bands of hearing.
        stationarity: 1 for what stays the same, 0.5 where levels spread by 6 dB.
        tonality: 0 for noise of any colour, 1 for tones.
        pitch_hz: of a voice, a motor or an instrument: in the middle over time, where periodic.
        key: such as Amin or C#maj.
        tempo_bpm: beats per minute.
        stereo_correlation: of left and right; None for mono and where a side is silent.
    """

    seconds: float
    loudness_lufs: float | None
    true_peak_db: float | None
    brightness_hz: float | None
    bandwidth_hz: float | None
    event_density_hz: float
    roughness: float
    stationarity: float
    tonality: float
    pitch_hz: float | None
    key: str | None
    tempo_bpm: float | None
    stereo_correlation: float | None


def measure_sound(wav: Tensor, sample_rate: int) -> SoundMeasures:
    """Measure a sound; channels are averaged where one number is for all of them.

    Args:
        wav: The sound (C, T) of up to 5 channels.
        sample_rate: The rate of `wav` in Hz.

    Raises:
        ValueError: another shape, NaN, or a rate out of bounds.
    """
    names = [one.name for one in fields(SoundMeasures)]
    return SoundMeasures(**measure_some(wav, sample_rate, names))


def measure_some(wav: Tensor, sample_rate: int, names: Iterable[str]) -> dict[str, Any]:
    """Measure what is asked for alone, by the names of `SoundMeasures`; see `measure_sound`."""
    lufs = loudness_lufs(wav, sample_rate)
    seconds = wav.shape[1] / sample_rate
    if lufs == -math.inf:
        return {name: {"seconds": seconds, **OF_SILENCE}.get(name) for name in names}
    wav = wav.detach().cpu().float()
    mono = to_channels(wav, 1)[0]
    if float(mono.abs().max()) < SILENCE:  # sides that cancel are measured on one of them
        mono = wav[0]
    samples: FloatArray = mono.double().numpy()

    @functools.cache
    def onsets() -> FloatArray:
        return onset_strength(mono, sample_rate)

    @functools.cache
    def tonality() -> float:
        return _tonality(_frames(samples, sample_rate, FINE_SECONDS), sample_rate)

    measures: dict[str, Callable[[], float | str | None]] = {
        "seconds": lambda: seconds,
        "loudness_lufs": lambda: lufs,
        "true_peak_db": lambda: true_peak_db(wav, sample_rate),
        "brightness_hz": lambda: _brightness(samples, sample_rate),
        "bandwidth_hz": lambda: _bandwidth(samples, sample_rate),
        "event_density_hz": lambda: len(find_events(onsets())) / seconds,
        "roughness": lambda: _roughness(samples, sample_rate),
        "stationarity": lambda: _stationarity(samples, sample_rate),
        "tonality": tonality,
        "pitch_hz": lambda: _pitch(mono, sample_rate),
        "key": lambda: _key(samples, sample_rate) if tonality() >= KEY_TONALITY else None,
        "tempo_bpm": lambda: _tempo(onsets()),
        "stereo_correlation": lambda: stereo_correlation(wav),
    }
    return {name: measures[name]() for name in names}


def true_peak_db(wav: Tensor, sample_rate: int, *, ring: bool = False) -> float:
    """Peak of the sound between the samples too, dBTP; minus infinity for silence.

    Args:
        wav: The sound (C, T).
        sample_rate: The rate of `wav` in Hz. Where four times as much is more than is resampled
            here, the peak of the samples is returned.
        ring: Whether the sound is a loop, which has no ends.

    >>> true_peak_db(torch.tensor([[0.0, 0.5, 0.0, -0.5]] * 2).repeat(1, 8), 8000) > -6.02
    True
    """
    peak = float(wav.abs().max())
    if sample_rate * OVERSAMPLING <= SAMPLE_RATES_HZ[1]:
        turn = wav
        if ring:  # enough of the neighbouring turns that the filter sees no end
            width = 1024
            places = torch.arange(-width, wav.shape[1] + width) % wav.shape[1]
            turn = wav[:, places]
        peak = max(peak, float(resample(turn, sample_rate, OVERSAMPLING * sample_rate).abs().max()))
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def _frames(samples: FloatArray, sample_rate: int, seconds: float) -> FloatArray:
    """Power of Hann-windowed frames, (n, bins), half overlapping; a short sound is one frame."""
    size = 2 ** max(6, round(math.log2(seconds * sample_rate)))
    padded = np.pad(samples, (0, max(0, size - len(samples))))
    starts = np.arange(0, len(padded) - size + 1, size // 2)
    window = np.hanning(size + 1)[:-1]
    power: FloatArray = np.abs(np.fft.rfft(padded[starts[:, None] + np.arange(size)] * window)) ** 2
    return power


def _brightness(samples: FloatArray, sample_rate: int) -> float:
    power = _frames(samples, sample_rate, FRAME_SECONDS)
    hertz = np.linspace(0, sample_rate / 2, power.shape[1])
    magnitude = np.sqrt(power)
    centroids = magnitude @ hertz / np.maximum(magnitude.sum(axis=1), SILENCE)
    return float(np.average(centroids, weights=power.sum(axis=1) + SILENCE**2))


def _bandwidth(samples: FloatArray, sample_rate: int) -> float:
    """The steepest fall of the mean spectrum in dB, where it is as steep as a filter's."""
    power = _frames(samples, sample_rate, FRAME_SECONDS).mean(axis=0)
    levels = 10 * np.log10(power + 1e-16 * power.max() + SILENCE**4)
    width = sample_rate / 2 / (len(power) - 1)  # Hz of a bin
    reach = round(CUT_WIDTH_HZ / width)
    places = np.arange(round(CUT_HZ / width), len(levels) - reach // 2)
    if not len(places):
        return sample_rate / 2
    sums = np.concatenate([[0.0], np.cumsum(levels)])
    ends = np.minimum(len(levels), places + reach)
    below = (sums[places] - sums[places - reach]) / reach
    falls = below - (sums[ends] - sums[places]) / (ends - places)
    steepest = int(falls.argmax())
    return float(places[steepest] * width) if falls[steepest] >= CUT_DB else sample_rate / 2


@functools.cache
def _band_edges(sample_rate: int) -> tuple[float, ...]:
    """Edges in Hz of bands one Bark wide (Traunmueller 1990), from 50 Hz to the Nyquist rate."""
    top = 26.81 * (sample_rate / 2) / (1960 + sample_rate / 2) - 0.53
    barks = np.arange(0.15, top, 1.0)
    edges = 1960 * (barks + 0.53) / (26.28 - barks)
    return (*edges.tolist(), sample_rate / 2)


def _bands(power: FloatArray, sample_rate: int) -> list[FloatArray]:
    """Split bins (n, bins) from 20 Hz into bands of hearing, of at least eight bins each."""
    width = sample_rate / 2 / (power.shape[1] - 1)
    cuts = [math.ceil(LOWEST_HZ / width)]
    for edge in _band_edges(sample_rate):
        if round(edge / width) - cuts[-1] >= 8:
            cuts.append(round(edge / width))
    cuts = [*cuts[:-1], power.shape[1]] if len(cuts) > 1 else [0, power.shape[1]]
    return [power[:, low:high] for low, high in itertools.pairwise(cuts)]


def _tonality(power: FloatArray, sample_rate: int) -> float:
    """Spectral flatness (Johnston 1988), within bands so that the colour of noise has no say."""
    weights, values = [], []
    for band in _bands(power.mean(axis=0, keepdims=True), sample_rate):
        mean = float(band.mean())
        if mean > SILENCE**2:
            flatness_db = 10 * (np.log10(np.maximum(band, 1e-12 * mean)).mean() - math.log10(mean))
            values.append(min(1.0, max(0.0, -flatness_db / TONAL_DB)))
            weights.append(mean * band.shape[1])
    return float(np.average(values, weights=weights)) if values else 0.0


def _stationarity(samples: FloatArray, sample_rate: int) -> float:
    """From the spread over time, in dB, of the levels of bands, weighted by their energy."""
    size = max(32, min(round(STEADY_SECONDS * sample_rate), len(samples)))
    padded = np.pad(samples, (0, max(0, size - len(samples))))
    frames = padded[: len(padded) // size * size].reshape(-1, size)
    power = np.abs(np.fft.rfft(frames * np.hanning(size + 1)[:-1])) ** 2
    weights, spreads = [], []
    for band in _bands(power, sample_rate):
        level = band.sum(axis=1)
        if level.max() > SILENCE**2:
            level_db = 10 * np.log10(np.maximum(level, level.max() * 10 ** (-FLOOR_DB / 10)))
            spreads.append(float(level_db.std()))
            weights.append(float(level.sum()))
    spread = float(np.average(spreads, weights=weights)) if spreads else 0.0
    return 1 / (1 + spread / STEADY_DB)


def _roughness(samples: FloatArray, sample_rate: int) -> float:
    """Depth of the envelopes' beating, heaviest at 70 Hz (Fastl and Zwicker 2007, section 11)."""
    spectrum = np.fft.rfft(samples)
    seconds = len(samples) / sample_rate
    edges = np.array(_band_edges(sample_rate))
    total = depth = 0.0
    for low, high in zip(edges[:-2], edges[2:], strict=True):  # two Bark wide, half overlapping
        band = spectrum[round(low * seconds) : round(high * seconds)]
        energy = float((np.abs(band) ** 2).sum())
        if len(band) < 2 or energy < SILENCE**2:
            continue
        # The band alone, shifted down to 0 Hz: its envelope at as many samples as it needs.
        envelope = np.abs(np.fft.ifft(band, 2 ** math.ceil(math.log2(2 * len(band)))))
        first, last = math.ceil(ROUGH_HZ[0] * seconds), math.floor(ROUGH_HZ[1] * seconds)
        beating = 2 * np.abs(np.fft.rfft(envelope)[first : last + 1]) / envelope.sum()
        weight = np.arange(first, first + len(beating)) / seconds / 70
        weight = weight * np.exp(1 - weight)
        total += energy
        depth += energy * min(1.0, float(np.sqrt(((weight * beating) ** 2).sum())))
    return depth / total if total else 0.0


def _pitch(mono: Tensor, sample_rate: int) -> float | None:
    """Median pitch of the periodic frames of (T,), which count by their energy."""
    hop = round(FRAME_SECONDS * sample_rate)
    filled = F.pad(mono, (0, -len(mono) % hop))[None]
    octaves, periodicity = (one[0] for one in track_pitch(filled, sample_rate, hop))
    energy = filled.reshape(-1, hop).square().sum(dim=1)
    periodic = energy * (periodicity >= PERIODIC)
    if float(periodic.sum()) <= PITCHED_SHARE * float(energy.sum()):
        return None
    order = octaves.argsort()
    passed = periodic[order].cumsum(dim=0) >= periodic.sum() / 2
    return 2 ** float(octaves[order][int(passed.int().argmax())])


def _key(samples: FloatArray, sample_rate: int) -> str | None:
    """The key whose profile fits the pitch classes best, if it fits well and better than others."""
    import librosa  # noqa: PLC0415 (numba is slow to import)

    size = min(16384, 2 ** math.floor(math.log2(max(len(samples), 256))))
    chroma = librosa.feature.chroma_stft(
        y=samples.astype(np.float32),
        sr=sample_rate,
        n_fft=size,
        hop_length=size // 2,
        tuning=0.0,
        norm=None,
    ).mean(axis=1)
    if chroma.std() < SILENCE:
        return None
    fits = {
        f"{pitch}{mode}": float(np.corrcoef(np.roll(profile, number), chroma)[0, 1])
        for mode, profile in (("maj", MAJOR), ("min", MINOR))
        for number, pitch in enumerate(PITCHES)
    }
    best, second = sorted(fits, key=fits.__getitem__)[:-3:-1]
    clear = fits[best] >= KEY_MATCH and fits[best] - fits[second] >= KEY_MARGIN
    return best if clear else None


def onset_strength(mono: Tensor, sample_rate: int) -> FloatArray:
    """Mean rise of the mel bands from hop to hop, dB, at `ONSET_HZ`."""
    import librosa  # noqa: PLC0415 (numba is slow to import)

    samples = resample(mono[None], sample_rate, EVENT_RATE)[0].numpy()
    samples = np.pad(samples, (0, max(0, 1024 - len(samples))))
    mels = librosa.feature.melspectrogram(
        y=samples, sr=EVENT_RATE, n_fft=1024, hop_length=ONSET_HOP, n_mels=40, fmin=60.0
    )
    level = librosa.power_to_db(mels, ref=np.max, top_db=FLOOR_DB)
    # What starts with the sound is an event too: before it there was silence.
    rises = np.maximum(0, np.diff(level, axis=1, prepend=-FLOOR_DB)).mean(axis=0)
    rises[0] = rises[0] if rises[0] > FLOOR_DB / 4 else 0.0
    rises[-(1024 // ONSET_HOP) :] = 0  # frames that the end of the sound cuts
    strength: FloatArray = rises.astype(np.float64)
    return strength


def find_events(strength: FloatArray) -> list[int]:
    """Places of the peaks that stand out by `EVENT_DB` from a quarter of a second around.

    As `librosa.util.peak_pick` does, but without numba: functions that numba keeps on disk crash
    when two processes compiled them at once (numba issue 10128).
    """
    if len(strength) < 2:
        return []
    near, around = 4, round(0.25 * ONSET_HZ)
    padded = np.pad(strength, near)
    mean, there = (
        uniform_filter1d(values, 2 * around + 1, mode="constant")
        for values in (padded, np.ones(len(padded)))
    )
    is_top = padded == maximum_filter1d(padded, 2 * near + 1)
    is_peak = is_top & (padded >= mean / there + EVENT_DB)
    places: list[int] = []
    for place in np.flatnonzero(is_peak).tolist():
        if not places or place > places[-1] + near:
            places.append(place)
    return [place - near for place in places]


def _tempo(strength: FloatArray) -> float | None:
    """Tempo of 60 to 200 bpm at which the onsets repeat, if they do so clearly.

    The lag of the highest peak of the autocorrelation, between its samples by a parabola; of lags
    that are nearly as high the shortest.
    """
    centred = strength - strength.mean()
    lags = np.arange(math.floor(ONSET_HZ * 60 / 200), math.ceil(ONSET_HZ * 60 / 60) + 1)
    if len(centred) < 2 * lags[-1] or float(centred @ centred) < SILENCE:
        return None
    size = 2 ** math.ceil(math.log2(2 * len(centred)))
    correlation = np.fft.irfft(np.abs(np.fft.rfft(centred, size)) ** 2)[: lags[-1] + 2]
    correlation /= correlation[0] * (1 - np.arange(len(correlation)) / len(centred))
    # A hop may split a beat between two frames: neighbours count together.
    smooth = np.convolve(correlation, [0.5, 1.0, 0.5], mode="same")
    peaks = [lag for lag in lags if smooth[lag] >= max(smooth[lag - 1], smooth[lag + 1])]
    if not peaks:
        return None
    highest = max(smooth[lag] for lag in peaks)
    if highest < PULSE_CLARITY:
        return None
    lag = next(lag for lag in peaks if smooth[lag] >= 0.9 * highest)
    before, here, after = smooth[lag - 1 : lag + 2]
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(60 * ONSET_HZ / (lag + shift))
