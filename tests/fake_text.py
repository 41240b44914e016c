"""A text encoder without weights, for tests."""

import zlib
from collections.abc import Sequence

import torch

from audiogen.conditioning.text import TEXT_DIM, TextStates


class FakeTextEncoder:
    """Stands in for the text encoder: a random vector per word, without weights to load."""

    def __init__(self, *_: object) -> None:
        pass

    def __call__(self, prompts: Sequence[str], *, together: bool = False) -> TextStates:
        del together
        longest = max(1, *(len(text.split()) for text in prompts), 1)
        states = torch.zeros(len(prompts), longest, TEXT_DIM)
        mask = torch.zeros(states.shape[:2], dtype=torch.bool)
        pooled = torch.zeros(len(prompts), TEXT_DIM)
        for row, text in enumerate(prompts):
            for place, word in enumerate(text.split()):
                source = torch.Generator().manual_seed(zlib.crc32(word.encode()))
                states[row, place] = torch.randn(TEXT_DIM, generator=source)
                mask[row, place] = True
            if text.split():
                pooled[row] = torch.nn.functional.normalize(states[row].sum(dim=0), dim=0)
        return TextStates(states=states, mask=mask, pooled=pooled * TEXT_DIM**0.5)
