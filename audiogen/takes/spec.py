"""What a take is made of: prompt, seed, length and settings, as objects and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from audiogen.audio.io.decoding import SAMPLE_RATES_HZ
from audiogen.conditioning.controls import Controls
from audiogen.generators import SamplingConfig, parse_sampling

MAX_SEED = 1 << 40
"""Seeds are below it; far above lies the noise of variations."""


@dataclass(frozen=True, kw_only=True)
class Tempo:
    """Length of a loop in music: `bars` of `beats_per_bar` beats, `bpm` of them per minute."""

    bpm: float
    bars: int
    beats_per_bar: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.bpm <= 999 or self.bars < 1 or self.beats_per_bar < 1:
            raise ValueError(
                "expected bpm 1 to 999, bars >= 1 and beats_per_bar >= 1, got"
                f" {self.bpm:g}, {self.bars}, {self.beats_per_bar}"
            )

    @property
    def seconds(self) -> float:
        """Length of the loop."""
        return self.bars * self.beats_per_bar * 60 / self.bpm


@dataclass(frozen=True, kw_only=True)
class Variation:
    """That a take is like another one of the same settings: whose seed, and how far from it.

    Attributes:
        from_seed: of the other take.
        amount: 0 is the other take itself, 1 a new sound.
    """

    from_seed: int
    amount: float


@dataclass(frozen=True, kw_only=True)
class TakeSpec:
    """What a take is made of, besides the model.

    Attributes:
        prompt: what it should sound like.
        seed: of its noise.
        seconds: its length; with `to_end` the most it may have.
        sampling: settings of the model's own kind.
        negative_prompt: what guidance leads away from.
        loop: whether it is a seamless loop.
        tempo: of a loop whose length is counted in bars.
        to_end: whether it ends where the model ends it.
        variation: of which take it is one.
        begins_as: seconds of a shorter take of the same seed, with whose noise it begins.
        rate: Hz, to which the model's samples are brought at the end; None leaves them.
        controls: how it should sound, of those that the model knows; in their own units.
    """

    prompt: str
    seed: int
    seconds: float
    sampling: SamplingConfig
    negative_prompt: str = ""
    loop: bool = False
    tempo: Tempo | None = None
    to_end: bool = False
    variation: Variation | None = None
    begins_as: float | None = None
    rate: int | None = None
    controls: Controls = field(default_factory=dict)

    def to_tree(self) -> dict[str, Any]:
        """Return it as JSON types; what is not set is left out."""
        tree = {
            "prompt": self.prompt,
            "seed": self.seed,
            "seconds": self.seconds,
            "negative_prompt": self.negative_prompt,
            "loop": self.loop,
            "tempo": self.tempo and asdict(self.tempo),
            "to_end": self.to_end,
            "variation": self.variation and asdict(self.variation),
            "begins_as": self.begins_as,
            "rate": self.rate,
            "controls": dict(self.controls),
        }
        kept = {name: value for name, value in tree.items() if value or name in _ALWAYS}
        return {**kept, "sampling": self.sampling.model_dump(mode="json")}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], source: str) -> TakeSpec:
        """Read what `to_tree` gave.

        Raises:
            ValueError: something is missing or of a wrong kind; names `source`.
        """
        try:
            tempo, variation = tree.get("tempo"), tree.get("variation")
            begins_as, rate = tree.get("begins_as"), tree.get("rate")
            return cls(
                prompt=_text(tree["prompt"]),
                seed=_seed(tree["seed"]),
                seconds=float(tree["seconds"]),
                sampling=parse_sampling(tree["sampling"], source=source),
                negative_prompt=_text(tree.get("negative_prompt", "")),
                loop=tree.get("loop", False) is True,
                tempo=Tempo(**tempo) if tempo else None,
                to_end=tree.get("to_end", False) is True,
                variation=Variation(**variation) if variation else None,
                begins_as=None if begins_as is None else float(begins_as),
                rate=None if rate is None else _rate(rate),
                controls=_controls(tree.get("controls", {})),
            )
        except KeyError as error:
            raise ValueError(f"{source}: {error} is missing: not written by audiogen") from None
        except TypeError as error:
            raise ValueError(f"{source}: not as audiogen wrote it ({error})") from None

    @classmethod
    def from_sidecar(cls, sidecar: Mapping[str, Any], source: str) -> TakeSpec:
        """Read what the JSON file beside a take tells; errors as of `from_tree`."""
        loop, ended = sidecar.get("loop"), sidecar.get("ended_within_seconds")
        resampled = sidecar.get("resampled")
        tree = {**sidecar, "loop": loop is not None, "to_end": ended is not None}
        if isinstance(loop, Mapping) and "bpm" in loop:
            tree["tempo"] = {name: loop[name] for name in ("bpm", "bars", "beats_per_bar")}
        if ended is not None:
            tree["seconds"] = ended
        if isinstance(resampled, Mapping):
            tree["rate"] = resampled.get("to")
        return cls.from_tree(tree, source)


_ALWAYS = frozenset({"prompt", "seed", "seconds"})


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r:.40}")
    return value


def _controls(value: object) -> dict[str, float | str]:
    if isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(one, int | float | str) and not isinstance(one, bool)
        for name, one in value.items()
    ):
        return {name: one if isinstance(one, str) else float(one) for name, one in value.items()}
    raise TypeError(f"expected controls as names with values, got {value!r:.40}")


def _rate(value: object) -> int:
    low, high = SAMPLE_RATES_HZ
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise TypeError(f"expected a rate of {low} to {high} Hz, got {value!r:.40}")
    return value


def _seed(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"expected a seed, a whole number from 0, got {value!r:.40}")
    return value
