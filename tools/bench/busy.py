"""What the waiting of OpenMP's threads costs, on an idle machine and beside busy processes.

    python tools/bench/busy.py --rounds 3 --busy 2 --out FILE

A thread that waits for the others may spin, which is quick and takes a processor from whoever
could use it, or sleep. For each way of waiting a process of its own, since OpenMP reads the
variables when torch is imported, takes training steps of `base` and makes takes with it. The
table has the fastest of the rounds as ratios to what torch does by itself on the idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

WAITING: Mapping[str, Mapping[str, str]] = {
    "torch's own": {},
    "spin 100": {"GOMP_SPINCOUNT": "100"},
    "spin 1000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10000": {"GOMP_SPINCOUNT": "10000"},
    "sleep": {"OMP_WAIT_POLICY": "PASSIVE"},
}
STEPS, TAKES = 6, 4
BATCH = 8


def main() -> None:
    """Print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, default=2, help="processes beside")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        sys.stdout.write(json.dumps(measured()))
        return
    from timing import machine, write_figures  # noqa: PLC0415 - torch is for the children

    found: dict[str, dict[str, list[float]]] = {name: {} for name in WAITING}
    for _ in range(given.rounds):
        for name, variables in WAITING.items():
            for place, count in (("idle", 0), ("busy", given.busy)):
                with beside(count):
                    for work, seconds in child(variables).items():
                        found[name].setdefault(f"{work}, {place}", []).append(seconds)
    kinds = list(found["torch's own"])
    rows = []
    print(f"{'waiting':<14}" + "".join(f"{kind:>18}" for kind in kinds))
    for name, times in found.items():
        ratios = {}
        for kind in kinds:
            idle = f"{kind.partition(',')[0]}, idle"
            ratios[kind] = min(times[kind]) / min(found["torch's own"][idle])
        rows.append({"waiting": name, "seconds": {k: min(times[k]) for k in kinds}, **ratios})
        print(f"{name:<14}" + "".join(f"{ratios[kind]:>18.2f}" for kind in kinds), flush=True)
    if given.out is not None:
        write_figures(given.out, {"machine": machine(), "busy": given.busy, "rows": rows})


def child(variables: Mapping[str, str]) -> dict[str, float]:
    """Measure in a process that has these variables."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, __file__, "--child"],
        env={**plain, **variables, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    times: dict[str, float] = json.loads(done.stdout)
    return times


@contextmanager
def beside(count: int) -> Iterator[None]:
    """Keep `count` processes busy inside."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measured() -> dict[str, float]:
    """Seconds of a training step and of a take, in this process."""
    import torch  # noqa: PLC0415 - it reads the variables

    from audiogen.pipeline import Pipeline  # noqa: PLC0415
    from audiogen.take_request import TakeRequest  # noqa: PLC0415
    from audiogen.types import Batch  # noqa: PLC0415

    pipeline = Pipeline.from_pretrained("base", device="cpu")
    generator = pipeline.generator.requires_grad_(requires_grad=True)
    window = generator.window_frames
    requests = TakeRequest.of_each(["rain"], range(BATCH), seconds=pipeline.config.clip_seconds)
    batch = Batch(
        latents=torch.randn(BATCH, generator.spec.channels, window),
        mask=torch.ones(BATCH, window, dtype=torch.bool),
        conditions=pipeline.conditions(requests),
    )
    optimizer = torch.optim.AdamW(generator.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        generator(batch).loss.backward()
        optimizer.step()

    def take() -> None:
        pipeline.takes(requests[:TAKES])

    times = {}
    for name, work, count in (("step", step, STEPS), ("take", take, 1)):
        work()
        before = time.perf_counter()
        for _ in range(count):
            work()
        times[name] = (time.perf_counter() - before) / count
    return times


if __name__ == "__main__":
    main()
