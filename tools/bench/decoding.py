"""Time our decoding beside transformers' MusicGen: `python tools/bench/decoding.py [--out FILE]`.

Both are decoders of 12 layers of width 512 with 8 heads, over 4 codebooks of 2048 tokens, with
cross-attention to 32 text tokens; each frame takes the most likely tokens of the one before. Theirs
is `MusicgenForCausalLM` with its own cache, called frame by frame: its `generate`, which does more
for each frame, has a line of its own and is not what we compare with.

One step at a time is limited by how fast the weights are read. The limit is the time in which
`torch.sum` reads as many bytes from one long vector; beside it stands the time of a single
matrix-vector product with as many. Runs alternate, so that all meet the same machine; the clock
starts when the text's keys and values are still to be computed.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import alternate, machine, write_figures
from torch import Tensor, nn

from audiogen.nn.compiled import compiled
from audiogen.nn.decoder import Begin, Decoder
from audiogen.nn.lowbit import WeightKind
from audiogen.nn.transformer import Transformer
from audiogen.types import Context

DIM, DEPTH, HEADS = 512, 12, 8
CODEBOOKS, VOCAB = 4, 2048
TEXT_TOKENS = 32
BATCHES = (1, 8)
LIMIT = "limit (torch.sum)"
KINDS: tuple[WeightKind, ...] = ("fp32", "bf16", "int8")
TARGETS = {(1, "fp32"): 1.25, (1, "bf16"): 2.5, (1, "int8"): 2.5, (8, "fp32"): 1.5}
"""Times faster than MusicGen, by batch and weights; of bf16 and int8 one is enough."""
LIMIT_TARGET = 0.85
"""Share of the speed at which the weights can be read at all, at batch 1 in fp32."""


class Ours(nn.Module):
    """Embeddings, and our Transformer with heads for all codebooks."""

    def __init__(self) -> None:
        super().__init__()
        rows = CODEBOOKS * (VOCAB + 1)
        self.embedding = nn.Embedding(rows, DIM)
        self.decoder = Decoder(Transformer(DIM, DEPTH, HEADS, causal=True), nn.Linear(DIM, rows))
        self.first = torch.arange(CODEBOOKS) * (VOCAB + 1)

    def embed(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, K, S) to (B, S, dim)."""
        embedded: Tensor = self.embedding(tokens + self.first[:, None])
        return embedded.sum(dim=1)

    def decode(
        self, begin: Begin, context: Context, frames: int, given: Tensor | None = None
    ) -> list[Tensor]:
        """Logits (B, K, V + 1) of each frame; each reads the last one's tokens, or `given`."""
        step = begin(context, frames)
        tokens = torch.full((len(context.vector), CODEBOOKS, 1), VOCAB)
        found: list[Tensor] = []
        for frame in range(frames):
            if given is not None:
                tokens = given[:, :, frame : frame + 1]
            found.append(step(self.embed(tokens)).view(len(tokens), CODEBOOKS, -1))
            if given is None:
                tokens = found[-1].argmax(dim=-1, keepdim=True)
        return found


class Theirs:
    """MusicGen's decoder as transformers has it (Copet et al. 2023)."""

    def __init__(self) -> None:
        import transformers  # noqa: PLC0415 (slow to import)

        config = transformers.MusicgenDecoderConfig(
            vocab_size=VOCAB,
            hidden_size=DIM,
            num_hidden_layers=DEPTH,
            num_attention_heads=HEADS,
            ffn_dim=4 * DIM,
            num_codebooks=CODEBOOKS,
            audio_channels=1,
        )
        kind: Any = transformers.MusicgenForCausalLM  # it has no types
        self.network: Any = kind(config).eval()

    def decode(self, context: Context, frames: int) -> None:
        """Decode frame by frame with its cache."""
        tokens, cache = torch.full((len(context.vector) * CODEBOOKS, 1), VOCAB), None
        for _ in range(frames):
            out = self.network(
                tokens,
                encoder_hidden_states=context.sequence,
                past_key_values=cache,
                use_cache=True,
            )
            cache, tokens = out.past_key_values, out.logits[:, -1:].argmax(dim=-1)

    def generate(self, context: Context, frames: int) -> None:
        """Decode as its users do: patterns, processing of logits and stopping included.

        By itself it makes a cache that has no place for the text's keys and values.
        """
        from transformers.cache_utils import DynamicCache, EncoderDecoderCache  # noqa: PLC0415

        self.network.generate(
            torch.full((len(context.vector) * CODEBOOKS, 1), VOCAB),
            encoder_hidden_states=context.sequence,
            past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
            max_length=frames + 1,
            decoder_start_token_id=VOCAB,
            do_sample=False,
            num_return_sequences=1,
        )


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: median milliseconds per frame, and MusicGen's over it by round."""

    batch: int
    what: str
    milliseconds: float
    ratios: list[float]
    limit_share: float

    @property
    def ratio(self) -> float:
        """How many times faster than MusicGen: the median over the rounds."""
        return statistics.median(self.ratios)

    def __str__(self) -> str:
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        target = TARGETS.get((self.batch, self.what), 0)
        below = f"  below {target}" if self.ratio < target else ""
        if (self.batch, self.what) == (1, "fp32") and self.limit_share < LIMIT_TARGET:
            below += f"  below {LIMIT_TARGET:.0%} of the limit"
        return (
            f"{self.batch:5d} {self.what:18s} {self.milliseconds:8.2f} ms {self.ratio:6.2f}x"
            f"  ({spread})  {self.limit_share:5.0%}{below}"
        )


def bytes_read(network: nn.Module, kept: tuple[str, ...]) -> int:
    """Bytes of float32 weights that one frame reads: all layers but those the cache `kept`."""
    return sum(
        4 * layer.weight.numel()
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and not name.endswith(kept)
    )


def make_context(batch: int) -> Context:
    """Random text for `batch` items."""
    return Context(
        sequence=torch.randn(batch, TEXT_TOKENS, DIM),
        mask=torch.ones(batch, TEXT_TOKENS, dtype=torch.bool),
        vector=torch.randn(batch, DIM),
    )


def measure(ours: Ours, theirs: Theirs, batch: int, frames: int, rounds: int) -> list[Row]:
    """All rows of one batch size."""
    context = make_context(batch)
    weights = torch.randn(bytes_read(ours, ("key_value",)) // 4)

    def read() -> None:
        for _ in range(frames):
            weights.sum()

    def multiply() -> None:
        for _ in range(frames):
            torch.mv(weights.view(-1, DIM), weights[:DIM])

    runs: dict[str, Callable[[], object]] = {
        LIMIT: read,
        "torch.mv": multiply,
        "MusicGen": partial(theirs.decode, context, frames),
        "MusicGen generate": partial(theirs.generate, context, frames),
    }
    for kind in KINDS:
        runs[kind] = partial(ours.decode, compiled(ours.decoder, kind), context, frames)
    times = alternate(runs, rounds)
    rows = []
    for name, own in times.items():
        shares = [a / b for a, b in zip(times[LIMIT], own, strict=True)]
        rows.append(
            Row(
                batch=batch,
                what=name,
                milliseconds=1000 * statistics.median(own) / frames,
                ratios=[b / a for a, b in zip(own, times["MusicGen"], strict=True)],
                limit_share=statistics.median(shares),
            )
        )
        print(rows[-1], flush=True)
    return rows


def differences(ours: Ours, frames: int) -> dict[str, float]:
    """Greatest difference from the logits of the whole at once in fp32, and their deviation."""
    context = make_context(2)
    given = torch.randint(VOCAB, (2, CODEBOOKS, frames))
    exact = ours.decoder(ours.embed(given), context).view(2, frames, CODEBOOKS, -1)
    found = {"deviation": float(exact.std())}
    for kind in KINDS:
        steps = ours.decode(compiled(ours.decoder, kind), context, frames, given)
        stepwise = torch.stack(steps, dim=1)
        found[kind] = float((stepwise - exact).abs().max())
    return found


def main() -> None:
    """Measure, print, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=100, help="decoded in each run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, counted")
    parser.add_argument("--threads", type=int, help="of torch; all cores unless given")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    if min(given.frames, given.rounds, given.threads or 1) < 1:
        parser.error("--frames, --rounds and --threads must be at least 1")
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    about = machine("transformers")
    ours, theirs = Ours().eval(), Theirs()
    read = {
        "ours": bytes_read(ours, ("key_value",)),
        "musicgen": bytes_read(theirs.network, ("encoder_attn.k_proj", "encoder_attn.v_proj")),
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print(", ".join(f"{name} reads {count / 1e6:.1f} MB a frame" for name, count in read.items()))
    print(f"batch {'weights':18s} {'per frame':>11s} {'faster':>7s}  (of rounds)   of the limit")
    rows: list[Row] = []
    with torch.inference_mode():
        apart = differences(ours, given.frames)
        for batch in BATCHES:
            rows += measure(ours, theirs, batch, given.frames, given.rounds)
    speed = read["ours"] / rows[0].milliseconds / 1e6
    print(f"memory is read at {speed:.1f} GB/s")
    print("greatest difference of logits: ", ", ".join(f"{k} {v:.2g}" for k, v in apart.items()))
    if given.out is not None:
        found = [
            {
                "batch": row.batch,
                "what": row.what,
                "milliseconds_per_frame": row.milliseconds,
                "times_faster": row.ratio,
                "limit_share": row.limit_share,
            }
            for row in rows
        ]
        tree = {
            "machine": about,
            "bytes_read_per_frame": read,
            "read_gb_per_second": speed,
            "rows": found,
            "logit_differences": apart,
            "targets": {f"{kind}, batch {batch}": x for (batch, kind), x in TARGETS.items()},
            "limit_target": LIMIT_TARGET,
        }
        write_figures(given.out, tree)


if __name__ == "__main__":
    main()
