"""The network of all-MiniLM-L6-v2, of torch's own layers: a small BERT (Wang et al. 2020).

Its layers are `torch.nn.TransformerEncoder`: the library that is known for it, transformers, is
slow to import, and every take begins with a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

DIM, DEPTH, NUM_HEADS, HIDDEN = 384, 6, 12, 1536
VOCAB_SIZE, MOST_TOKENS = 30_522, 512
EPS = 1e-12
_LAYER = {  # names of torch by those of the file
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}


class MiniLM(nn.Module):
    """From tokens to a state for each; without dropout, for use and not for training."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCAB_SIZE, DIM)
        self.places = nn.Embedding(MOST_TOKENS, DIM)
        self.norm = nn.LayerNorm(DIM, eps=EPS)
        layer = nn.TransformerEncoderLayer(
            DIM,
            NUM_HEADS,
            HIDDEN,
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=EPS,
            batch_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, N) that all count to states (B, N, 384)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        states: Tensor = self.encoder(self.norm(self.words(tokens) + self.places(places)))
        return states

    def load_published(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of the published file, which has names of its own.

        Every text is the first of the two that BERT may be given, so the vector which says so is
        added to those of places.
        """
        found = {
            "words.weight": weights["embeddings.word_embeddings.weight"],
            "places.weight": weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0],
        }
        for kind in ("weight", "bias"):
            found[f"norm.{kind}"] = weights[f"embeddings.LayerNorm.{kind}"]
            for number in range(DEPTH):
                ours, theirs = f"encoder.layers.{number}", f"encoder.layer.{number}"
                parts = [
                    weights[f"{theirs}.attention.self.{part}.{kind}"]
                    for part in ("query", "key", "value")
                ]
                found[f"{ours}.self_attn.in_proj_{kind}"] = torch.cat(parts)
                for own, other in _LAYER.items():
                    found[f"{ours}.{own}.{kind}"] = weights[f"{theirs}.{other}.{kind}"]
        self.load_state_dict(found)
