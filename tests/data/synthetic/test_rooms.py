import numpy as np
import pytest

from audiogen.data.synthetic.canvas import Canvas, Signal
from audiogen.data.synthetic.rooms import LISTENER, SIDES, Room, draw_room, reflections, response

ROOM = Room(seconds=0.8, metres=9.0, brightness=0.5, source=(0.7, 0.3, 0.6))


def canvas(rate: int = 24000, channels: int = 2) -> Canvas:
    return Canvas(2 * rate, rate, channels, np.random.default_rng(3))


def decay_seconds(sound: Signal, rate: int) -> float:
    """Time of 60 dB, from the slope between -5 and -25 dB (Schroeder 1965, ISO 3382 T20)."""
    left = 10 * np.log10(np.cumsum(sound[::-1] ** 2)[::-1] / np.sum(sound**2) + 1e-12)
    used = (left < -5) & (left > -25)
    slope = np.polyfit(np.flatnonzero(used) / rate, left[used], 1)[0]
    return float(-60 / slope)


@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.8])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_decay_is_as_asked(seconds: float, rate: int) -> None:
    room = Room(seconds=seconds, metres=9.0, brightness=0.5, source=ROOM.source)
    place = canvas(rate)
    middle = place.band(response(place, room), 500.0, 2000.0)
    found = np.mean([decay_seconds(channel, rate) for channel in middle])
    assert found == pytest.approx(seconds, rel=0.15)


def test_highs_die_away_sooner() -> None:
    place = canvas()
    sound = response(place, ROOM)
    low, high = (place.band(sound, *edges)[0] for edges in ((300.0, 1500.0), (5000.0, 9000.0)))
    assert decay_seconds(high, 24000) < 0.7 * decay_seconds(low, 24000)


def test_channels_are_decorrelated_and_equally_loud() -> None:
    left, right = response(canvas(), ROOM)
    assert abs(np.corrcoef(left, right)[0, 1]) < 0.5
    assert np.sum(left**2) / np.sum(right**2) == pytest.approx(1.0, abs=0.7)
    assert np.sum(left**2) + np.sum(right**2) == pytest.approx(2.0, rel=0.3)


def test_reflections_come_after_the_direct_sound_and_weaker() -> None:
    delays, gains, sides = reflections(ROOM).T
    assert len(delays) == 24  # 6 first, 18 second
    assert (delays > 0).all()
    assert (np.abs(gains) < 1).all()
    assert (np.abs(sides) <= 1).all()


def test_first_reflection_of_the_floor_is_where_geometry_says() -> None:
    sides = ROOM.metres * np.array(SIDES)
    source, listener = sides * ROOM.source, sides * LISTENER
    mirrored = source * [1, 1, -1]
    extra = np.linalg.norm(mirrored - listener) - np.linalg.norm(source - listener)
    assert np.abs(reflections(ROOM)[:, 0] - extra / 340.0).min() < 1e-9


def test_same_draws_for_every_size_and_larger_rooms_ring_longer() -> None:
    small, large = (draw_room(size, np.random.default_rng(1)) for size in (0.0, 1.0))
    assert small.source == large.source
    assert small.seconds < large.seconds
    assert small.metres < large.metres


def test_mono_has_one_channel() -> None:
    assert response(canvas(channels=1), ROOM).shape[0] == 1
