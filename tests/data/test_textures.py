import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.signal import stft
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from audiogen.audio.io.files import read_audio
from audiogen.data.synthetic import write_textures
from audiogen.data.synthetic.canvas import Signal
from audiogen.data.synthetic.family import AXES, Family, Settings, level_of
from audiogen.data.synthetic.writing import FAMILIES, Clip, plan_clip, render_clip
from audiogen.experiment import TexturesConfig
from audiogen.storage import temporary_name

NUM_FAMILIES = len(FAMILIES)
by_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.folder)


def render(clip: Clip, *, seconds: float = 2.0, rate: int = 16000, channels: int = 1) -> Signal:
    return render_clip(clip, seconds=seconds, sample_rate=rate, audio_channels=channels)


def clips_of(family: Family, count: int) -> list[Clip]:
    first = FAMILIES.index(family)
    return [plan_clip(11, first + number * NUM_FAMILIES) for number in range(count)]


def centroid_hz(sound: Signal, rate: int = 16000) -> float:
    power = np.abs(np.fft.rfft(sound[0])) ** 2
    return float(
        np.exp(np.average(np.log(np.fft.rfftfreq(sound.shape[1], 1 / rate)[1:]), weights=power[1:]))
    )


def with_axis(clip: Clip, axis: str, value: float) -> Clip:
    numbers = {**dataclasses.asdict(clip.settings), axis: value}
    return dataclasses.replace(clip, settings=Settings(**numbers))


def write(folder: Path, *, num_clips: int = NUM_FAMILIES, seed: int = 3, channels: int = 1) -> None:
    write_textures(
        folder,
        num_clips=num_clips,
        seconds=0.5,
        sample_rate=16000,
        audio_channels=channels,
        seed=seed,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.wav"))
    }


def test_there_are_many_distinctly_named_families() -> None:
    assert len({family.label for family in FAMILIES}) >= 14
    assert all(len(family.kinds) >= 2 and len(family.axes) >= 2 for family in FAMILIES)


def test_same_seed_same_bytes_and_a_larger_set_begins_with_the_smaller(tmp_path: Path) -> None:
    for name, count in (("a", 18), ("b", 18), ("larger", 22)):
        write(tmp_path / name, num_clips=count)
    write(tmp_path / "other", num_clips=18, seed=4)
    first, larger = contents(tmp_path / "a"), contents(tmp_path / "larger")
    assert first == contents(tmp_path / "b")
    assert (tmp_path / "a/metadata.jsonl").read_bytes() == (
        tmp_path / "b/metadata.jsonl"
    ).read_bytes()
    assert first.items() < larger.items()
    assert not any(first[name] == data for name, data in contents(tmp_path / "other").items())


def test_folder_and_metadata_describe_each_other(tmp_path: Path) -> None:
    write(tmp_path / "set", num_clips=2 * NUM_FAMILIES + 1, channels=2)
    lines = (tmp_path / "set/metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["file"] for row in rows} == set(contents(tmp_path / "set"))
    assert len({row["source_id"] for row in rows}) == len(rows)
    counts = [sum(row["label"] == family.label for row in rows) for family in FAMILIES]
    assert max(counts) - min(counts) <= 1
    for row in rows:
        assert set(row) == {
            *("file", "label", "caption", "licence", "author", "source", "source_id")
        }
        assert row["licence"] == "CC0-1.0"
        assert re.fullmatch(r"([a-z-]+)/\1-\d{4}\.wav", row["file"])
    wav, rate = read_audio(tmp_path / "set" / rows[0]["file"])
    assert (tuple(wav.shape), rate) == ((2, 8000), 16000)


def test_finished_set_is_left_alone_and_killed_one_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "sounds"
    left = folder.parent / temporary_name(folder.name)
    (left / "rain").mkdir(parents=True)
    (left / "rain/rain-0099.wav").write_bytes(b"half a file")
    write(folder)
    assert not left.exists()
    assert "rain/rain-0099.wav" not in contents(folder)
    before = contents(folder)
    (folder / "rain/rain-0000.wav").write_bytes(b"mine")
    write(folder, seed=9)
    assert contents(folder) == {**before, "rain/rain-0000.wav": b"mine"}


def test_killed_run_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("audiogen.data.synthetic.writing.write_audio", fail)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not a finished set of textures"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("wrong", [{"num_clips": 0}, {"seconds": 0.1}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TexturesConfig.model_validate(wrong)


def test_a_rate_that_is_too_low_for_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sample_rate=8000"):
        write_textures(
            tmp_path / "set", num_clips=1, seconds=1.0, sample_rate=8000, audio_channels=1, seed=0
        )
    assert not (tmp_path / "set").exists()


@by_family
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (48000, 2)])
def test_every_sound_is_well_formed(family: Family, rate: int, channels: int) -> None:
    for number, clip in enumerate(clips_of(family, len(family.kinds))):
        seconds = (0.5, 0.83, 1.1)[number % 3]
        sound = render(clip, seconds=seconds, rate=rate, channels=channels)
        assert sound.shape == (channels, round(seconds * rate))
        assert np.isfinite(sound).all()
        assert 0.03 < np.abs(sound).max() <= 10 ** (-1 / 20)
        assert 20 * np.log10(sound.std()) > -48
        assert np.abs(sound.mean(axis=1)).max() < 1e-4
        assert np.abs(sound[:, [0, -1]]).max() < 1e-3  # no click at either end


@by_family
def test_stereo_is_decorrelated_but_balanced(family: Family) -> None:
    diffuse = family.label in {"rain", "wind", "sea waves", "stream"}
    for clip in clips_of(family, 2):
        left, right = render(clip, channels=2, rate=22050)
        assert np.corrcoef(left, right)[0, 1] < (0.6 if diffuse else 0.99)
        assert abs(20 * np.log10(left.std() / right.std())) < 9


@by_family
def test_sound_does_not_depend_on_what_was_rendered_before(family: Family) -> None:
    clip = clips_of(family, 1)[0]
    assert np.array_equal(render(clip, seconds=0.7), render(clip, seconds=0.7))


@by_family
def test_wordings_are_unambiguous(family: Family) -> None:
    words = [word for levels in family.axes.values() for level in levels for word in level if word]
    assert len(words) == len(set(words))
    for levels in family.axes.values():
        assert all(word for word in (*levels[0], *levels[2])), "only a middle level goes unsaid"


def test_captions_say_the_settings() -> None:
    said_levels = set()
    for index in range(150 * NUM_FAMILIES):
        clip = plan_clip(5, index)
        noun = [noun for noun in clip.family.kinds[clip.settings.kind] if noun in clip.caption]
        assert noun, clip.caption
        rest = clip.caption.replace(max(noun, key=len), "|")
        for axis, levels in clip.family.axes.items():
            actual = level_of(getattr(clip.settings, axis))
            for level, wordings in enumerate(levels):
                said = [w for w in wordings if w and re.search(rf"(?<![\w-]){w}(?![\w-])", rest)]
                assert not said or level == actual, (clip.caption, clip.settings)
                said_levels |= {(clip.family.label, axis, level, word) for word in said}
        for axis in set(AXES) - set(clip.family.axes):
            default = {"distance": 0.1, "reverb": 0.0}.get(axis, 0.5)
            assert getattr(clip.settings, axis) == default, "what varies can be said"
    for family in FAMILIES:
        for axis, levels in family.axes.items():
            for level, wordings in enumerate(levels):
                for word in filter(None, wordings):
                    assert (family.label, axis, level, word) in said_levels, "never said"


@pytest.mark.parametrize(
    ("axis", "measure"),
    [
        ("intensity", np.std),
        ("brightness", centroid_hz),
        ("pitch", centroid_hz),
        ("distance", lambda sound: 1 / np.std(sound)),
    ],
)
def test_words_mean_something_audible(axis: str, measure: Callable[[Signal], float]) -> None:
    families = [family for family in FAMILIES if axis in family.axes]
    assert families
    for family in families:
        clips = clips_of(family, 3)
        low, high = (
            np.mean(
                [np.log(measure(render(with_axis(clip, axis, at), seconds=1.2))) for clip in clips]
            )
            for at in (0.1, 0.9)
        )
        assert high > low + 0.03, family.label


def mean_modulation_hz(sound: Signal, rate: int = 16000) -> float:
    level = np.abs(sound[0][: sound.shape[1] // 160 * 160]).reshape(-1, 160).mean(axis=1)
    power = np.abs(np.fft.rfft(np.log(level + 1e-3) * np.hanning(len(level)))) ** 2
    freqs = np.fft.rfftfreq(len(level), 160 / rate)
    slow = (freqs > 0.4) & (freqs < 12.0)
    return float(np.average(freqs[slow], weights=power[slow]))


@pytest.mark.parametrize("label", ["clock", "footsteps", "bell", "metal hits"])
def test_a_faster_rate_moves_faster(label: str) -> None:
    family = next(family for family in FAMILIES if family.label == label)
    slow, fast = (
        np.mean(
            [
                mean_modulation_hz(render(with_axis(clip, "rate", at), seconds=5.0))
                for clip in clips_of(family, 3)
            ]
        )
        for at in (0.05, 0.95)
    )
    assert fast > 1.1 * slow


def test_families_are_told_apart() -> None:
    """Mean and spread of a coarse log spectrum name the family of clips that were held out."""
    edges = np.unique(np.round(np.geomspace(2, 257, 41)).astype(int))
    features, labels = [], []
    for index in range(18 * NUM_FAMILIES):
        power = np.abs(stft(render(plan_clip(1, index), seconds=2.5)[0], nperseg=512)[2]) ** 2
        bands = np.log(np.add.reduceat(power, edges[:-1], axis=0) + 1e-11)
        features.append(np.concatenate([bands.mean(axis=1), bands.std(axis=1)]))
        labels.append(index % NUM_FAMILIES)
    held_out = np.random.default_rng(0).random(len(labels)) < 0.25
    table, names = np.array(features), np.array(labels)
    model = make_pipeline(StandardScaler(), SVC(C=30.0)).fit(table[~held_out], names[~held_out])
    assert (model.predict(table[held_out]) == names[held_out]).mean() >= 0.93
