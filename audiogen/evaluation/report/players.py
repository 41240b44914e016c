"""The sounds of a report: takes, codec reconstructions and training demos, each with a player."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import ConfigDict

from audiogen.audio.io.decoding import AUDIO_SUFFIXES, AudioReadError
from audiogen.audio.io.files import read_audio
from audiogen.data.intake.walk import is_hidden
from audiogen.evaluation.scores import NOTHING_HELD_OUT, Scores
from audiogen.pages.charts import screen
from audiogen.pages.markup import Markup, join, missing, number, section, tag
from audiogen.pages.pictures import (
    RANGE_DB,
    Spectrogram,
    picture_uri,
    shared_reference,
    sound_uri,
    spectrogram,
)
from audiogen.run_folder import RunFolder
from audiogen.schema import Config, parse_config
from audiogen.storage import read_json
from audiogen.takes.take import read_take

MAX_TAKES = 160  # shown; more would make the page heavy. They are spread evenly over the groups.
MAX_PAIRS = 12
MAX_DEMO_ROWS = 4  # per stage
MAX_DEMO_STEPS = 6
_LOSSLESS_BYTES = 5_000_000  # pairs are FLAC while their 16-bit samples stay below this
_NO_PROMPT = "no prompt (unconditional)"

ItemT = TypeVar("ItemT")


class Caption(Config):
    """What the page says of a sound: of a take, a demo or a recording."""

    model_config = ConfigDict(extra="ignore")

    prompt: str = ""
    label: str = ""
    path: str = ""
    seed: int | None = None
    is_known: bool = True
    """Whether there is a readable JSON file."""

    @property
    def heading(self) -> str:
        """The first that is known."""
        return self.prompt or self.label or self.path


@dataclass(frozen=True, kw_only=True)
class Sound:
    """One sound file of the run, read.

    Attributes:
        wav: (C, T) in [-1, 1], or None when the file cannot be read.
        sample_rate: Hz.
        image: its spectrogram; None with `wav`.
        problem: why the file cannot be read, "" when it can.
    """

    path: Path
    caption: Caption
    wav: torch.Tensor | None = None
    sample_rate: int = 1
    image: Spectrogram | None = None
    problem: str = ""

    @property
    def seconds(self) -> float:
        """Length, s."""
        return 0.0 if self.wav is None else self.wav.shape[-1] / self.sample_rate


def takes_section(run_dir: Path, near_copies: Sequence[str]) -> tuple[Markup, Markup]:
    """Return the section of the takes and the strip of pictures for the head of the page.

    `near_copies` are the file names of takes that the copy check flags.
    """
    title, files = "Takes", sound_files(RunFolder(run_dir).evaluated_takes)
    if not files:
        command = f"audiogen evaluate {run_dir}"
        return section("takes", title, missing("There are no takes.", command)), Markup("")
    groups: dict[str, list[Path]] = {}
    for path in files:
        told = _take_caption(path)
        groups.setdefault(told.label or told.prompt, []).append(path)
    prompts = len(groups)
    if prompts == len(files) > 1:  # a list of themes, one take each: no group to compare within
        groups = {"one take per prompt": files}
    limit = max(1, MAX_TAKES // len(groups))
    blocks, strip = [], []
    for index, (name, paths) in enumerate(sorted(groups.items())):
        sounds = [_read(path, _take_caption(path)) for path in paths[:limit]]
        anchor, heading = f"takes-{index}", name or _NO_PROMPT
        blocks.append(_take_group(anchor, heading, sounds, len(paths), near_copies))
        strip.append(_strip_tile(anchor, heading, sounds))
    shown = sum(min(limit, len(paths)) for paths in groups.values())
    count = f"{shown} of {len(files)} takes" if shown < len(files) else f"{shown} takes"
    lead = f"{count} of {prompts} prompts or labels, none picked by hand."
    how = (
        "Space plays, ← and → move by a second, a click in a picture starts there. Pictures are"
        " log-mel spectrograms, Hz upwards; those of a group share one colour scale that ends"
        f" {RANGE_DB:.0f} dB below the loudest point. Sounds are Ogg Vorbis copies of"
        " evaluation/takes/."
    )
    body = section("takes", title, tag("p", how, class_="how"), *blocks, lead=lead)
    return body, tag("nav", *strip, class_="strip", aria_label="Takes")


def pairs_section(run_dir: Path, scores: Scores | None) -> Markup:
    """Return the section that sets held-out recordings beside what the codec makes of them."""
    title, folder = "Codec: real and reconstructed", RunFolder(run_dir).reconstructions
    pairs = [
        (path, path.with_name(path.name.replace(".real.", ".codec.")))
        for path in sound_files(folder)
        if ".real." in path.name
    ]
    if not pairs:
        body = missing("There are no reconstructions.", "audiogen evaluate RECIPE")
        if scores is not None and scores.codec is None:
            body = tag("p", NOTHING_HELD_OUT, class_="quiet")
        return section("codec", title, body)
    chosen = _spread(pairs, MAX_PAIRS)
    read = [tuple(_read(path, _caption(pair[0]), width=512) for path in pair) for pair in chosen]
    size = sum(2 * sound.wav.numel() for pair in read for sound in pair if sound.wav is not None)
    lossless = size <= _LOSSLESS_BYTES
    rows = [_pair(index, real, codec, lossless) for index, (real, codec) in enumerate(read)]
    count = f"{len(chosen)} of {len(pairs)}" if len(chosen) < len(pairs) else str(len(pairs))
    lead = (
        f"{count} held-out recordings, which training never saw. The codec is the ceiling of what"
        " a generator on it can sound like. A pair shares its colour scale; the sounds are"
        f" {'16-bit FLAC' if lossless else 'Ogg Vorbis'}."
    )
    return section("codec", title, *rows, lead=lead)


def demos_section(run_dir: Path) -> Markup:
    """Return the section that shows how the sound of a fixed prompt and seed developed."""
    title = "How it developed"
    blocks = [
        block
        for stage in ("codec", "generator", "distil")
        if (block := _stage_demos(stage, RunFolder(run_dir).demos(stage)))
    ]
    if not blocks:
        body = missing("There are no training demos.", "audiogen train RECIPE")
        return section("demos", title, body)
    lead = "The same prompt and seed, or the same recording, heard at steps of the training."
    return section("demos", title, *blocks, lead=lead)


def sound_files(folder: Path) -> list[Path]:
    """Return the sound files under `folder`, sorted; none when it is not there."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES and not is_hidden(path.name)
    )


def take_anchor(name: str) -> str:
    """Return the id that the player of the take `name` has in the page."""
    return "take-" + re.sub(r"[^A-Za-z0-9_.-]", "-", Path(name).name)


def _take_group(
    anchor: str, heading: str, sounds: Sequence[Sound], total: int, near_copies: Sequence[str]
) -> Markup:
    """Return the takes of one label or prompt."""
    reference = shared_reference([sound.image for sound in sounds if sound.image])
    cards = []
    for sound in sounds:
        prompt, seed = sound.caption.prompt, sound.caption.seed
        facts = [f"seed {'?' if seed is None else seed}", f"{number(sound.seconds)} s"]
        badge = ""
        if sound.path.name in near_copies:
            badge = tag("a", "near-copy", href="#copies", class_="badge")
        words = "" if prompt == heading else prompt or _NO_PROMPT
        if not sound.caption.is_known:
            words = f"{sound.path.name} (no readable JSON file)"
        text = tag("span", tag("span", " · ".join(facts), badge), words and tag("em", words))
        name = f"{prompt or heading}, {facts[0]}"
        cards.append(player(sound, name, text, reference, anchor=take_anchor(sound.path.name)))
    count = f"{len(sounds)} of {total}" if len(sounds) < total else str(total)
    button = tag("button", "play all", class_="all", type="button")
    title = tag("h3", heading, tag("span", f" {count}", class_="quiet"), button)
    return tag("div", title, tag("div", *cards, class_="cards"), class_="group", id=anchor)


def _strip_tile(anchor: str, heading: str, sounds: Sequence[Sound]) -> Markup:
    """Return a small picture that leads to a group of takes."""
    image = next((sound.image for sound in sounds if sound.image), None)
    if image is None:
        return Markup("")
    uri = picture_uri(image, reference_db=shared_reference([image]))
    return tag("a", tag("img", src=uri, alt=""), tag("span", heading), href=f"#{anchor}")


def _pair(index: int, real: Sound, codec: Sound, lossless: bool) -> Markup:
    """Return a recording beside its reconstruction."""
    reference = shared_reference([sound.image for sound in (real, codec) if sound.image])
    label = real.caption.label or f"pair {index}"
    sides = []
    for sound, side in ((real, "real"), (codec, "codec")):
        text = tag("span", tag("span", side, tag("span", f" {number(sound.seconds)} s")))
        sides.append(player(sound, f"{label}, {side}", text, reference, lossless=lossless))
    source = tag("span", f" {real.caption.path}", class_="quiet")
    return tag("div", tag("h3", label, source), tag("div", *sides, class_="pair"), class_="group")


def _stage_demos(stage: str, folder: Path) -> Markup:
    """Return one strip of sounds over steps for each demo of a stage."""
    steps = sorted(folder.glob("step-*"))
    names = sorted({path.name for step in steps for path in sound_files(step)})
    rows = []
    for name in names[:MAX_DEMO_ROWS]:
        files = [step / name for step in steps if (step / name).is_file()]
        chosen = _spread(files, MAX_DEMO_STEPS)
        sounds = [_read(path, _caption(path), width=256) for path in chosen]
        reference = shared_reference([sound.image for sound in sounds if sound.image])
        last = sounds[-1].caption
        heading = last.heading or name
        seed = "" if last.seed is None else f" seed {last.seed}"
        cards = []
        for sound in sounds:
            step_number = int(re.sub(r"\D", "", sound.path.parent.name) or 0)
            text = tag("span", tag("span", f"step {step_number:,}"))
            cards.append(player(sound, f"{heading}, step {step_number}", text, reference))
        title = tag("h4", heading, tag("span", seed, class_="quiet"))
        rows.append(tag("div", title, tag("div", *cards, class_="film"), class_="group"))
    if not rows:
        return Markup("")
    rest = len(names) - len(rows)
    more = tag("p", f"{rest} more in demos/{stage}/.", class_="quiet") if rest > 0 else ""
    return join([tag("h3", stage.capitalize()), *rows, more])


def player(
    sound: Sound,
    name: str,
    text: object,
    reference_db: float,
    *,
    lossless: bool = False,
    anchor: str | None = None,
) -> Markup:
    """Return a picture with a play button; without scripts it has the browser's own controls."""
    if sound.wav is None or sound.image is None:
        why = tag("p", f"{sound.path.name} cannot be read: {sound.problem}", class_="missing")
        return tag("figure", why, class_="player", id=anchor)
    head = tag("i", class_="head")
    picture = screen(sound.image, head, reference_db=reference_db, alt=f"Spectrogram of {name}")
    uri = sound_uri(sound.wav, sound.sample_rate, lossless=lossless)
    audio = tag("audio", src=uri, preload="none", controls=True)
    button = tag("button", class_="play", type="button", aria_label=f"Play {name}")
    caption = tag("figcaption", button, text)
    return tag("figure", picture, audio, caption, class_="player", id=anchor)


def _read(path: Path, caption: Caption, *, width: int = 384) -> Sound:
    """Read a sound; a file that cannot be read keeps its place, with the reason."""
    try:
        wav, sample_rate = read_audio(path)
    except (AudioReadError, OSError) as error:
        return Sound(path=path, caption=caption, problem=str(error).removeprefix(f"{path}: "))
    image = spectrogram(wav, sample_rate, width=width)
    return Sound(path=path, caption=caption, wav=wav, sample_rate=sample_rate, image=image)


def _take_caption(path: Path) -> Caption:
    """What is said of a take."""
    with contextlib.suppress(OSError, ValueError):
        if take := read_take(path):
            return Caption(prompt=take.prompt, label=take.label, seed=take.seed)
    return Caption(is_known=False)


def _caption(path: Path) -> Caption:
    """What is said of a demo or recording; `00.real.wav` shares `00.json` with its pair."""
    beside = path.with_suffix("").with_suffix(".json")
    try:
        return parse_config(Caption, read_json(beside), str(beside))
    except (OSError, TypeError, ValueError):
        return Caption(is_known=False)


def _spread(items: Sequence[ItemT], count: int) -> list[ItemT]:
    """Return at most `count` items, evenly spaced, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(k * (len(items) - 1) / (count - 1))] for k in range(count)]
