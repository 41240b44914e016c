"""What every generator is: an objective over latents, and a sampler of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from audiogen.generators.config import GeneratorConfig
from audiogen.generators.request import Request, Start, of_kind
from audiogen.generators.sampling import SamplingConfig
from audiogen.types import Batch, Conditions, Kind, LatentSpec, LossOutput


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean () of the values (B,) that are chosen (B,); NaN where none is."""
    return torch.where(chosen, values, 0).sum() / chosen.sum()


class LatentGenerator(nn.Module, ABC):
    """A model of latents given conditions; see `abilities` for what some can do besides.

    >>> from audiogen.codecs.mel import MelCodec, MelConfig
    >>> from audiogen.generators import FlowConfig, ODESamplingConfig, build_generator
    >>> codec = MelCodec(MelConfig(num_bands=4, vocoder="griffin_lim"))
    >>> config = FlowConfig(dim=32, depth=1, num_heads=2)
    >>> model = build_generator(config, codec.spec, text_dim=384, window_frames=16).eval()
    >>> text = torch.zeros(1, 1, 384)
    >>> prompt = Conditions(text=text, text_mask=text[..., 0] == 0, pooled=text[:, 0], controls={})
    >>> model.sample(prompt, 20, sampling=ODESamplingConfig(steps=2), seeds=[7]).shape
    torch.Size([1, 4, 20])
    """

    accepts: ClassVar[Kind]
    sampling: ClassVar[type[SamplingConfig]]
    """The settings that `sample` takes."""
    loops: ClassVar[bool] = False
    """Whether `sample` makes rings."""
    keeps: Literal["nothing", "beginnings", "anything"] = "nothing"
    """Which frames of a given sound can be kept while the rest is made to fit them."""

    def __init__(
        self, config: GeneratorConfig, spec: LatentSpec, text_dim: int, window_frames: int
    ) -> None:
        """Make a generator with fresh weights; see `build_generator`."""
        super().__init__()
        del text_dim
        self.config = config
        self.spec = spec
        self.window_frames = window_frames

    @abstractmethod
    def forward(self, batch: Batch) -> LossOutput:
        """The objective; it is `forward` so that DDP, FSDP and compile see it."""

    @abstractmethod
    def draw(self, request: Request) -> Tensor:
        """Sample what a checked request asks for; see `sample`."""

    @abstractmethod
    def network_evaluations(self, sampling: SamplingConfig, num_frames: int) -> int:
        """Evaluations of the network for one take; one of a doubled batch counts once."""

    @torch.no_grad()
    def sample(
        self,
        conditions: Conditions,
        num_frames: int | Sequence[int],
        *,
        sampling: SamplingConfig,
        seeds: Sequence[int],
        negative: Conditions | None = None,
        start: Start | None = None,
        ring: bool = False,
    ) -> Tensor:
        """Sample latents (B, D, L) or tokens (B, K, L).

        Args:
            conditions: of B items.
            num_frames: of all items, or of each; L is the largest.
            sampling: of the generator's own kind.
            seeds: one per item; an item's result depends on its own seed and conditions alone.
            negative: what guidance leads away from; None is no prompt.
            start: where to start instead of from the seeds' noise.
            ring: make sounds whose end leads into their beginning.

        Returns:
            (B, D, L) or (B, K, L); zeros behind the end of a shorter item.

        Raises:
            ValueError: the request is none, or asks for what this generator cannot do; or what
                comes out is not finite.
        """
        if isinstance(num_frames, int):
            num_frames = [num_frames] * len(conditions)
        request = Request(
            conditions=conditions,
            lengths=num_frames,
            sampling=sampling,
            seeds=seeds,
            negative=negative,
            start=start or Start(),
            ring=ring,
        )
        return self.answer(request)

    @torch.no_grad()
    def answer(self, request: Request) -> Tensor:
        """Sample what a request asks for; see `sample`."""
        self.check(request)
        return request.finite(self.draw(request))

    def check(self, request: Request) -> None:
        """Raise ValueError when a request asks for what this generator cannot do."""
        of_kind(self.sampling, request.sampling)
        keep, kind = request.start.keep, self.config.type
        if request.ring and not self.loops:
            raise ValueError(
                f"sample: a model of type {kind} does not know the end when it begins: no ring\n"
                "  make loops with a generator of type masked, diffusion or flow"
            )
        if keep is None or self.keeps == "anything":
            return
        if self.keeps == "nothing":
            raise ValueError("sample: this model was trained without infill; it keeps no frames")
        if bool((keep[:, 1:] & ~keep[:, :-1]).any()):
            raise ValueError(
                f"sample: a model of type {kind} keeps the beginning of a sound and nothing else\n"
                "  to fill gaps take a generator of type masked, diffusion or flow"
            )
