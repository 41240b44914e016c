"""From prompts to waveforms: the codec, the text encoder and the generator behind one call."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from audiogen.audio.dsp import set_loudness
from audiogen.audio.loops import resample_ring
from audiogen.codecs import Codec, load_codec, save_codec
from audiogen.conditioning.controls import Controls, Role, make_controls
from audiogen.conditioning.text import TEXT_DIM, TextEncoder
from audiogen.experiment import ModelConfig
from audiogen.generators import LatentGenerator, SamplingConfig, Start, build_generator
from audiogen.generators.abilities import EndsSounds
from audiogen.judge.judge import Judge
from audiogen.run_folder import CONFIG, JUDGE, WEIGHTS, find_model, model_digest, write_documents
from audiogen.schema import dump_config, read_config
from audiogen.seal import require_whole, seal_folder
from audiogen.storage import publish_folder, read_tensors, write_tensors
from audiogen.types import Conditions, LatentSpec

FILES = (CONFIG, WEIGHTS, JUDGE)
"""Of a model, which its seal covers; its codec has one of its own."""

MIN_SECONDS = 0.5
MAX_WINDOWS = 12
"""Longest take, in training windows."""
MAX_GAIN_DB = 20.0
"""Takes come out near the loudness of the training clips; one far below it is silence, and more
gain would only turn its noise floor up."""
LOOP_ROLE: Role = "slice"
"""As what a loop is asked for: a whole sound would begin and end, and clips that loop are rare in
training data."""


class Pipeline:
    """Owns codec, text encoder and generator.

    >>> from audiogen import Pipeline
    >>> pipeline = Pipeline.from_pretrained("runs/diffusion")  # doctest: +SKIP
    >>> wav = pipeline(["light rain"], seconds=5.0, seeds=[7])  # doctest: +SKIP
    """

    def __init__(
        self,
        config: ModelConfig,
        codec: Codec,
        generator: LatentGenerator,
        *,
        digest: str = "",
        judge: Judge | None = None,
    ) -> None:
        self.config = config
        self.codec = codec.eval()
        self.generator = generator.eval()
        self.digest = digest
        """Sixteen hexadecimal digits that name the weights; empty for weights never saved."""
        self.judge = judge
        """Tells how a take fits its prompt; None where the sounds it learnt have no labels."""
        self.folder: Path | None = None
        """That it was read from."""
        self._text: TextEncoder | None = None

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
        sampling: SamplingConfig | None = None,
        negative_prompt: str = "",
        controls: Controls | None = None,
    ) -> Tensor:
        """Generate one take per prompt, all of one length.

        Args:
            prompts: B texts; an empty one leaves the sound to the model.
            seconds: length of every take, from 0.5 s to twelve training windows.
            seeds: one per take; a take depends on its own prompt and seed, not on its batch.
            sampling: solver and guidance; None takes the model's own.
            negative_prompt: what guidance leads away from; empty is a sound without a prompt.
            controls: how the takes should sound, in the units that are measured, such as
                {"brightness": 2500}; those that the model was trained with.

        Returns:
            wav (B, C, T) with exactly round(seconds * sample_rate) samples, at -23 LUFS or with
            its peak at -1 dBFS, whichever is lower; near-silence is raised by 20 dB at most.

        Raises:
            ValueError: seconds out of range, or not one seed per prompt.
            ConfigError: a control that the model does not know, or not with such a value.
        """
        return torch.stack(
            self.takes(
                prompts,
                seconds=[seconds] * len(prompts),
                seeds=seeds,
                sampling=sampling,
                negative_prompt=negative_prompt,
                controls=controls,
            )
        )

    @torch.no_grad()
    def takes(
        self,
        prompts: Sequence[str],
        *,
        seconds: Sequence[float],
        seeds: Sequence[int],
        sampling: SamplingConfig | None = None,
        negative_prompt: str = "",
        controls: Controls | None = None,
        start: Start | None = None,
    ) -> list[Tensor]:
        """Generate one take per prompt, each of its own length, in one batch.

        Args:
            prompts: B texts.
            seconds: of each take.
            seeds: as of a call.
            sampling: as of a call.
            negative_prompt: as of a call.
            controls: as of a call.
            start: where to start instead of from the seeds' noise.

        Returns:
            B takes, each (C, round(seconds * sample_rate)); levels and errors as of a call.
        """
        if len(seconds) != len(prompts):
            raise ValueError(f"expected seconds for each of {len(prompts)}, got {len(seconds)}")
        self._check(prompts, seeds, seconds)
        return self.render(
            self.conditions(prompts, seconds, controls=controls),
            seconds=seconds,
            seeds=seeds,
            sampling=sampling,
            negative=self.negative(negative_prompt, seconds, controls=controls),
            start=start,
        )

    @torch.no_grad()
    def takes_to_end(
        self,
        prompts: Sequence[str],
        *,
        max_seconds: float,
        seeds: Sequence[int],
        sampling: SamplingConfig | None = None,
        negative_prompt: str = "",
        controls: Controls | None = None,
    ) -> list[Tensor]:
        """Generate takes that end where the model ends them.

        Args:
            prompts: B texts.
            max_seconds: a take that has not ended by then is cut.
            seeds: as of a call.
            sampling: as of a call.
            negative_prompt: as of a call.
            controls: as of a call.

        Returns:
            B takes (C, T), each of its own length; levels as of a call.

        Raises:
            ValueError: as of a call, or the generator is none that ends its sounds.
        """
        generator, lengths = self.generator, [max_seconds] * len(prompts)
        if not isinstance(generator, EndsSounds):
            raise ValueError(
                f"a model of type {self.config.generator.type} is told how long a sound is\n"
                "  give its seconds, or take a model of type autoregressive"
            )
        self._check(prompts, seeds, lengths)
        unknown = [math.nan] * len(prompts)  # the length would tell the end
        tokens = generator.sample_to_end(
            self.conditions(prompts, unknown, "whole", controls),
            self.codec.spec.num_frames(max_seconds),
            sampling=sampling or self.config.sample,
            seeds=seeds,
            negative=self.negative(negative_prompt, unknown, "whole", controls),
        )
        most = self.codec.spec.num_samples(max_seconds)
        wavs = [
            self.codec.decode(one[None], seeds=[seed])[0].cpu()
            for one, seed in zip(tokens, seeds, strict=True)
        ]
        return [self._finished(wav, min(most, wav.shape[1])) for wav in wavs]

    @torch.no_grad()
    def loops(
        self,
        prompts: Sequence[str],
        *,
        seconds: float,
        seeds: Sequence[int],
        sampling: SamplingConfig | None = None,
        negative_prompt: str = "",
        controls: Controls | None = None,
        start: Start | None = None,
    ) -> Tensor:
        """Generate seamless loops, on a ring of latent frames that is decoded as a ring.

        A ring has whole frames. Its waveform is brought to the exact length by resampling the
        ring, which moves the pitch by less than one part in twice the number of frames.

        Args:
            prompts: B texts.
            seconds: length of every loop, from two latent frames on.
            seeds: as of a call.
            sampling: as of a call.
            negative_prompt: as of a call.
            controls: as of a call.
            start: where to start instead of from the seeds' noise.

        Returns:
            wav (B, C, T) with exactly round(seconds * sample_rate) samples; levels as of a call,
            measured on the loop repeated.

        Raises:
            ValueError: seconds out of range, or not one seed per prompt.
        """
        spec = self.codec.spec
        lengths = [seconds] * len(prompts)
        num_samples = spec.num_samples(seconds)
        if num_samples < 2 * spec.hop_length:
            raise ValueError(
                f"seconds={seconds:g}: a loop has at least two latent frames, which are"
                f" {2 / spec.frame_rate:.3f} s with this model"
            )
        self._check(prompts, seeds, lengths, least=0)
        turns = self.render(
            self.conditions(prompts, lengths, LOOP_ROLE, controls),
            seconds=lengths,
            seeds=seeds,
            sampling=sampling,
            negative=self.negative(negative_prompt, lengths, LOOP_ROLE, controls),
            start=start,
            ring=True,
        )
        return torch.stack(turns)

    @torch.no_grad()
    def render(
        self,
        conditions: Conditions,
        *,
        seconds: Sequence[float],
        seeds: Sequence[int],
        sampling: SamplingConfig | None = None,
        negative: Conditions | None = None,
        start: Start | None = None,
        ring: bool = False,
    ) -> list[Tensor]:
        """Generate from conditions instead of prompts; see `takes`, and with `ring` `loops`."""
        spec = self.codec.spec
        frames = [loop_frames(spec, one) if ring else spec.num_frames(one) for one in seconds]
        latents = self.generator.sample(
            conditions,
            frames,
            sampling=sampling or self.config.sample,
            seeds=seeds,
            negative=negative,
            start=start,
            ring=ring,
        )
        made: dict[int, Tensor] = {}
        for length in dict.fromkeys(frames):  # a decoder would hear the padding of shorter items
            items = [index for index, found in enumerate(frames) if found == length]
            part = latents[items, :, :length]
            wav = self.codec.decode(part, seeds=[seeds[index] for index in items], ring=ring)
            made.update(zip(items, wav.cpu(), strict=True))
        finish = self._finished_turn if ring else self._finished
        return [finish(made[index], spec.num_samples(one)) for index, one in enumerate(seconds)]

    def _finished(self, wav: Tensor, num_samples: int) -> Tensor:
        """Cut a take (C, T) to its length and set its level."""
        cut = wav[:, :num_samples]
        return set_loudness(cut, self.codec.spec.sample_rate, max_gain_db=MAX_GAIN_DB)

    def _finished_turn(self, wav: Tensor, num_samples: int) -> Tensor:
        """Bring one turn of a loop to its length and set the level that it has when repeated."""
        twice = resample_ring(wav, num_samples).repeat(1, 2)
        levelled = set_loudness(twice, self.codec.spec.sample_rate, max_gain_db=MAX_GAIN_DB)
        return levelled[:, :num_samples]

    def _check(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        seconds: Sequence[float],
        least: float = MIN_SECONDS,
    ) -> None:
        """Raise ValueError when there is not one seed per prompt, or a length is out of range."""
        if len(prompts) != len(seeds) or not prompts:
            raise ValueError(f"expected one seed per prompt, got {len(prompts)}, {len(seeds)}")
        most = MAX_WINDOWS * self.config.clip_seconds
        for one in seconds:
            if not least <= one <= most:
                raise ValueError(f"seconds={one:g}: this model makes {least:.3g} to {most:g} s")

    def negative(
        self,
        prompt: str,
        seconds: Sequence[float],
        role: Role | None = None,
        controls: Controls | None = None,
    ) -> Conditions | None:
        """Conditions that guidance leads away from; None for an empty prompt.

        The controls are those of the takes: guidance follows the prompt.
        """
        if not prompt.strip():
            return None
        return self.conditions([prompt] * len(seconds), seconds, role, controls)

    def conditions(
        self,
        prompts: Sequence[str],
        seconds: Sequence[float],
        role: Role | None = None,
        controls: Controls | None = None,
    ) -> Conditions:
        """Encode prompts for sounds of `seconds` each.

        Without a `role`, a take longer than the window is asked for as a slice of the window's
        length, and a shorter one as a whole sound. Errors of `controls` are those of a call.
        """
        measures = self.config.generator.conditioner.numbers(controls or {})
        states = self.text(prompts)
        window = self.config.clip_seconds
        numbers = make_controls(
            seconds=[min(one, window) for one in seconds],
            roles=[role or ("slice" if one > window else "whole") for one in seconds],
            measures=[measures] * len(seconds),
        )
        conditions = Conditions(
            text=states.states, text_mask=states.mask, pooled=states.pooled, controls=numbers
        )
        return conditions.to(self.codec.device)

    def to(self, device: torch.device | str) -> Self:
        """Move the models to `device`."""
        self.codec.to(device)
        self.generator.to(device)
        self._text = None
        return self

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """Load a run folder or a model folder.

        Raises:
            FileNotFoundError: there is no finished model; says where it was looked for.
            ValueError: its files are not those that were written.
            ConfigError: the folder's config is not valid.
        """
        folder = find_model(Path(path))
        require_whole(folder, FILES)
        config = read_config(ModelConfig, folder / CONFIG)
        codec = load_codec(folder / "codec")
        window = codec.spec.num_frames(config.clip_seconds)
        generator = build_generator(config.generator, codec.spec, TEXT_DIM, window)
        generator.load_state_dict(read_tensors(folder / WEIGHTS))
        generator.requires_grad_(requires_grad=False)
        judge = Judge.read(folder / JUDGE) if (folder / JUDGE).is_file() else None
        if judge is not None and judge.sample_rate != codec.spec.sample_rate:
            raise ValueError(
                f"{folder / JUDGE}: for sounds at {judge.sample_rate} Hz;"
                f" this model makes {codec.spec.sample_rate} Hz"
            )
        pipeline = cls(config, codec, generator, digest=model_digest(folder), judge=judge)
        pipeline.folder = folder
        return pipeline

    def save_pretrained(self, path: str | Path, documents: Mapping[str, str] | None = None) -> None:
        """Write a folder that `from_pretrained` reads; it appears when it is complete.

        Args:
            path: the folder; an older one there is replaced.
            documents: texts that go with it, by file name, such as those of
                `provenance.card.documents`; the others are those of the folder it was read from.
        """
        with publish_folder(Path(path)) as folder:
            self.write_into(folder, documents)

    def write_into(self, folder: Path, documents: Mapping[str, str] | None = None) -> None:
        """Write the files of `save_pretrained` into an empty folder that the caller publishes."""
        (folder / CONFIG).write_text(dump_config(self.config), encoding="utf-8")
        (folder / "codec").mkdir()
        save_codec(folder / "codec", self.codec)
        write_tensors(folder / WEIGHTS, self.generator.state_dict())
        if self.judge is not None:
            self.judge.write(folder / JUDGE)
        seal_folder(folder, FILES)
        write_documents(folder, documents or {}, self.folder)
        if self.folder is not None:
            write_documents(folder / "codec", {}, self.folder / "codec")


def loop_frames(spec: LatentSpec, seconds: float) -> int:
    """Latent frames of the ring that a loop of `seconds` is made on; at least two."""
    return max(2, round(spec.num_samples(seconds) / spec.hop_length))
