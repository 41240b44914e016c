"""Building blocks of the sound textures: noise with a moving spectrum, grains, modes, oscillators.

A texture is a statistical process: filtered noise, many small random events, or ringing modes
(Farnell, "Designing Sound", MIT Press 2010; McDermott & Simoncelli 2011). Signals are float64
arrays (C, T), a control curve is (T,).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfftfreq
from scipy.signal import butter, lfilter, sosfilt

Signal = NDArray[np.float64]

TOP_OF_BAND = 0.45  # highest frequency that is used, as a part of the sample rate
CONTROL_RATE = 100.0  # control points per second; slower than any pitch, faster than any gust


@dataclass(frozen=True)
class Canvas:
    """The empty clip that a family fills, and the random stream it fills it from.

    Attributes:
        num_samples: T.
        sample_rate: Hz.
        num_channels: C, 1 or 2.
        rng: random stream of this clip alone.
    """

    num_samples: int
    sample_rate: int
    num_channels: int
    rng: np.random.Generator

    @property
    def seconds(self) -> float:
        """Length of the clip in seconds."""
        return self.num_samples / self.sample_rate

    @property
    def top_hz(self) -> float:
        """Highest frequency that the sample rate carries safely."""
        return TOP_OF_BAND * self.sample_rate

    def time(self, seconds: float | None = None) -> Signal:
        """Seconds of each sample (T,), or of those of a piece of `seconds`."""
        length = self.num_samples if seconds is None else round(seconds * self.sample_rate)
        return np.arange(length) / self.sample_rate

    def silence(self) -> Signal:
        """Nothing yet (C, T)."""
        return np.zeros((self.num_channels, self.num_samples))

    def mono(self) -> Canvas:
        """The same clip with one channel, for a sound at one place; see `pan`."""
        return replace(self, num_channels=1)

    def octaves(self, low: float, high: float, size: int) -> Signal:
        """`size` values between `low` and `high`, uniform in octaves (both must be above 0)."""
        return np.exp(self.rng.uniform(math.log(low), math.log(high), size))

    def shaped_noise(self, magnitude: Callable[[Signal], Signal]) -> Signal:
        """Steady noise (C, T) of RMS 1 whose spectrum follows `magnitude(freqs)`."""
        length = next_fast_len(self.num_samples, real=True)
        weights = magnitude(rfftfreq(length, 1 / self.sample_rate))
        shape = (self.num_channels, len(weights), 2)
        noise = self.rng.standard_normal(shape).view(np.complex128)[..., 0] * weights
        return unit_rms(np.asarray(irfft(noise, length))[:, : self.num_samples])

    def moving_noise(self, magnitude: Callable[[Signal, Signal], Signal]) -> Signal:
        """Noise whose spectrum moves: overlap-added frames of random phase.

        Args:
            magnitude: gets the frequencies in Hz (1, F) and, per frame, the index of its middle
                sample (M, 1), and returns the magnitude (M, F). Its scale is kept.

        Returns:
            Noise (C, T); a flat magnitude of 1 gives an RMS of 1.
        """
        frame = 2 ** round(math.log2(0.046 * self.sample_rate))
        hop = frame // 4
        num_frames = 4 * math.ceil((self.num_samples / hop + 4) / 4)
        middles = np.arange(num_frames) * hop + frame // 2 - 3 * hop
        middles = np.clip(middles, 0, self.num_samples - 1)[:, None]
        weights = magnitude(rfftfreq(frame, 1 / self.sample_rate)[None], middles)
        shape = (self.num_channels, *weights.shape, 2)
        spectra = self.rng.standard_normal(shape).view(np.complex128)[..., 0] * weights
        window = np.hanning(frame + 1)[:-1]  # its squares add up to 1.5 at a quarter frame's hop
        frames = irfft(spectra, frame) * (window * math.sqrt(frame / 2 / 1.5))
        out = np.zeros((self.num_channels, (num_frames + 4) * hop))
        for phase in range(4):  # every fourth frame lies end to end with the next
            chain = frames[:, phase::4].reshape(self.num_channels, -1)
            out[:, phase * hop : phase * hop + chain.shape[1]] += chain
        return out[:, 3 * hop : 3 * hop + self.num_samples]

    def drift(self, top_hz: float, *, slope: float = 0.5) -> Signal:
        """Slow random curve (T,) of mean 0 and variance near 1: 1/f^slope magnitude up to `top_hz`.

        Natural modulations are of the 1/f kind (Voss & Clarke 1975; Attias & Schreiner 1997).
        """
        points = int(self.seconds * CONTROL_RATE) + 2
        length = next_fast_len(points + int(4 * CONTROL_RATE), real=True)  # room for the slow part
        freqs = rfftfreq(length, 1 / CONTROL_RATE)
        weights = np.maximum(freqs, 0.15) ** -slope / (1 + (freqs / top_hz) ** 4)
        weights[0] = 0.0
        noise = self.rng.standard_normal((len(freqs), 2)).view(np.complex128)[:, 0]
        curve = np.asarray(irfft(noise * weights, length))
        curve = curve[:points] / curve.std()
        return np.asarray(np.interp(self.time() * CONTROL_RATE, np.arange(points), curve))

    def poisson_times(self, rate_hz: float) -> Signal:
        """Start times in seconds of a Poisson process over the whole clip; at least one event."""
        count = max(1, int(self.rng.poisson(rate_hz * self.seconds)))
        return np.sort(self.rng.uniform(0.0, self.seconds, count))

    def regular_times(self, period: float, *, jitter: float, first: float = 0.1) -> Signal:
        """Start times in seconds, `period` apart, each moved by up to `jitter` of a period.

        The first one lies near `first` seconds, earlier in a clip too short for that.
        """
        start = min(first, 0.2 * self.seconds)
        count = max(1, math.ceil((self.seconds - start) / period))
        moves = self.rng.uniform(-jitter, jitter, count)
        return np.maximum(start + period * (np.arange(count) + moves), 0.0)

    def envelope_draws(self, envelope: Signal, count: int) -> Signal:
        """`count` times in seconds, as dense as `envelope` (T,) is high."""
        heights = np.cumsum(np.maximum(envelope, 0.0))
        places = self.rng.uniform(0.0, heights[-1], count)
        return np.sort(np.searchsorted(heights, places) / self.sample_rate)

    def sine_grains(
        self, freqs: Signal, decays: Signal, seconds: float, *, rise: float = 0.0
    ) -> Signal:
        """Decaying sines (N, L), one a row: `freqs` in Hz, `decays` in 1/s.

        With `rise` the pitch climbs by that part of the decay rate, as a bubble's does near the
        surface: f(t) = f0 (1 + rise * decay * t) (van den Doel 2005).
        """
        t = self.time(seconds).astype(np.float32)
        f = np.minimum(freqs, self.top_hz).astype(np.float32)[:, None]
        d = decays.astype(np.float32)[:, None]
        turns = f * t if rise == 0.0 else f * t * (1 + np.float32(0.5 * rise) * d * t)
        return np.asarray(np.sin(np.float32(2 * np.pi) * turns) * np.exp(-d * t), dtype=np.float64)

    def noise_grains(self, decays: Signal, seconds: float) -> Signal:
        """Decaying bursts of white noise (N, L); `decays` in 1/s."""
        t = self.time(seconds).astype(np.float32)
        noise = self.rng.standard_normal((len(decays), len(t)), dtype=np.float32)
        return np.asarray(noise * np.exp(-decays.astype(np.float32)[:, None] * t), dtype=np.float64)

    def add_grains(self, times: Signal, grains: Signal, *, width: float = 1.0) -> Signal:
        """Lay grains (N, L) down at `times` (N,) seconds: (C, T), each at its own place in stereo.

        Places are drawn within `width` of the stage: level by a constant-power law, and a delay of
        at most 0.6 ms at the farther ear.
        """
        length = grains.shape[1]
        places = self.rng.uniform(-width, width, len(times))
        channels = []
        for side in np.linspace(-1.0, 1.0, 2)[: self.num_channels]:
            gains = np.cos(np.pi / 4 * (1 - side * places)) if self.num_channels == 2 else 1.0
            delays = 0.0003 * (1 - side * places) if self.num_channels == 2 else 0.0
            starts = ((times + delays) * self.sample_rate).astype(np.int64)
            starts = np.minimum(starts, self.num_samples - 1)
            index = starts[:, None] + np.arange(length)
            weights = grains * np.broadcast_to(gains, len(times))[:, None]
            total = np.bincount(index.ravel(), weights.ravel(), self.num_samples + length)
            channels.append(total[: self.num_samples])
        return np.stack(channels)

    def resonate(self, excitation: Signal, modes: Signal) -> Signal:
        """Ring a bank of modes with an excitation (C, T): modal synthesis (Adrien 1991; Cook 1997).

        Modes (N, 3) are rows of frequency in Hz, decay in 1/s and gain; those above the band are
        left out.
        """
        out = np.zeros_like(excitation)
        for freq, decay, gain in modes:
            if freq >= self.top_hz:
                continue
            radius = math.exp(-decay / self.sample_rate)
            angle = 2 * math.pi * freq / self.sample_rate
            poles = [1.0, -2 * radius * math.cos(angle), radius * radius]
            out += lfilter([0.0, gain * math.sin(angle)], poles, excitation)
        return out

    def band(self, signal: Signal, low_hz: float, high_hz: float) -> Signal:
        """Second-order Butterworth band; a `low_hz` of 0 or a `high_hz` above the band is open."""
        top = min(high_hz, self.top_hz)
        rate = self.sample_rate
        if low_hz <= 0.0:
            sections = butter(2, top, "lowpass", fs=rate, output="sos")
        elif high_hz >= self.top_hz:
            sections = butter(2, min(low_hz, 0.8 * top), "highpass", fs=rate, output="sos")
        else:
            sections = butter(2, (min(low_hz, 0.8 * top), top), "bandpass", fs=rate, output="sos")
        return np.asarray(sosfilt(sections, signal))

    def pan(self, mono: Signal, place: float) -> Signal:
        """Put a sound (T,) at a place from -1 (left) to 1 (right): (C, T).

        Its level follows, and a delay of up to 0.6 ms.
        """
        if self.num_channels == 1:
            return mono[None]
        lag = round(0.0006 * place * self.sample_rate)
        left = np.roll(mono, max(lag, 0)) * math.cos(math.pi / 4 * (1 + place))
        right = np.roll(mono, max(-lag, 0)) * math.cos(math.pi / 4 * (1 - place))
        return np.stack([left, right])


def between(low: float, high: float, position: float) -> float:
    """Geometric interpolation: `low` at position 0, `high` at 1 (both above 0)."""
    return low * math.exp(position * math.log(high / low))


def hump(freqs: Signal, centre: float | Signal, width: float) -> Signal:
    """Bell of height 1 around `centre` Hz, `width` octaves wide (standard deviation)."""
    octaves = np.log2(np.maximum(freqs, 1.0) / centre)
    return np.asarray(np.exp(-0.5 * (octaves / width) ** 2), dtype=np.float64)


def oscillator(turns: Signal, harmonics: Signal, phases: Signal) -> Signal:
    """Periodic tone from its phase in turns, with the given harmonic magnitudes from the first."""
    spectrum = np.zeros(1025, dtype=np.complex128)
    count = min(len(harmonics), 512)
    spectrum[1 : count + 1] = 1024 * harmonics[:count] * np.exp(1j * phases[:count])
    table = np.asarray(irfft(spectrum, 2048))
    table = np.append(table, table[0])
    return np.asarray(np.interp(turns % 1.0, np.linspace(0.0, 1.0, 2049), table))


def unit_rms(signal: Signal) -> Signal:
    """The signal with a root mean square of 1 over all channels; silence stays silence."""
    rms = math.sqrt(float(np.mean(signal**2)))
    return signal / rms if rms > 0.0 else signal


def unit_peak(signal: Signal) -> Signal:
    """The signal with a largest magnitude of 1; silence stays silence."""
    peak = float(np.abs(signal).max())
    return signal / peak if peak > 0.0 else signal
