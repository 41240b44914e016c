"""Every file of the corpus of bad and odd sounds is refused for its reason, or read whole."""

import os
from pathlib import Path

import corpus
import numpy as np
import pytest

from audiogen.audio.io.decoding import AudioReadError
from audiogen.audio.io.files import read_audio
from audiogen.audio.measure.inspection import measure_audio
from audiogen.data.intake.scan import INTAKE_REASONS, scan_folder

MP3_FRAMES = 2304


@pytest.mark.parametrize("name", corpus.BAD)
def test_bad_files_are_refused_with_their_reason(name: str, tmp_path: Path) -> None:
    if name == "locked.wav" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    case = corpus.BAD[name]
    path = corpus.write_case(tmp_path, name, case)
    for reader in (read_audio, measure_audio):
        with pytest.raises(AudioReadError) as caught:
            reader(path)
        assert caught.value.reason in case.reasons, str(caught.value)
        assert len(str(caught.value).splitlines()) <= 4
        assert "does not exist" not in str(caught.value)


@pytest.mark.parametrize("name", corpus.GOOD)
def test_odd_files_are_read_whole(name: str, tmp_path: Path) -> None:
    case = corpus.GOOD[name]
    path = corpus.write_case(tmp_path, name, case)
    facts = measure_audio(path)
    wav, rate = read_audio(path)
    slack = MP3_FRAMES if "mp3" in name else 0
    assert abs(facts.num_frames - case.frames) <= slack
    assert wav.shape == (facts.channels, facts.num_frames)
    assert rate == facts.sample_rate
    assert np.isfinite(wav).all()
    assert set(facts.warnings) == set(case.warnings)


def test_intake_names_every_file_of_the_corpus(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cases = corpus.write_corpus(tmp_path)
    rows = {row.path: row for row in scan_folder(tmp_path)}
    seen = {name: case for name, case in cases.items() if not name.startswith(".")}
    if os.geteuid() == 0:  # may read everything
        del rows["locked.wav"], seen["locked.wav"]
    assert rows.keys() == seen.keys()
    wrong = {
        name: rows[name].reason
        for name, case in seen.items()
        if (rows[name].reason or corpus.FINE) not in case.reasons
    }
    assert wrong == {}
    assert {row.reason for row in rows.values()} - {""} <= INTAKE_REASONS.keys()
    for name, case in corpus.GOOD.items():
        assert set(case.warnings) <= set(rows[name].warnings)
    assert capfd.readouterr() == ("", "")  # decoders print notes; no user sees them
