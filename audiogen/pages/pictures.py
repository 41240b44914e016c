"""Sounds and their spectrograms as data URIs: what a page needs to be one self-contained file."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soundfile
import torch

from audiogen.audio.spectral import LOWEST_HZ, mel_filterbank, stft

FloatArray = npt.NDArray[np.float64]

NUM_BANDS = 96
RANGE_DB = 70.0  # one picture shows this much below its reference level
QUIET_DB = -65.0  # a reference is never lower, so that silence stays black
_WINDOW_SECONDS = 0.046
_VORBIS_BLOCK = 16384  # libsndfile keeps a whole Vorbis write on the stack: write in pieces
VORBIS_LEVEL = 0.5  # compression level: quality 5 of 10, about 55 kbit/s at 22 kHz mono


@dataclass(frozen=True, kw_only=True)
class Spectrogram:
    """A log-mel spectrogram that is ready to be drawn.

    Attributes:
        levels_db: (bands, columns), dB; band 0 is the lowest. A full-scale sine is near 20 dB.
        top_hz: upper edge of the highest band (half the sample rate).
    """

    levels_db: FloatArray
    top_hz: float

    @property
    def peak_db(self) -> float:
        """Level of the loudest parts (99.9th percentile), dB."""
        return float(np.percentile(self.levels_db, 99.9))


def spectrogram(wav: torch.Tensor, sample_rate: int, *, width: int = 384) -> Spectrogram:
    """Analyse a sound for drawing.

    Args:
        wav: (C, T) in [-1, 1]; channels are averaged in power.
        sample_rate: Hz.
        width: columns of the picture; the whole sound is spread over them.
    """
    n_fft = 2 ** round(np.log2(_WINDOW_SECONDS * sample_rate))
    hop_length = max(2, min(n_fft // 2, wav.shape[-1] // width) // 2 * 2)
    num_frames = max(width, -(-wav.shape[-1] // hop_length))
    padded = torch.nn.functional.pad(wav, (0, num_frames * hop_length - wav.shape[-1]))
    spectrum = stft(padded, n_fft, hop_length)
    square = spectrum.real.square() + spectrum.imag.square()  # |x|^2 without a root of it
    power = square.mean(dim=0).double().numpy()
    last = max(1, -(-wav.shape[-1] // hop_length))  # frames that hold sound, without the padding
    columns = np.linspace(0, last, width + 1)
    frames = np.minimum(((columns[1:] + columns[:-1]) / 2).astype(int), last - 1)
    if last >= 2 * width:
        power = np.add.reduceat(power, columns[:-1].astype(int), axis=1) * (width / last)
    else:
        power = power[:, frames]
    bands = mel_filterbank(NUM_BANDS, n_fft, sample_rate).double().numpy() @ power
    return Spectrogram(levels_db=10 * np.log10(bands + 1e-12), top_hz=sample_rate / 2)


def picture_uri(image: Spectrogram, *, reference_db: float) -> str:
    """Draw with the perceptual palette magma, low bands below, as a WebP data URI.

    `reference_db` is the level of the brightest colour; black is `RANGE_DB` below it. Pictures
    that are to be compared share it (`shared_reference`).
    """
    from PIL import Image  # noqa: PLC0415 (only a report draws)

    shade = np.clip((image.levels_db - reference_db) / RANGE_DB + 1, 0, 1)
    pixels = _palette("magma")[np.round(shade * 255).astype(int)][::-1]
    target = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(target, "WEBP", quality=72, method=4)
    return data_uri("image/webp", target.getvalue())


def sheet_png(
    images: Sequence[Spectrogram],
    captions: Sequence[tuple[str, str]],
    *,
    columns: int = 1,
    cell: tuple[float, float] = (2.6, 1.5),
    title: str = "",
) -> bytes:
    """Draw spectrograms row by row as one PNG; they share their colours.

    Args:
        images: what to draw; all of one `top_hz`.
        captions: for each what stands above it, cut where it is too long, and below it.
        columns: in a row; the first has the frequencies.
        cell: width and height of one picture with its captions, inches at 110 dots.
        title: of the whole.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 (slow to import)

    rows = -(-len(images) // columns)
    size = (cell[0] * columns, cell[1] * rows + (0.5 if title else 0))
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    if title:
        figure.suptitle(title, parse_math=False)
    reference, letters = shared_reference(images), round(13 * cell[0])
    for place, (image, (above, below)) in enumerate(zip(images, captions, strict=True)):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(
            image.levels_db,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=reference - RANGE_DB,
            vmax=reference,
            extent=(0, 1, 0, 1),
        )
        short = above if len(above) <= letters else f"{above[: letters - 1]}…"
        axes.set_title(short, fontsize=7, parse_math=False)
        axes.set_xlabel(below, fontsize=6, parse_math=False)
        ticks = frequency_ticks(image.top_hz) if place % columns == 0 else []
        axes.set_yticks([height for _, height in ticks], [text for text, _ in ticks], fontsize=6)
        axes.set_xticks([])
    target = io.BytesIO()
    figure.savefig(target, format="png", metadata={"Software": "audiogen"})
    return target.getvalue()


def shared_reference(images: Sequence[Spectrogram]) -> float:
    """Return the level of the loudest picture, dB: the brightest colour of all of them."""
    return max([QUIET_DB, *(image.peak_db for image in images)])


def frequency_ticks(top_hz: float) -> list[tuple[str, float]]:
    """Return a few labels of the frequency axis with their height in the picture, 0 to 1."""
    import librosa  # noqa: PLC0415 (slow to import)

    ticks = {"200": 200.0, "1k": 1000.0, "4k": 4000.0, "16k": 16000.0}
    seen = {text: hz for text, hz in ticks.items() if hz < 0.8 * top_hz}
    low, top, *mels = librosa.hz_to_mel([LOWEST_HZ, top_hz, *seen.values()])
    return [(text, (mel - low) / (top - low)) for text, mel in zip(seen, mels, strict=True)]


def sound_uri(
    wav: torch.Tensor,
    sample_rate: int,
    *,
    lossless: bool = False,
    compression_level: float = VORBIS_LEVEL,
) -> str:
    """Encode a sound for a page: Ogg Vorbis (about 45 kB for 5 s), or FLAC 16 bit (about 200 kB).

    Args:
        wav: (C, T) in [-1, 1].
        sample_rate: Hz.
        lossless: FLAC, for sounds whose fine differences are to be judged.
        compression_level: of Vorbis, from 0 (best) to 1 (smallest).
    """
    samples = wav.T.contiguous().numpy()
    target = io.BytesIO()
    if lossless:
        soundfile.write(target, samples, sample_rate, format="FLAC", subtype="PCM_16")
        return data_uri("audio/flac", target.getvalue())
    with soundfile.SoundFile(
        target,
        "w",
        sample_rate,
        samples.shape[1],
        "VORBIS",
        format="OGG",
        compression_level=compression_level,
    ) as file:
        for start in range(0, len(samples), _VORBIS_BLOCK):
            file.write(samples[start : start + _VORBIS_BLOCK])
    return data_uri("audio/ogg", target.getvalue())


def data_uri(media_type: str, content: bytes) -> str:
    """Return `content` as a base64 data URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def colours(count: int) -> list[str]:
    """Return `count` ordered colours, dark to light, that are seen on white and on black."""
    steps = np.linspace(0.3, 0.84, max(count, 1))
    palette = _palette("plasma")[np.round(steps * 255).astype(int)]
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in palette]


@functools.cache
def _palette(name: str) -> npt.NDArray[np.uint8]:
    """Return one of matplotlib's colour maps, (256, 3)."""
    import matplotlib as mpl  # noqa: PLC0415 (slow to import)

    table = np.asarray(mpl.colormaps[name](np.arange(256)))[:, :3]
    return np.round(table * 255).astype(np.uint8)
