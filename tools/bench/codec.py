"""Time our token codec beside transformers' DAC: `python tools/bench/codec.py [--out FILE]`.

Both code 44.1 kHz mono at 86 frames per second with nine codebooks of 1024 (7.75 kbit/s), DAC with
the configuration of descript/dac_44khz (76.6 M parameters). Ours is timed in its default width, and
with about as many parameters as DAC. Weights are random: they do not change the time. Runs
alternate, so that all meet the same machine.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import alternate, machine, write_figures
from torch import Tensor, nn

from audiogen.codecs.bottlenecks.quantise import ResidualVQConfig
from audiogen.codecs.rvq import RVQCodec, RVQConfig
from audiogen.codecs.trunk_config import FourierTrunkConfig

SAMPLE_RATE, HOP, CODEBOOKS = 44_100, 512, 9
TARGET = 20
"""Times faster than DAC, to encode and to decode."""
WIDTHS = {
    "ours": FourierTrunkConfig(),
    "ours, DAC's parameters": FourierTrunkConfig(
        encoder_dim=768, encoder_depth=8, decoder_dim=1024, decoder_depth=7
    ),
}


def our_codec(trunk: FourierTrunkConfig) -> RVQCodec:
    """Our codec at DAC's rates."""
    config = RVQConfig(
        sample_rate=SAMPLE_RATE,
        hop_length=HOP,
        trunk=trunk,
        bottleneck=ResidualVQConfig(num_codebooks=CODEBOOKS, vocab_size=1024),
    )
    return RVQCodec(config).eval()


def dac() -> nn.Module:
    """DAC's 44.1 kHz network as transformers has it (Kumar et al. 2023)."""
    from transformers import DacConfig, DacModel  # noqa: PLC0415 (slow to import)

    config = DacConfig(
        encoder_hidden_size=64,
        downsampling_ratios=[2, 4, 8, 8],
        decoder_hidden_size=1536,
        n_codebooks=CODEBOOKS,
        codebook_size=1024,
        codebook_dim=8,
        sampling_rate=SAMPLE_RATE,
    )
    model: nn.Module = DacModel(config)
    return model.eval()


def jobs(wav: Tensor) -> dict[str, dict[str, Callable[[], Any]]]:
    """What is timed: for each codec, encoding and decoding of wav (1, 1, T)."""
    theirs: Any = dac()
    codes = theirs.encode(wav).audio_codes
    found: dict[str, dict[str, Callable[[], Any]]] = {
        "DAC": {
            "encode": lambda: theirs.encode(wav),
            "decode": lambda: theirs.decode(audio_codes=codes),
        }
    }
    for name, trunk in WIDTHS.items():
        codec = our_codec(trunk)
        tokens = codec.encode(wav)
        found[name] = {
            "encode": lambda codec=codec: codec.encode(wav),  # type: ignore[misc]
            "decode": lambda codec=codec, tokens=tokens: codec.decode(tokens),  # type: ignore[misc]
        }
        print(f"{name}: {sum(p.numel() for p in codec.parameters()) / 1e6:.1f} M parameters")
    print(f"DAC: {sum(p.numel() for p in theirs.parameters()) / 1e6:.1f} M parameters")
    return found


def measure(work: dict[str, dict[str, Callable[[], Any]]], rounds: int) -> list[dict[str, Any]]:
    """Time all in turn, and compare each with DAC."""
    runs = {(name, what): run for name, pair in work.items() for what, run in pair.items()}
    times = alternate(runs, rounds)
    rows = []
    for (name, what), seconds in times.items():
        ratios = [a / b for a, b in zip(times["DAC", what], seconds, strict=True)]
        rows.append(
            {
                "codec": name,
                "what": what,
                "seconds": statistics.median(seconds),
                "times_faster_than_dac": statistics.median(ratios),
            }
        )
    return rows


def main() -> None:
    """Measure, print, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of audio")
    parser.add_argument("--threads", type=int, help="of torch; all cores unless given")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    frames = round(given.seconds * SAMPLE_RATE / HOP)
    with torch.no_grad():
        rows = measure(jobs(0.1 * torch.randn(1, 1, frames * HOP)), given.rounds)
    for row in rows:
        ratio = row["times_faster_than_dac"]
        reached = "" if row["codec"] == "DAC" or ratio >= TARGET else f"  below {TARGET}"
        print(
            f"{row['codec']:24s} {row['what']:7s} {row['seconds']:7.3f} s"
            f"  {given.seconds / row['seconds']:7.1f}x real time  {ratio:6.1f}x DAC{reached}"
        )
    if given.out is not None:
        tree = {"machine": machine("transformers"), "seconds_of_audio": given.seconds, "rows": rows}
        write_figures(given.out, tree)


if __name__ == "__main__":
    main()
