"""Copies of a sound are found whatever was done to them; different sounds are not."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from scipy.cluster.hierarchy import DisjointSet

from audiogen.audio.measure.fingerprint import Fingerprinter, Words
from audiogen.data.intake.copies import MIN_WORDS, near_copies
from audiogen.data.intake.scan import scan_folder, summarise

RATE = 22_050
Array = np.ndarray


def texture(seed: int, seconds: float = 4.0) -> Array:
    """Return noise whose colour and level change all the time, (n, 1)."""
    random = np.random.default_rng(seed)
    count = round(seconds * RATE)
    spectra = random.standard_normal((12, count // 2 + 1)) + 0j
    noise = np.fft.irfft(spectra * random.gamma(0.3, size=(12, 1)), count)
    centres = np.linspace(0, count, 12)[:, None]
    windows = np.exp(-(((np.arange(count) - centres) / (0.1 * count)) ** 2))
    wav = (noise * windows).sum(axis=0)
    return (0.3 * wav / np.abs(wav).max())[:, None]


def words(wav: Array, rate: int = RATE) -> Words:
    fingerprinter = Fingerprinter(rate)
    for start in range(0, len(wav), 10_000):
        fingerprinter.add(wav[start : start + 10_000].astype(np.float32))
    fingerprinter.add(np.zeros((0, wav.shape[1]), dtype=np.float32), last=True)
    return fingerprinter.words()


def recode(wav: Array, **how: object) -> Array:
    memory = io.BytesIO()
    soundfile.write(memory, wav, RATE, **how)
    memory.seek(0)
    return soundfile.read(memory, always_2d=True)[0]


CHANGES: dict[str, Callable[[Array], Array]] = {
    "mp3": lambda wav: recode(wav, format="MP3"),
    "small mp3": lambda wav: recode(
        wav, format="MP3", bitrate_mode="CONSTANT", compression_level=0.9
    ),
    "ogg": lambda wav: recode(wav, format="OGG"),
    "softer": lambda wav: 0.05 * wav,
    "start cut off": lambda wav: wav[30_001:],
    "middle": lambda wav: wav[20_003:60_007],
    "silence before": lambda wav: np.concatenate([np.zeros((30_000, 1)), wav]),
    "sides that cancel": lambda wav: (
        np.hstack([wav, -wav]) + np.random.default_rng(0).normal(0, 1e-4, (len(wav), 2))
    ),
    "stereo": lambda wav: np.repeat(wav, 2, axis=1),
    "noise added": lambda wav: wav + np.random.default_rng(0).normal(0, 1e-3, wav.shape),
    "softer, cut, mp3": lambda wav: recode(0.3 * wav[11_111:77_777], format="MP3"),
}


@pytest.fixture(scope="module")
def others() -> list[Words]:
    return [words(texture(seed)) for seed in range(10)]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(change: str, others: list[Words]) -> None:
    copy = words(CHANGES[change](texture(7)))
    assert near_copies([*others, copy]) == [(7, 10)]
    assert near_copies([copy, *others]) == [(0, 8)]


def test_another_rate_is_found(others: list[Words]) -> None:
    copy = words(soxr.resample(texture(7), RATE, 16_000), 16_000)
    assert near_copies([*others, copy]) == [(7, 10)]


def test_different_sounds_are_not_copies(others: list[Words]) -> None:
    assert near_copies(others) == []
    noise = np.random.default_rng(0)
    assert near_copies([words(noise.standard_normal((3 * RATE, 1))) for _ in range(10)]) == []


def test_silence_short_sounds_and_nothing() -> None:
    silence = words(np.zeros((2 * RATE, 1)))
    assert len(silence) > MIN_WORDS
    assert not silence.any()
    short = words(texture(1, 0.2))
    assert len(short) == 0
    assert near_copies([silence, silence, short, short]) == []
    assert near_copies([]) == []


def test_many_files_are_compared_at_once() -> None:
    random = np.random.default_rng(0)
    many = [random.integers(1, 1 << 32, 430, dtype=np.uint32) for _ in range(4000)]
    steady = [np.full(430, 5, dtype=np.uint32) for _ in range(300)]  # one word everywhere
    planted = {}
    for index in range(0, 4000, 40):
        flips = (random.random((430, 32)) < 0.06).astype(np.uint8)
        noise = np.packbits(flips, axis=1).view(">u4")[:, 0]
        planted[index] = (many[index] ^ noise)[50:300].astype(np.uint32)
    groups = DisjointSet(range(4000 + 300 + len(planted)))
    for first, second in near_copies([*many, *steady, *planted.values()]):
        groups.merge(first, second)
    assert groups.subset(4000) == set(range(4000, 4300))
    for number, original in enumerate(planted):
        assert groups.subset(original) == {original, 4300 + number}
    assert groups.n_subsets == 4000 + 1


def test_intake_keeps_copies_on_one_side_and_names_them(tmp_path: Path) -> None:
    names = ["aaa", "bbb", "ccc", "ddd", "eee", "fff"]
    for seed, name in enumerate(names):
        soundfile.write(tmp_path / f"{name}.wav", texture(seed), RATE)
        soundfile.write(tmp_path / f"x{name}x.mp3", texture(seed)[9000:] * 0.4, RATE)
    (tmp_path / "again.wav").write_bytes((tmp_path / "ccc.wav").read_bytes())
    rows = {row.path: row for row in scan_folder(tmp_path, held_out=0.3)}
    assert {row.split for row in rows.values()} == {"train", "held_out"}
    for name in names:
        first, second = rows[f"{name}.wav"], rows[f"x{name}x.mp3"]
        assert (first.split, first.source_id) == (second.split, second.source_id)
        assert "near_copy" in second.warnings
    assert (rows["again.wav"].copy_of, rows["again.wav"].warnings) == ("", ())
    assert (rows["ccc.wav"].copy_of, rows["ccc.wav"].warnings) == ("again.wav", ("exact_copy",))
    assert rows["xcccx.mp3"].copy_of == "again.wav"
    text = summarise(list(rows.values()))
    assert "used, but near_copy" in text
    assert "\n  xdddx.mp3  of ddd.wav" in text


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ("copy.mp3", "the same sound"),
        ("copy.wav", "bytes are the same"),
        ("rain_b.wav", "source is 'rain'"),
    ],
)
def test_a_split_that_leaks_is_refused(second: str, why: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "rain_a.wav", texture(0), RATE)
    soundfile.write(tmp_path / "fire.wav", texture(1), RATE)
    if second == "copy.wav":
        (tmp_path / second).write_bytes((tmp_path / "rain_a.wav").read_bytes())
    else:
        sound = texture(0)[9000:] if second == "copy.mp3" else texture(2)
        soundfile.write(tmp_path / second, sound, RATE)
    table = tmp_path / "metadata.csv"
    table.write_text(f"file,split\nrain_a.wav,train\n{second},test\nfire.wav,held_out\n")
    with pytest.raises(ValueError, match="both sides") as caught:
        scan_folder(tmp_path)
    message = str(caught.value)
    assert len(message.splitlines()) <= 4
    assert all(part in message for part in ("rain_a.wav", second, why))
    table.write_text(f"file,split\nrain_a.wav,validation\n{second},\nfire.wav,Train\n")
    rows = {row.path: row.split for row in scan_folder(tmp_path, held_out=0)}
    assert rows == {"rain_a.wav": "held_out", second: "held_out", "fire.wav": "train"}


def test_an_unknown_side_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", texture(0), RATE)
    (tmp_path / "metadata.csv").write_text("file,split\na.wav,somewhere\n")
    with pytest.raises(ValueError, match=r"metadata\.csv:2: split.*'somewhere'"):
        scan_folder(tmp_path)
