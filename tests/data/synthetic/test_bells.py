import numpy as np
import pytest

from audiogen.data.synthetic.bells import toll
from audiogen.data.synthetic.canvas import Canvas, Signal


def ringing(seed: int, *, rate: int = 16000, prime: float = 400.0) -> Signal:
    canvas = Canvas(3 * rate, rate, 2, np.random.default_rng(seed))
    return toll(canvas, "church", prime, np.array([0.1]), doublets=True)


@pytest.mark.parametrize("seed", range(4))
def test_a_bell_rings_at_its_pitch_and_dies_away(seed: int) -> None:
    sound = ringing(seed).sum(axis=0)
    early, late = sound[3200:16000], sound[-12800:]
    assert late.std() < 0.8 * early.std()
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    freqs = np.fft.rfftfreq(len(sound), 1 / 16000)
    ratio = freqs[power > 1e-3 * power.max()] / 400.0
    assert ratio.min() > 0.45
    assert ((np.abs(ratio - 1.0) < 0.04) | (np.abs(ratio - 2.0) < 0.08)).any()


def test_bells_of_one_pitch_differ() -> None:
    spectra = []
    for seed in range(6):
        power = np.abs(np.fft.rfft(ringing(seed)[0])) ** 2
        spectra.append(np.log(np.add.reduceat(power, np.geomspace(30, 20000, 40).astype(int))))
    apart = np.std(spectra, axis=0).mean()
    assert apart > 0.5


def test_beats_are_not_the_same_on_both_sides() -> None:
    left, right = np.abs(ringing(1))
    assert not np.allclose(left, right)
