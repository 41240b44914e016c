"""Train the token codec on both trunks for the same time, and compare what came of it.

    python tools/bench/trunks.py SOUNDS --seconds 300

Both are recipes/rvq.yaml at 22.05 kHz mono, with the same bottleneck (and so bitrate), losses and
batches; one has the strided Snake network of DAC and DAC's learning rate, the other the Fourier
trunk and the recipe's. The former has 3/8 of DAC's channels, and so about as many parameters as the
latter: with all of them a step takes a minute on two cores. The bitrate is DAC's, 7.75 kbit/s, at
which a codec can keep waveforms: at that of the recipe, a seventh of it, none can.

Shorter trainings of each are timed first, to know how many steps fit into the time. The Fourier
trunk is trained last, for three quarters of the time that the other took, since machines are not
equally fast all the time. Distances are of held-out recordings.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from timing import machine, write_figures

from audiogen.codecs import load_codec
from audiogen.data.manifest import read_split
from audiogen.evaluation.material import real_sounds, reconstructions
from audiogen.evaluation.metrics.reconstruction import reconstruction_metrics
from audiogen.experiment import load_config
from audiogen.run_folder import RunFolder

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "rvq.yaml"
RATE = (
    "train.codec.start=scratch",
    "codec.sample_rate=22050",
    "codec.audio_channels=1",
    "train.codec.crop_seconds=0.93",
    "codec.hop_length=256",
    "codec.bottleneck.num_codebooks=9",
    "train.codec.spectral.complex_weight=1",
    "train.codec.optim.algorithm=adamw",  # the other trunk has no matrices for Muon
    "train.codec.adversarial_start=0.88",
)
TRUNKS = {
    "convnet": (
        "codec.trunk.type=convnet",
        "codec.trunk.strides=[2,4,4,8]",
        "codec.trunk.encoder_dim=24",
        "codec.trunk.decoder_dim=576",
        "train.codec.optim.lr=1e-4",
    ),
    "fourier": ("codec.trunk.type=fourier", "codec.trunk.wave_bins=48"),
}
LAST_SHARE = 0.75
"""Of the first trunk's time that the last one is meant to take, so that it takes no more."""
PROBE_STEPS = 4
PROBE_SHARE = 0.2
"""Of the time that the second probe takes, about."""
FIGURES = {
    "mel_distance": "mel distance (dB)",
    "stft_distance": "STFT distance",
    "si_sdr_db": "SI-SDR (dB)",
}


def audiogen(*words: str) -> None:
    """Run a command of audiogen; its output is shown when it fails."""
    command = [sys.executable, "-m", "audiogen", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench: {' '.join(command)} failed\n{done.stdout}{done.stderr}")


def settings(sounds: Path, run: Path, trunk: str, steps: int, batch_size: int) -> list[str]:
    """The recipe with a number of steps, and a warm-up in proportion."""
    return [
        f"data.path={sounds}",
        f"run_dir={run}",
        "train.demo_every=1000000",
        "train.checkpoint_every=1000000",
        f"train.codec.steps={steps}",
        f"train.codec.batch_size={batch_size}",
        "train.codec.adversarial_start=1",
        f"train.codec.optim.warmup_steps={max(1, steps // 20)}",
        *RATE,
        *TRUNKS[trunk],
    ]


def train(sounds: Path, run: Path, trunk: str, steps: int, batch_size: int) -> float:
    """Train; return the seconds that it took, without preparation."""
    words = settings(sounds, run, trunk, steps, batch_size)
    audiogen("prepare", str(RECIPE), *words)
    before = time.perf_counter()
    audiogen("train", str(RECIPE), *words)
    return time.perf_counter() - before


def distances(run: Path) -> dict[str, float]:
    """Means over the held-out sounds, and what the codec is."""
    config = load_config(run)
    codec = load_codec(RunFolder(run).model("codec")).eval()
    rows = read_split(config.run.manifest, "held_out")
    real = real_sounds(config, codec.spec, rows, len(rows))
    decoded, _ = reconstructions(config, codec, real)
    pairs = zip(real.wavs, decoded.wavs, strict=True)
    found = [reconstruction_metrics(*pair, codec.spec.sample_rate) for pair in pairs]
    means = {key: statistics.fmean(getattr(item, key) for item in found) for key in FIGURES}
    parameters = sum(one.numel() for one in codec.parameters())
    return {
        "parameters": parameters,
        "clips": len(found),
        "bits_per_second": codec.spec.bits_per_second(),
        **means,
    }


def compare(sounds: Path, folder: Path, seconds: float, batch_size: int) -> list[dict[str, Any]]:
    """Train both trunks for about `seconds`, and measure them."""
    rows: list[dict[str, Any]] = []
    for trunk in TRUNKS:
        if rows:
            seconds = LAST_SHARE * rows[0]["seconds"]
        # Two lengths, so that start, demos and export are not taken for steps.
        short = train(sounds, folder / f"{trunk}-short", trunk, PROBE_STEPS, batch_size)
        more = 3 + round(PROBE_SHARE * seconds * PROBE_STEPS / short)
        longer = train(sounds, folder / f"{trunk}-longer", trunk, PROBE_STEPS + more, batch_size)
        per_step = max(1e-3, (longer - short) / more)
        steps = max(1, round((seconds - short) / per_step + PROBE_STEPS))
        took = train(sounds, folder / trunk, trunk, steps, batch_size)
        found = distances(folder / trunk)
        rows.append({"trunk": trunk, "steps": steps, "seconds": took, **found})
        print(line(rows[-1]), flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    """A row of the table as text."""
    figures = ", ".join(f"{name} {row[key]:.2f}" for key, name in FIGURES.items())
    return (
        f"{row['trunk']:8s} {row['parameters'] / 1e6:5.1f} M, {row['steps']:5d} steps in"
        f" {row['seconds']:.0f} s, {row['bits_per_second'] / 1000:.2f} kbit/s: {figures}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--seconds", type=float, default=300, help="of training, for each")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        rows = compare(given.sounds.resolve(), Path(name), given.seconds, given.batch_size)
    if given.out is not None:
        command = f"python tools/bench/trunks.py SOUNDS --seconds {given.seconds:g}"
        tree = {"command": command, "machine": machine(), "rows": rows}
        write_figures(given.out, tree)


if __name__ == "__main__":
    main()
