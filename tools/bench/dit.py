"""Time our DiT beside diffusers' StableAudioDiTModel: `python tools/bench/dit.py [--out FILE]`.

Both have 12 layers of width 512 with 8 heads, and read 64 latent channels, 256 frames, 32 text
tokens of width 384, batch 4. Ours is timed with one frame per token, as theirs has it, and with
two, as it is by default. What is timed includes the projection of the text. Their feed-forward
is a half wider (their config does not offer another), so the table gives parameters and
multiplications of both. Runs alternate, ours and theirs, so that both meet the same machine.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timing import alternate, machine, write_figures
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from audiogen.conditioning.conditioner import Conditioner, ConditionerConfig
from audiogen.conditioning.controls import make_controls
from audiogen.nn.dit import DiT
from audiogen.types import Conditions

DIM, DEPTH, HEADS = 512, 12, 8
BATCH, CHANNELS, FRAMES = 4, 64, 256
TOKENS, TEXT_DIM = 32, 384
TARGET = 1.3
"""Times faster than diffusers, in each row."""
PRECISIONS = ("fp32", "bf16")
PATCHES = (1, 2)
"""Frames per token of ours; theirs has one."""


class Ours(nn.Module):
    """Conditioner and DiT."""

    def __init__(self, patch_frames: int) -> None:
        super().__init__()
        self.conditioner = Conditioner(ConditionerConfig(), TEXT_DIM, DIM)
        self.network = DiT(CHANNELS, DIM, DEPTH, HEADS, patch_frames)
        for parameter in self.parameters():  # as after training: no zeros that could come cheaper
            if not bool(parameter.any()):
                nn.init.normal_(parameter, std=0.02)
        self.conditions = Conditions(
            text=torch.randn(BATCH, TOKENS, TEXT_DIM),
            text_mask=torch.ones(BATCH, TOKENS, dtype=torch.bool),
            pooled=torch.randn(BATCH, TEXT_DIM),
            controls=make_controls(seconds=[5.0] * BATCH, roles=["whole"] * BATCH),
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Map x (B, D, L) at times t (B,) to (B, D, L)."""
        out: Tensor = self.network(x, t, None, self.conditioner(self.conditions))
        return out


class Theirs(nn.Module):
    """The Transformer of Stable Audio Open as diffusers has it (Evans et al. 2024)."""

    def __init__(self) -> None:
        super().__init__()
        import diffusers  # noqa: PLC0415 (an extra, and slow to import)
        from diffusers.models.embeddings import get_1d_rotary_pos_embed  # noqa: PLC0415

        head_dim = DIM // HEADS
        kind: Any = diffusers.StableAudioDiTModel  # it has no types
        self.network: nn.Module = kind(
            sample_size=FRAMES,
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            num_layers=DEPTH,
            attention_head_dim=head_dim,
            num_attention_heads=HEADS,
            num_key_value_attention_heads=HEADS,
            cross_attention_input_dim=TEXT_DIM,
            cross_attention_dim=TEXT_DIM,
            global_states_input_dim=TEXT_DIM,
        )
        self.text = torch.randn(BATCH, TOKENS, TEXT_DIM)
        self.pooled = torch.randn(BATCH, 1, TEXT_DIM)
        # Half of the channels turn, and one token for the global states comes first: as their
        # pipeline has it.
        self.rotary: Any = get_1d_rotary_pos_embed(
            head_dim // 2, FRAMES + 1, use_real=True, repeat_interleave_real=False
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Map x (B, D, L) at times t (B,) to (B, D, L)."""
        out: Tensor = self.network(
            x,
            timestep=t,
            encoder_hidden_states=self.text,
            global_hidden_states=self.pooled,
            rotary_embedding=self.rotary,
            return_dict=False,
        )[0]
        return out


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: median seconds of both, and theirs / ours of each round."""

    what: str
    patch_frames: int
    precision: str
    ours: float
    theirs: float
    ratios: Sequence[float]

    @property
    def ratio(self) -> float:
        """How many times faster ours is: the median over the rounds."""
        return statistics.median(self.ratios)


def forward_of(model: nn.Module, precision: str) -> Callable[[], None]:
    """One forward pass in evaluation mode, without gradients."""
    x, t = torch.randn(BATCH, CHANNELS, FRAMES), torch.rand(BATCH)

    def run() -> None:
        model.eval()
        bf16 = precision == "bf16"
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            model(x, t)

    return run


def step_of(
    model: nn.Module, optimizer: torch.optim.Optimizer, precision: str
) -> Callable[[], None]:
    """One training step: forward, backward and AdamW."""
    x, t = torch.randn(BATCH, CHANNELS, FRAMES), torch.rand(BATCH)
    target = torch.randn_like(x)

    def run() -> None:
        model.train()
        bf16 = precision == "bf16"
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = model(x, t)
        loss = (out.float() - target).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def measure(ours: nn.Module, theirs: nn.Module, patch_frames: int, rounds: int) -> list[Row]:
    """Four rows; forwards are short, so that they get more rounds."""
    models = (ours, theirs)
    # Fused, as in training: the default loops over parameters, which costs the same again.
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True) for model in models]
    rows = []
    for precision in PRECISIONS:
        forwards = [forward_of(model, precision) for model in models]
        steps = [
            step_of(model, optimizer, precision)
            for model, optimizer in zip(models, optimizers, strict=True)
        ]
        for what, pair, count in (
            ("forward", forwards, 2 * rounds),
            ("training step", steps, rounds),
        ):
            times = alternate({"ours": pair[0], "theirs": pair[1]}, count)
            row = Row(
                what=what,
                patch_frames=patch_frames,
                precision=precision,
                ours=statistics.median(times["ours"]),
                theirs=statistics.median(times["theirs"]),
                ratios=[b / a for a, b in zip(times["ours"], times["theirs"], strict=True)],
            )
            print(line(row), flush=True)
            rows.append(row)
    return rows


def line(row: Row) -> str:
    """A row of the table as text."""
    spread = f"{min(row.ratios):.2f} to {max(row.ratios):.2f}"
    reached = "" if row.ratio >= TARGET else f"  below {TARGET}"
    return (
        f"{row.what:14s} {row.patch_frames}  {row.precision:5s} {row.ours:8.3f} s"
        f" {row.theirs:8.3f} s   {row.ratio:5.2f}x  ({spread}){reached}"
    )


def size_of(model: nn.Module) -> dict[str, float]:
    """Parameters, and multiplications of one forward pass in linear layers, in millions."""
    with FlopCounterMode(display=False) as counter:
        forward_of(model, "fp32")()
    return {
        "parameters": round(sum(one.numel() for one in model.parameters()) / 1e6, 1),
        "linear_multiplications": round(counter.get_total_flops() / 2e6),
    }


def main() -> None:
    """Measure, print, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="training steps of each, counted")
    parser.add_argument("--threads", type=int, help="of torch; all cores unless given")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    if given.rounds < 1 or (given.threads is not None and given.threads < 1):
        parser.error("--rounds and --threads must be at least 1")
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    try:
        models = {**{f"ours, {count}": Ours(count) for count in PATCHES}, "theirs": Theirs()}
    except ImportError as error:
        raise SystemExit(
            f"bench: diffusers is needed ({error})\n  make setup-dev   installs it"
        ) from error
    about = machine("diffusers")
    sizes = {name: size_of(model) for name, model in models.items()}
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    for name, size in sizes.items():
        parameters, work = size["parameters"], size["linear_multiplications"]
        print(f"{name:8s} {parameters:.1f} M parameters, {work:.0f} M multiplications (linear)")
    print(f"{'frames per token':23s} {'ours':>10s} {'diffusers':>10s}   faster  (of single rounds)")
    rows = [
        row
        for count in PATCHES
        for row in measure(models[f"ours, {count}"], models["theirs"], count, given.rounds)
    ]
    if given.out is not None:
        found = [
            {
                "what": row.what,
                "frames_per_token": row.patch_frames,
                "precision": row.precision,
                "ours_seconds": row.ours,
                "diffusers_seconds": row.theirs,
                "times_faster": row.ratio,
            }
            for row in rows
        ]
        tree = {"machine": about, "sizes": sizes, "rows": found, "target": TARGET}
        write_figures(given.out, tree)


if __name__ == "__main__":
    main()
