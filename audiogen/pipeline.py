"""From prompts to waveforms: the codec, the text encoder and the generator behind one call."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from audiogen.audio.finishing import finished
from audiogen.conditioning.controls import Controls, Role, make_controls
from audiogen.conditioning.text import TextEncoder
from audiogen.devices import usable_device
from audiogen.generators import AnySampling, Start
from audiogen.generators.abilities import EndsSounds
from audiogen.generators.request import Request
from audiogen.judge.judge import label_words, named_label
from audiogen.limits import MAX_WINDOWS, MIN_SECONDS
from audiogen.model_folder import Model, read_model, write_model
from audiogen.remaking import MOST_TRIES, Drawn, draw
from audiogen.storage import publish_folder
from audiogen.take_request import TakeRequest
from audiogen.types import Conditions

_log = logging.getLogger(__name__)


class Pipeline:
    """Owns codec, text encoder and generator.

    >>> from audiogen import Pipeline
    >>> pipeline = Pipeline.from_pretrained("runs/diffusion")  # doctest: +SKIP
    >>> wav = pipeline(["light rain"], seconds=5.0, seeds=[7])  # doctest: +SKIP
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.config, self.judge, self.digest = model.config, model.judge, model.digest
        self.codec = model.codec.eval()
        self.generator = model.generator.eval()
        self._text: TextEncoder | None = None
        self._doubted: set[str] = set()
        self._named: dict[str, str | None] = {}

    @property
    def text(self) -> TextEncoder:
        """The text encoder, read when it is first needed."""
        if self._text is None:
            self._text = TextEncoder(self.config.text, self.codec.device)
        return self._text

    @torch.no_grad()
    def __call__(
        self,
        prompts: Sequence[str],
        *,
        seconds: float,
        seeds: Sequence[int],
        sampling: AnySampling | None = None,
        negative_prompt: str = "",
        controls: Controls | None = None,
    ) -> Tensor:
        """Generate one take per prompt, all of one length; see `takes`.

        Args:
            prompts: B texts; an empty one leaves the sound to the model.
            seconds: length of every take, from 0.5 s to twelve training windows.
            seeds: one per take; a take depends on its own prompt and seed, not on its batch.
                For one that is silent or not recognised another seed stands in; see `drawn`.
            sampling: solver and guidance; None takes the model's own.
            negative_prompt: what guidance leads away from; empty is a sound without a prompt.
            controls: how the takes should sound, in the units that are measured, such as
                {"brightness": 2500}; those that the model was trained with.

        Returns:
            wav (B, C, T) with exactly round(seconds * sample_rate) samples.

        Raises:
            ValueError: seconds out of range, or not one seed per prompt.
            ConfigError: a control that the model does not know, or not with such a value.
        """
        if len(prompts) != len(seeds):
            raise ValueError(f"expected one seed per prompt, got {len(prompts)}, {len(seeds)}")
        requests = [
            TakeRequest(
                prompt=prompt,
                seconds=seconds,
                seed=seed,
                sampling=sampling,
                negative_prompt=negative_prompt,
                controls=dict(controls or {}),
            )
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        return torch.stack([one.wav for one in self.drawn(requests)])

    @torch.no_grad()
    def drawn(self, requests: Sequence[TakeRequest], *, tries: int = MOST_TRIES) -> list[Drawn]:
        """Generate takes; again, with other seeds, what is silent, has a seam or is not recognised.

        Each depends on its own request alone. For what is recognised see `SamplingConfig`; of a
        take that none of the tries makes right, the best is kept.

        Args:
            requests: see `takes`.
            tries: for each take, at most; 1 makes it of the very seed that is asked for.

        Returns:
            The takes, as `takes` makes them, with the seeds that they were made with.

        Raises:
            ValueError, ConfigError: see `takes`.
        """
        self.check(requests)
        return draw(
            requests, self.takes, self._recognised, self.codec.spec.sample_rate, tries=tries
        )

    def _recognised(self, request: TakeRequest, wav: Tensor) -> float:
        """How probably a take (C, T) is what its prompt names; 1 where that is enough."""
        least = (request.sampling or self.config.sample).recognised
        is_chosen = request.variation is not None  # by whoever wants more like it
        label = self.named(request.prompt) if least and not is_chosen else None
        if label is None or self.judge is None:
            return 1.0
        share = self.judge.probabilities(wav)[label]
        return 1.0 if share >= least else share

    def named(self, prompt: str) -> str | None:
        """The sound that a prompt names, of those that the model's recogniser knows, if any."""
        if self.judge is None:
            return None
        if prompt not in self._named:
            names = self.judge.labels
            found = self.text([prompt, *map(label_words, names)]).pooled
            self._named[prompt] = named_label(prompt, names, found[0], found[1:])
        return self._named[prompt]

    @torch.no_grad()
    def takes(self, requests: Sequence[TakeRequest]) -> list[Tensor]:
        """Generate takes in one batch, as they come; each depends on its own request alone.

        A loop is made on a ring of latent frames that is decoded as a ring. Its waveform is
        brought to the exact length by resampling the ring, which moves the pitch by less than one
        part in twice the number of frames.

        Args:
            requests: B takes that differ in prompt, seed and, unless they are loops or end where
                the model ends them, in length.

        Returns:
            B takes (C, round(seconds * sample_rate)), at -23 LUFS or with the peak at -1 dBFS,
            whichever is lower; near-silence is raised by 20 dB at most. The level of a loop is
            that of its repetition.

        Raises:
            ValueError: no request, requests that do not fit into one batch, a length out of
                range, or an end asked of a model that is told its lengths.
            ConfigError: a control that the model does not know, or not with such a value.
        """
        self.check(requests)
        return self.render(requests, self.conditions(requests))

    @torch.no_grad()
    def render(
        self, requests: Sequence[TakeRequest], conditions: Conditions, *, start: Start | None = None
    ) -> list[Tensor]:
        """Generate takes from conditions that need not be those of their prompts; see `takes`.

        Without a `start` they begin as they are asked to.
        """
        spec, first = self.codec.spec, requests[0]
        frames = [one.num_frames(spec) for one in requests]
        seeds = [one.sampling_seed for one in requests]
        noise = [one.start_noise(spec) for one in requests] if start is None else []
        given = [one for one in noise if one is not None]  # of all, or of none
        negative = None
        if first.negative_prompt.strip():  # its controls are those of the takes
            negative = self.conditions(
                [one.model_copy(update={"prompt": one.negative_prompt}) for one in requests]
            )
        request = Request(
            conditions=conditions,
            lengths=frames,
            sampling=first.sampling or self.config.sample,
            seeds=seeds,
            negative=negative,
            start=start or Start(noise=torch.stack(given) if given else None),
            ring=first.loop,
        )
        if isinstance(self.generator, EndsSounds) and first.to_end:
            sounds = self.generator.sample_to_end(request)
        else:
            latents = self.generator.answer(request)
            sounds = [one[:, :length] for one, length in zip(latents, frames, strict=True)]
        sounds = [
            self.codec.transposed(sound[None], one.transpose / 12)[0] if one.transpose else sound
            for sound, one in zip(sounds, requests, strict=True)
        ]
        wavs = self._decoded(sounds, seeds, ring=first.loop)
        return [
            finished(wav, spec.sample_rate, one.seconds, ring=one.loop, to_rate=one.rate)
            for wav, one in zip(wavs, requests, strict=True)
        ]

    def _decoded(
        self, sounds: Sequence[Tensor], seeds: Sequence[int], *, ring: bool
    ) -> list[Tensor]:
        """Decode latents (D, L) of several lengths; a decoder would hear the padding of a batch."""
        made: dict[int, Tensor] = {}
        for length in dict.fromkeys(one.shape[1] for one in sounds):
            items = [index for index, one in enumerate(sounds) if one.shape[1] == length]
            part = torch.stack([sounds[index] for index in items])
            wav = self.codec.decode(part, seeds=[seeds[index] for index in items], ring=ring)
            made.update(zip(items, wav.cpu(), strict=True))
        return [made[index] for index in range(len(sounds))]

    def check(self, requests: Sequence[TakeRequest]) -> None:
        """Refuse what `takes` cannot make in one batch, before anything is made.

        Raises:
            ValueError, ConfigError: see `takes`.
        """
        problems = [text for text in map(self.length_problem, requests) if text]
        if problems or len({one.batch_key for one in requests}) != 1:
            reason = "expected takes that differ in prompt, seed and length, at least one"
            raise ValueError(problems[0] if problems else reason)
        self.config.generator.conditioner.numbers(requests[0].controls)
        self.check_transpose(*(one.transpose for one in requests))
        if requests[0].to_end and not isinstance(self.generator, EndsSounds):
            raise ValueError(
                f"a model of type {self.config.generator.type} is told how long a sound is\n"
                "  give its seconds, or take a model of type autoregressive"
            )

    def check_transpose(self, *semitones: float) -> None:
        """Raise ValueError where a pitch is to be moved that the model's codec does not tell."""
        if any(semitones) and not self.codec.tells_pitch:
            raise ValueError(
                f"{self.config.name}: its codec tells no pitch, which could be moved\n"
                "  codecs with codec.trunk.type=harmonic do, as those of the recipes"
            )

    def length_problem(self, request: TakeRequest) -> str:
        """Say why this model cannot make a take so long, or so short; empty where it can."""
        spec, seconds = self.codec.spec, request.seconds
        least = 2 / spec.frame_rate if request.loop else MIN_SECONDS
        most = MAX_WINDOWS * self.config.clip_seconds
        if least <= seconds <= most:
            return ""
        of_loops = (
            " (a loop has at least two latent frames)" if seconds < least < MIN_SECONDS else ""
        )
        return f"seconds={seconds:g}: {self.config.name} makes {least:.3g} to {most:g} s{of_loops}"

    def conditions(self, requests: Sequence[TakeRequest], role: Role | None = None) -> Conditions:
        """Encode what takes are asked for, as the generator reads it.

        Without a `role`, a take longer than the training window, and a loop, is asked for as a
        slice of the window's length, and a shorter one as a whole sound. A take that ends where
        the model ends it is whole, and its length is left out, which would tell the end.

        Raises:
            ConfigError: a control that the model does not know, or not with such a value.
        """
        window, states = self.config.clip_seconds, self.text([one.prompt for one in requests])
        is_slice = [one.loop or one.seconds > window for one in requests]
        numbers = make_controls(
            seconds=[math.nan if one.to_end else min(one.seconds, window) for one in requests],
            roles=[
                role or ("slice" if cut and not one.to_end else "whole")
                for one, cut in zip(requests, is_slice, strict=True)
            ],
            measures=[self.config.generator.conditioner.numbers(one.controls) for one in requests],
        )
        self._doubt([one.prompt for one in requests], states.pooled)
        conditions = Conditions(
            text=states.states, text_mask=states.mask, pooled=states.pooled, controls=numbers
        )
        return conditions.to(self.codec.device)

    def _doubt(self, prompts: Sequence[str], pooled: Tensor) -> None:
        """Warn of prompts, once each, of which no word was said of a training sound."""
        words = self.model.vocabulary
        if words is None:
            return
        for prompt, vector in zip(prompts, pooled, strict=True):
            if prompt in self._doubted or words.knows(prompt):
                continue
            self._doubted.add(prompt)
            _log.warning(
                "prompt %r: no word of it was said of a sound that %s learnt, which has to guess\n"
                "  nearest words that were: %s",
                prompt,
                self.config.name,
                ", ".join(words.nearest(vector.cpu())),
            )

    def to(self, device: torch.device | str) -> Self:
        """Move the models to `device`."""
        self.codec.to(device)
        self.generator.to(device)
        self._text = None
        return self

    @classmethod
    def from_pretrained(cls, path: str | Path, *, device: str | torch.device = "auto") -> Self:
        """Load a run folder or a model folder, or a model by its name.

        Args:
            path: the folder, or the name.
            device: see `devices.usable_device`; "auto" is the GPU where torch has one.

        Raises:
            FileNotFoundError: there is no finished model; says where it was looked for.
            ValueError: its files are not those that were written, or the device cannot be used.
            ConfigError: the folder's config is not valid.
        """
        found = usable_device(device) if isinstance(device, str) else device
        return cls(read_model(Path(path))).to(found)

    def save_pretrained(
        self,
        path: str | Path,
        documents: Mapping[str, str] | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Write a folder that `from_pretrained` reads; it appears when it is complete.

        Args:
            path: the folder; an older one there is replaced.
            documents: texts that go with it, by file name, such as those of
                `provenance.card.documents`; the others are those of the folder it was read from.
            dtype: of matrices in the files, such as torch.bfloat16, which halves them; None takes
                that which they have.
        """
        with publish_folder(Path(path)) as folder:
            write_model(folder, self.model, documents or {}, dtype=dtype)
