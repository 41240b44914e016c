"""Metadata chunks: two independent readers find every field, and the samples are as before."""

import random
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from chunk_reader import read_chunks

from audiogen.audio.io.riff import (
    Acid,
    Broadcast,
    Chunks,
    Cue,
    Sampler,
    append_chunks,
    plain_text,
)

FILES = 500
ALPHABET = "abc XYZ 09 &<>\"' äßñ 雨が降る дождь مطر 🌧 ]]>"
SFC_GET_BROADCAST_INFO = 0x10F0
ODD_DATA = "*** 'data' chunk should be an even number of bytes in length."
BROADCAST = "<256s32s32s10s8s2xIIh64s5h180sI256s"


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - nothing is secret here


def text(chance: random.Random, most: int) -> str:
    return plain_text("".join(chance.choices(ALPHABET, k=chance.randint(1, most)))) or "x"


def level(chance: random.Random) -> float | None:
    return None if chance.random() < 0.2 else chance.randint(-7000, 600) / 100


def made_up(chance: random.Random, length: int) -> Chunks:
    """Random chunks for a file of `length` samples; the cue texts fit libsndfile's log of 2 kB."""
    starts = sorted(chance.sample(range(length), 2))
    cues = [Cue(position=chance.randrange(length), label=text(chance, 8)) for _ in range(3)]
    bpm = struct.unpack("<f", struct.pack("<f", chance.uniform(20, 300)))[0]
    return Chunks(
        sampler=Sampler(
            root_note=chance.randrange(128),
            loops=((0, length), (starts[0], starts[1] + 1))[: chance.randint(0, 2)],
        ),
        acid=Acid(
            one_shot=chance.random() < 0.5,
            root_note=chance.choice([None, chance.randrange(128)]),
            beats=chance.randrange(1, 200),
            beats_per_bar=chance.randint(1, 12),
            bpm=bpm,
        ),
        cues=tuple(cues[: chance.randint(0, 3)]),
        broadcast=Broadcast(
            description="".join(chance.choices("abc &<>09", k=250)).strip() + "#",
            originator="audiogen",
            reference=f"ref{chance.randrange(10**9)}",
            date="2026-02-03",
            time="04:05:06",
            loudness_lufs=level(chance),
            true_peak_db=level(chance),
        ),
        ixml={"NOTE": text(chance, 90), "USER/SEED": str(chance.randrange(2**63))},
        info={"INAM": text(chance, 60), "ICMT": text(chance, 200), "ICOP": "CC-BY-4.0"},
    )


def write_plain(path: Path, chance: random.Random) -> np.ndarray[Any, Any]:
    channels, length = chance.randint(1, 2), chance.randint(2, 99)
    numbers = np.random.default_rng(chance.randrange(2**32))
    samples = numbers.uniform(-1, 1, (length, channels))
    soundfile.write(path, samples, chance.choice([8000, 44100, 48000]), subtype="PCM_24")
    read: np.ndarray[Any, Any] = soundfile.read(path, dtype="int32", always_2d=True)[0]
    return read


def logged(pattern: str, log: str) -> list[Any]:
    return re.findall(pattern, log, flags=re.MULTILINE)


def check_log(log: str, told: Chunks, rate: int) -> None:
    """Compare what libsndfile's log says of a file."""
    # Of samples with an odd number of bytes, which are padded as they must be, it says so.
    warnings = [line for line in logged(r"^\*\*\*.*$", log) if line != ODD_DATA]
    assert warnings == []
    assert "warning" not in log.lower()
    assert log.rstrip().endswith("End")
    assert told.sampler is not None
    assert told.acid is not None
    assert logged(r"Period +: (\d+)", log) == [str(round(1e9 / rate))]
    assert logged(r"Midi Note +: (\d+)", log) == [str(told.sampler.root_note)]
    loops = logged(r"Cue ID : +\d+ +Type : +0 +Start : +(\d+) +End : +(\d+) +.*Count : +0$", log)
    assert loops == [(str(start), str(stop - 1)) for start, stop in told.sampler.loops]
    flags = int(logged(r"Flags +: (0x\w+)", log)[0], 16)
    assert bool(flags & 1) == told.acid.one_shot
    assert bool(flags & 2) == (told.acid.root_note is not None)
    root = 60 if told.acid.root_note is None else told.acid.root_note
    assert int(logged(r"Root note : (0x\w+)", log)[0], 16) == root
    assert logged(r"Beats +: (\d+)", log) == [str(told.acid.beats)]
    assert logged(r"Meter +: (\d+)/(\d+)", log) == [(str(told.acid.beats_per_bar), "4")]
    assert float(logged(r"Tempo +: ([\d.]+)", log)[0]) == pytest.approx(told.acid.bpm, abs=1e-5)
    places = logged(r"Cue ID : +\d+ +Pos : +(\d+) .* Offset : +(\d+)$", log)
    assert places == [(str(cue.position),) * 2 for cue in told.cues]
    assert logged(r"labl : \d+ : (.*)$", log) == [cue.label for cue in told.cues]


def check_strings(path: Path, told: Chunks) -> None:
    """Compare the texts and the `bext` fields that libsndfile hands out."""
    assert told.broadcast is not None
    with soundfile.SoundFile(path) as file:
        assert file.title == told.info["INAM"]
        assert file.comment == told.info["ICMT"]
        assert file.copyright == told.info["ICOP"]
        buffer = bytearray(struct.calcsize(BROADCAST))
        target = soundfile._ffi.from_buffer(buffer)
        done = soundfile._snd.sf_command(file._file, SFC_GET_BROADCAST_INFO, target, len(buffer))
    assert done == 1
    *texts, low, high, version, _umid = struct.unpack(BROADCAST, buffer)[:9]
    told_texts = [told.broadcast.description, told.broadcast.originator, told.broadcast.reference]
    told_texts += [told.broadcast.date, told.broadcast.time]
    assert [one.rstrip(b"\0").decode() for one in texts] == told_texts
    assert (high << 32 | low, version) == (0, 2)
    levels = struct.unpack(BROADCAST, buffer)[9:14]
    assert list(levels) == [centi(one) for one in levels_of(told.broadcast)]


def levels_of(told: Broadcast) -> list[float | None]:
    return [told.loudness_lufs, None, told.true_peak_db, None, None]


def centi(one: float | None) -> int:
    return 0x7FFF if one is None else round(one * 100)


def check_wavinfo(path: Path, told: Chunks) -> None:
    """Compare what wavinfo finds in a file."""
    wavinfo = pytest.importorskip("wavinfo")
    found = wavinfo.WavInfoReader(path, info_encoding="utf-8")
    assert told.sampler is not None
    assert told.broadcast is not None
    assert found.smpl.midi_note == told.sampler.root_note
    loops = [(one.start, one.end + 1) for one in found.smpl.sample_loops]
    assert loops == list(told.sampler.loops)
    cues = [(at, found.cues.label_and_note(name)[0]) for name, at in found.cues.each_cue()]
    assert cues == [(cue.position, cue.label) for cue in told.cues]
    bext, ours = found.bext, told.broadcast
    assert (bext.description, bext.originator, bext.originator_ref) == (
        ours.description,
        ours.originator,
        ours.reference,
    )
    assert (bext.originator_date, bext.originator_time) == (ours.date, ours.time)
    assert (bext.time_reference, bext.version) == (0, 2)
    levels = [bext.loudness_value, bext.loudness_range, bext.max_true_peak]
    levels += [bext.max_momentary_loudness, bext.max_shortterm_loudness]
    assert levels == [centi(one) / 100 for one in levels_of(ours)]
    assert found.info.title == told.info["INAM"]
    assert found.info.comment == told.info["ICMT"]
    assert found.info.copyright == told.info["ICOP"]
    for name, wanted in told.ixml.items():
        assert found.ixml.parsed.find(name).text == wanted


@dataclass(frozen=True)
class Written:
    path: Path
    told: Chunks
    samples: np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Written]:
    """500 small files with random chunks."""
    chance, folder = dice(0), tmp_path_factory.mktemp("riff")
    written = []
    for number in range(FILES):
        path = folder / f"{number}.wav"
        samples = write_plain(path, chance)
        told = made_up(chance, len(samples))
        assert append_chunks(path, told) == {}
        written.append(Written(path, told, samples))
    return written


def test_libsndfile_finds_every_field_and_the_same_samples(files: list[Written]) -> None:
    for one in files:
        info = soundfile.info(one.path, verbose=True)
        check_log(info.extra_info, one.told, info.samplerate)
        check_strings(one.path, one.told)
        samples = soundfile.read(one.path, dtype="int32", always_2d=True)[0]
        np.testing.assert_array_equal(samples, one.samples)
        assert one.path.stat().st_size % 2 == 0


def test_wavinfo_finds_every_field(files: list[Written]) -> None:
    pytest.importorskip("wavinfo", reason="wavinfo, a development dependency, is not installed")
    for one in files:
        check_wavinfo(one.path, one.told)


def test_what_is_read_back_equals_what_was_written(files: list[Written]) -> None:
    assert len(files) == FILES
    for one in files:
        assert read_chunks(one.path) == one.told


def test_chunks_are_behind_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_plain(path, dice(2))
    before = path.read_bytes()
    append_chunks(path, Chunks(info={"INAM": "first"}))
    after = path.read_bytes()
    assert after[8 : len(before)] == before[8:]
    assert after[4:8] == struct.pack("<I", len(after) - 8)


def test_texts_that_do_not_fit_are_cut_between_characters_and_returned(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_plain(path, dice(3))
    long = "雨" * 5000
    told = Chunks(
        cues=(Cue(position=0, label=long),),
        info={"INAM": long, "ICMT": "a\0b\x1bc"},
        broadcast=Broadcast(description="Größe 雨"),
        ixml={"NOTE": long + "\0<b>&"},
    )
    changed = append_chunks(path, told)
    assert changed == {"cue 1": long, "INAM": long, "bext description": "Größe 雨"}
    read = read_chunks(path)
    assert read.info == {"INAM": "雨" * 333, "ICMT": "a b c"}
    assert read.cues[0].label == "雨" * 66
    assert read.broadcast == Broadcast(description="Grosse ?".replace("sse", "?e"))
    assert read.ixml == {"NOTE": long + " <b>&"}


@pytest.mark.parametrize(
    "told",
    [
        Chunks(sampler=Sampler(loops=((5, 0),))),
        Chunks(acid=Acid(beats=-1)),
    ],
)
def test_what_a_field_cannot_hold_is_refused_and_the_file_stays(
    told: Chunks, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    write_plain(path, dice(4))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"a\.wav"):
        append_chunks(path, told)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_other_files_are_refused(tmp_path: Path) -> None:
    flac = tmp_path / "a.flac"
    soundfile.write(flac, np.zeros(100), 8000)
    with pytest.raises(ValueError, match="not a WAV file"):
        append_chunks(flac, Chunks())


def test_levels_that_two_bytes_cannot_hold_are_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_plain(path, dice(5))
    append_chunks(path, Chunks(broadcast=Broadcast(loudness_lufs=-1e6)))
    assert read_chunks(path).broadcast == Broadcast(loudness_lufs=-327.0)


def test_chunks_without_a_measure_say_so(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_plain(path, dice(6))
    told = Broadcast(description="x")
    append_chunks(path, Chunks(broadcast=told))
    assert read_chunks(path).broadcast == told
