import numpy as np
import pytest

from audiogen.data.synthetic.canvas import Canvas, Signal
from audiogen.data.synthetic.motion import Passage, carried

RATE = 16000


def canvas(seconds: float = 4.0, channels: int = 1, rate: int = RATE) -> Canvas:
    return Canvas(round(seconds * rate), rate, channels, np.random.default_rng(0))


def tone(place: Canvas, hertz: float) -> Signal:
    return np.tile(np.sin(2 * np.pi * hertz * place.time()), (place.num_channels, 1))


def pitch_hz(sound: Signal, start: float, rate: int = RATE) -> float:
    """Frequency of the strongest bin of 0.4 s, by a parabola through its neighbours."""
    piece = sound[round(start * rate) : round((start + 0.4) * rate)]
    power = np.log(np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 8 * len(piece))) + 1e-12)
    top = int(power.argmax())
    below, middle, above = power[top - 1 : top + 2]
    offset = 0.5 * (below - above) / (below - 2 * middle + above)
    return float((top + offset) * rate / (8 * len(piece)))


@pytest.mark.parametrize("speed", [12.0, -25.0])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_pitch_is_shifted_as_physics_says(speed: float, rate: int) -> None:
    place = canvas(rate=rate)
    passage = Passage(speed=speed, metres=2.0, nearest=0.5)
    heard = carried(place, tone(place, 1000.0), passage)[0]
    coming, going = pitch_hz(heard, 0.3, rate), pitch_hz(heard, 3.4, rate)
    assert coming == pytest.approx(1000.0 / (1 - abs(speed) / 340.0), rel=0.003)
    assert going == pytest.approx(1000.0 / (1 + abs(speed) / 340.0), rel=0.003)


def test_it_is_loudest_and_brightest_where_it_is_nearest() -> None:
    place = canvas()
    sound = place.shaped_noise(np.ones_like)
    heard = carried(place, sound, Passage(speed=20.0, metres=6.0, nearest=0.5))[0]
    far, near = heard[: RATE // 2], heard[round(1.75 * RATE) : round(2.25 * RATE)]
    assert 3 * far.std() < near.std()
    roughness = [np.diff(piece).std() / piece.std() for piece in (far, near)]
    assert roughness[0] < 0.9 * roughness[1]


@pytest.mark.parametrize("speed", [15.0, -15.0])
def test_it_goes_from_one_side_to_the_other(speed: float) -> None:
    place = canvas(channels=2)
    sound = tone(place, 500.0)
    left, right = carried(place, sound, Passage(speed=speed, metres=5.0, nearest=0.5))
    begin, end = slice(0, RATE), slice(-RATE, None)
    first, last = (left if speed > 0 else right), (right if speed > 0 else left)
    assert first[begin].std() > 2 * last[begin].std()
    assert last[end].std() > 2 * first[end].std()


def test_a_source_that_comes_all_the_time_has_no_gap_at_the_end() -> None:
    place = canvas()
    heard = carried(place, tone(place, 400.0), Passage(speed=25.0, metres=4.0, nearest=1.0))[0]
    assert np.abs(np.diff(heard)).max() < 0.3
    assert heard[-800:].std() > 0.1
