"""Writes the default data set: sound files by family and `metadata.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from audiogen.audio.io.files import write_audio
from audiogen.data.metadata import Metadata
from audiogen.data.synthetic.animals import birds, crickets
from audiogen.data.synthetic.canvas import Canvas, Signal
from audiogen.data.synthetic.drone import drone
from audiogen.data.synthetic.family import Family, Render, Settings, caption, draw_settings
from audiogen.data.synthetic.fire import fire
from audiogen.data.synthetic.footsteps import footsteps
from audiogen.data.synthetic.machines import clock, engine, helicopter
from audiogen.data.synthetic.space import finish, place
from audiogen.data.synthetic.struck import bell, metal_hits, wind_chimes
from audiogen.data.synthetic.water import sea_waves, stream
from audiogen.data.synthetic.weather import rain, thunder, wind
from audiogen.storage import publish_folder

NATURE = (rain, wind, thunder, sea_waves, stream, fire, birds, crickets)
OBJECTS = (bell, wind_chimes, metal_hits, clock, engine, helicopter, footsteps, drone)
RENDERS: Mapping[str, Render] = {
    render.__name__.replace("_", " "): render for render in (*NATURE, *OBJECTS)
}
WORDS: Mapping[str, Mapping[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("words.yaml").read_text(encoding="utf-8")
)
# The order is part of the data set: clip k belongs to family k modulo their number.
FAMILIES = tuple(
    Family(label=label, render=RENDERS[label], **words) for label, words in WORDS.items()
)
LICENCE = "CC0-1.0"
MIN_SAMPLE_RATE = 16000


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What clip `index` of a seed is, before it is heard.

    Attributes:
        family: its family.
        number: how many clips of the family come before it.
        settings: what it sounds like.
        caption: the settings in words.
        sound_seed: seed of its random stream.
    """

    family: Family
    number: int
    settings: Settings
    caption: str
    sound_seed: np.random.SeedSequence

    @property
    def file(self) -> str:
        """Path below the data folder, posix."""
        return f"{self.family.folder}/{self.family.folder}-{self.number:04d}.wav"


def plan_clip(seed: int, index: int) -> Clip:
    """Decide clip `index` of the set with `seed`; no other clip has a say in it."""
    drawn, worded, sounded = np.random.SeedSequence([seed, index]).spawn(3)
    family = FAMILIES[index % len(FAMILIES)]
    number = index // len(FAMILIES)
    kinds = tuple(family.kinds)
    settings = draw_settings(family, kinds[number % len(kinds)], np.random.default_rng(drawn))
    return Clip(
        family=family,
        number=number,
        settings=settings,
        caption=caption(family, settings, np.random.default_rng(worded)),
        sound_seed=sounded,
    )


def render_clip(clip: Clip, *, seconds: float, sample_rate: int, audio_channels: int) -> Signal:
    """The sound of a clip: (C, T) in [-1, 1], peak at most -1 dBFS, silent at both ends."""
    rng = np.random.default_rng(clip.sound_seed)
    canvas = Canvas(round(seconds * sample_rate), sample_rate, audio_channels, rng)
    dry = clip.family.render(canvas, clip.settings)
    return finish(canvas, place(canvas, dry, clip.settings), clip.settings)


def write_textures(
    folder: Path,
    *,
    num_clips: int,
    seconds: float,
    sample_rate: int,
    audio_channels: int,
    seed: int,
) -> None:
    """Write the procedural data set, or leave a finished one alone.

    The sound of a clip depends on `seed` and its index only, so a larger set begins with the
    smaller one. The folder appears when it is complete.

    Args:
        folder: gets `<family>/<family>-0000.wav` and `metadata.jsonl`, one row a file with file,
            label, caption, licence, author, source and source_id.
        num_clips: spread evenly over the families.
        seconds: length of each clip, at least 0.5.
        sample_rate: Hz, at least `MIN_SAMPLE_RATE`.
        audio_channels: 1 or 2; stereo is rendered in stereo, not doubled.
        seed: 0 or more.

    Raises:
        ValueError: the rate is too low, or `folder` holds something else.
    """
    if sample_rate < MIN_SAMPLE_RATE:
        raise ValueError(f"textures: sample_rate={sample_rate}; expected {MIN_SAMPLE_RATE} or more")
    if (folder / "metadata.jsonl").is_file():
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder} exists and is not a finished set of textures (it has no metadata.jsonl)\n"
            "Choose another folder, or remove this one."
        )
    rows = []
    with publish_folder(folder) as partial:
        for index in range(num_clips):
            clip = plan_clip(seed, index)
            sound = render_clip(
                clip, seconds=seconds, sample_rate=sample_rate, audio_channels=audio_channels
            )
            wav = torch.from_numpy(sound.astype(np.float32))
            write_audio(partial / clip.file, wav, sample_rate)
            told = Metadata(
                file=clip.file,
                label=clip.family.label,
                prompt=clip.caption,
                licence=LICENCE,
                author="audiogen",
                source="procedural",
                source_id=f"seed-{seed}-{clip.family.folder}-{clip.number:04d}",
            )
            rows.append(json.dumps(told.to_record(), ensure_ascii=False))
        (partial / "metadata.jsonl").write_text("\n".join([*rows, ""]), encoding="utf-8")
