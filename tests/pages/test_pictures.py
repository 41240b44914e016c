"""Spectrograms: what is where in the picture, and pictures that are drawn alike."""

import io

import librosa
import numpy as np
import pytest
import torch
from PIL import Image

from audiogen.pages.pictures import RANGE_DB, Spectrogram, sheet_png, spectrogram

RATE = 22_050


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 200, 4097, 60 * RATE])
def test_spectrogram_of_any_length_fills_the_picture(channels: int, samples: int) -> None:
    image = spectrogram(0.1 * torch.rand(channels, samples), RATE)
    assert image.levels_db.shape == (96, 384)
    assert np.isfinite(image.levels_db).all()


def test_spectrogram_puts_tones_where_and_when_they_are() -> None:
    time = torch.arange(RATE) / RATE
    low, high = torch.sin(2 * torch.pi * 300 * time), torch.sin(2 * torch.pi * 6000 * time)
    image = spectrogram(torch.cat([low, high])[None], RATE)
    rows = image.levels_db.argmax(axis=0)

    lowest, *mels, highest = librosa.hz_to_mel([20.0, 300.0, 6000.0, RATE / 2])
    for column, mel in zip((90, 290), mels, strict=True):
        assert abs((rows[column] + 0.5) / 96 - (mel - lowest) / (highest - lowest)) < 0.015
    assert abs(int((rows > 48).argmax()) - 192) <= 3
    assert image.levels_db.max() - image.levels_db[5, 290] > RANGE_DB / 2


def test_long_and_short_views_show_the_same_level() -> None:
    noise = 0.1 * torch.randn(1, 40 * RATE, generator=torch.Generator().manual_seed(0))
    levels = [spectrogram(noise[:, : n * RATE], RATE).levels_db[48].mean() for n in (2, 40)]
    assert abs(levels[0] - levels[1]) < 2.6  # the mean of a dB value rises as columns are averaged


def tone(hz: float) -> Spectrogram:
    wav = 0.3 * torch.sin(2 * torch.pi * hz * torch.arange(RATE) / RATE)
    return spectrogram(wav[None], RATE, width=128)


def brightness(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).sum(axis=2)


def test_a_sheet_has_a_picture_in_every_cell() -> None:
    captions = [("one", "1.00 s"), ("a $name$ of its own", ""), ("three", "")]
    images = [tone(300.0), tone(1000.0), tone(6000.0)]
    sheet = brightness(sheet_png(images, captions, columns=2, cell=(2.0, 1.5), title="$all"))
    assert sheet.shape == (round(110 * 3.5), round(110 * 4.0))
    dark = sheet < 60
    halves = dark[:, :220].sum(), dark[:, 220:].sum()
    assert 1.7 < halves[0] / halves[1] < 2.3  # two pictures at the left, one at the right


def test_a_picture_has_low_sounds_below() -> None:
    rows = []
    for hz in (300.0, 6000.0):
        sheet = brightness(sheet_png([tone(hz)], [("", "")]))
        inside = sheet[:, sheet.shape[1] // 2]
        dark = np.flatnonzero(inside < 60)
        lit = [row for row in range(dark[0], dark[-1]) if inside[row] > 300]
        rows.append((dark[-1] - np.median(lit)) / (dark[-1] - dark[0]))
    assert rows[0] < 0.25
    assert rows[1] > 0.7
