"""What each generator class declares is what it does, over all members of the union."""

from typing import Any

import pytest
import torch

from audiogen.generators import (
    GENERATORS,
    LatentGenerator,
    ODESamplingConfig,
    SamplingConfig,
    TokenSamplingConfig,
    build_generator,
)
from audiogen.types import Conditions, LatentSpec

MEMBERS: tuple[Any, ...] = tuple(GENERATORS)
TEXT_DIM, WINDOW, VOCABULARY = 12, 8, 16
SIZE = {"dim": 32, "depth": 1, "num_heads": 2}
SHORT: dict[type[SamplingConfig], SamplingConfig] = {
    ODESamplingConfig: ODESamplingConfig(steps=2),
    TokenSamplingConfig: TokenSamplingConfig(passes=(2, 1)),
}


def made(member: Any) -> LatentGenerator:
    """Return a small generator of a member of the union, in evaluation mode."""
    config = member(**SIZE)
    kind = GENERATORS[member].accepts
    spec = LatentSpec(
        kind=kind,
        channels=2,
        vocab_size=VOCABULARY if kind == "tokens" else None,
        hop_length=512,
        sample_rate=16000,
        audio_channels=1,
    )
    return build_generator(config, spec, TEXT_DIM, WINDOW).eval()


def conditions() -> Conditions:
    return Conditions(
        text=torch.randn(1, 3, TEXT_DIM),
        text_mask=torch.ones(1, 3, dtype=torch.bool),
        pooled=torch.randn(1, TEXT_DIM),
        controls={"seconds": torch.tensor([torch.nan]), "role": torch.tensor([0.0])},
    )


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
def test_it_samples_by_the_settings_it_declares_and_by_no_others(member: Any) -> None:
    generator = made(member)
    for kind, sampling in SHORT.items():
        if kind is generator.sampling:
            latents = generator.sample(conditions(), WINDOW, sampling=sampling, seeds=[1])
            assert latents.shape == (1, 2, WINDOW)
        else:
            with pytest.raises(ValueError, match="sample"):
                generator.sample(conditions(), WINDOW, sampling=sampling, seeds=[1])


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
def test_it_ends_its_sounds_only_if_it_says_so(member: Any) -> None:
    generator = made(member)
    sampling = SHORT[generator.sampling]
    if generator.ends_sounds:
        [tokens] = generator.sample_to_end(conditions(), WINDOW, sampling=sampling, seeds=[1])
        assert 1 <= tokens.shape[1] <= WINDOW
    else:
        with pytest.raises(ValueError, match="is told how long a sound is"):
            generator.sample_to_end(conditions(), WINDOW, sampling=sampling, seeds=[1])


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
def test_only_what_has_paths_traces_them(member: Any) -> None:
    assert hasattr(made(member), "trace") is GENERATORS[member].has_paths
