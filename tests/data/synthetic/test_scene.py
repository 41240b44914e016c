import dataclasses

import numpy as np
import pytest

from audiogen.data.synthetic.canvas import Canvas
from audiogen.data.synthetic.events import EVENTS
from audiogen.data.synthetic.family import Family
from audiogen.data.synthetic.scene import SCENES, Scene, draw_scene, widened, with_event
from audiogen.data.synthetic.writing import FAMILIES, plan_clip, render_clip


def empty(seconds: float = 2.0, channels: int = 2) -> Canvas:
    return Canvas(round(seconds * 16000), 16000, channels, np.random.default_rng(5))


@pytest.mark.parametrize("name", sorted(EVENTS))
@pytest.mark.parametrize(("seconds", "channels"), [(0.3, 1), (5.0, 2)])
def test_events_are_well_formed_and_repeat(name: str, seconds: float, channels: int) -> None:
    first, second = (EVENTS[name](empty(seconds, channels)) for _ in range(2))
    assert first.shape == (channels, round(seconds * 16000))
    assert np.isfinite(first).all()
    assert first.std() > 0
    assert np.array_equal(first, second)


def test_every_family_has_a_scene_and_known_events() -> None:
    assert set(SCENES) == {family.label for family in FAMILIES}
    assert {name for told in SCENES.values() for name in told["events"]} <= set(EVENTS)


def test_event_is_as_loud_as_asked() -> None:
    place = empty()
    sound = place.shaped_noise(np.ones_like)
    scene = Scene(event="drips", event_db=20.0)
    change = with_event(place, sound, scene) - sound
    assert np.abs(change).max() == pytest.approx(10.0, rel=0.01)


def test_scenes_vary_and_do_not_depend_on_words_but_for_reverb() -> None:
    scenes = [plan_clip(2, 16 * number + 7).scene for number in range(60)]  # engines
    assert len({scene.width for scene in scenes}) > 30
    assert any(scene.width == 0.0 for scene in scenes)
    for attribute in ("room", "passage", "event"):
        drawn = [getattr(scene, attribute) is not None for scene in scenes]
        assert 0 < sum(drawn) < 60, attribute


def test_reverb_that_is_said_sets_the_room() -> None:
    settings = plan_clip(0, 13).settings  # wind chimes
    rooms = [
        draw_scene(
            "wind chimes",
            dataclasses.replace(settings, reverb=reverb),
            np.random.default_rng(1),
        ).room
        for reverb in (0.1, 0.9)
    ]
    assert rooms[0] is not None
    assert rooms[1] is not None
    assert rooms[0].seconds < 0.6 * rooms[1].seconds


def test_what_idles_stays() -> None:
    settings = dataclasses.replace(plan_clip(0, 7).settings, rate=0.1)
    scenes = [draw_scene("engine", settings, np.random.default_rng(seed)) for seed in range(40)]
    assert all(scene.passage is None for scene in scenes)


def test_width_scales_the_side_alone() -> None:
    sound = np.random.default_rng(0).standard_normal((2, 500))
    half = widened(sound, 0.5)
    assert np.allclose(half.mean(axis=0), sound.mean(axis=0))
    assert np.allclose(half[0] - half[1], 0.5 * (sound[0] - sound[1]))
    assert np.array_equal(widened(sound[:1], 0.3), sound[:1])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.folder)
def test_a_clip_drawn_mono_is_mono(family: Family) -> None:
    clip = plan_clip(11, [one.label for one in FAMILIES].index(family.label))
    clip = dataclasses.replace(clip, scene=dataclasses.replace(clip.scene, width=0.0))
    left, right = render_clip(clip, seconds=0.6, sample_rate=16000, audio_channels=2)
    assert np.allclose(left, right, atol=1e-12)
    assert left.std() > 0


def test_a_drone_hardly_depends_on_the_rate() -> None:
    """Level in octaves at two rates, before distance and room, whose echoes are noise."""
    clip = plan_clip(11, 14)
    levels = []
    for rate in (32000, 44100):
        canvas = Canvas(2 * rate, rate, 1, np.random.default_rng(2))
        power = np.abs(np.fft.rfft(clip.family.render(canvas, clip.settings)[0])) ** 2
        freqs = np.fft.rfftfreq(2 * rate, 1 / rate)
        edges = 125.0 * 2.0 ** np.arange(6)
        bands = [power[(freqs >= low) & (freqs < 2 * low)].sum() / rate**2 for low in edges]
        levels.append(10 * np.log10(np.array(bands)))
    heard = levels[0] > levels[0].max() - 40
    assert np.abs(levels[0] - levels[1])[heard].max() < 1.5
