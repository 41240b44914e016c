"""How large a curation page is, how long it takes to write, and when it is first painted.

    python tools/bench/page.py --takes 200 --seconds 5 10 --chromium /usr/bin/chromium

The takes are the procedural textures; every fourth is a loop. The page is written for the first
time, with a tenth of the takes new, and with none new, by turns. It is opened from disk in
headless Chromium (needs the package playwright). Of the browser's own times since the page was
asked for, "first paint" is when the first cards are seen, "ready" when all sounds are there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from audiogen.audio.dsp import set_loudness
from audiogen.data.textures.writing import plan_clip, render_clip
from audiogen.generators import ODESamplingConfig
from audiogen.sidecar import take_slug
from audiogen.texture.job import JobTake, read_job, write_job
from audiogen.texture.making import Made, write_take
from audiogen.texture.page import write_page
from audiogen.texture.spec import TakeSpec

RUNS = 5
TIMES = """() => {
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  const [load] = performance.getEntriesByType("navigation");
  return [paint ? paint.startTime : NaN, load.domContentLoadedEventEnd];
}"""


class _Stub:
    """What `write_take` asks of a pipeline."""

    digest = "0" * 16

    def __init__(self, sample_rate: int) -> None:
        spec = SimpleNamespace(sample_rate=sample_rate)
        self.codec = SimpleNamespace(spec=spec, device=torch.device("cpu"))
        self.config = SimpleNamespace(
            name="textures", licences={"CC0-1.0": 1}, terms=None, codec_licence=""
        )


def write_pack(pack: Path, *, count: int, seconds: tuple[float, float], rate: int) -> None:
    """Write a pack of procedural textures, stereo."""
    stub: Any = _Stub(rate)
    takes = []
    for number in range(count):
        clip = plan_clip(7, number)
        share = zlib.crc32(str(number).encode()) / (1 << 32)
        length = round(seconds[0] + share * (seconds[1] - seconds[0]), 2)
        sound = render_clip(clip, seconds=length, sample_rate=rate, audio_channels=2)
        wav = set_loudness(torch.from_numpy(sound).float(), rate)
        spec = TakeSpec(
            prompt=clip.caption, seed=number, seconds=length, loop=number % 4 == 0,
            sampling=ODESamplingConfig(),
        )  # fmt: skip
        name = f"{take_slug(clip.caption)}-seed{number}"
        take = JobTake(file=name, spec=spec, model="textures", model_digest=stub.digest)
        made = Made(spec=spec, wav=wav, seam=None, tries=1, batch=[spec], place=0)
        write_take(stub, made, take.path(pack))
        takes.append(take)
    write_job(pack, takes)


def time_pages(pack: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of a first page, of one with a tenth of new takes, and of one with none, by turns."""
    takes = [take.path(pack) for take in read_job(pack)]
    rows: dict[str, list[float]] = {"for the first time": [], "with a tenth new": [], "again": []}
    write_page(pack)  # warms up: imports and compiled functions
    for _ in range(rounds):
        shutil.rmtree(pack / ".cards", ignore_errors=True)
        for what, seconds in rows.items():
            if what == "with a tenth new":
                for path in takes[::10]:
                    os.utime(path)
            start = time.monotonic()
            write_page(pack)
            seconds.append(round(time.monotonic() - start, 2))
    return rows


def open_page(page: Path, chromium: str, picture: Path | None) -> None:
    """Open the page some times and print when it was painted."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 (a test dependency)

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium)
        for number in range(RUNS):
            tab = browser.new_page(viewport={"width": 1360, "height": 900})
            tab.goto(page.resolve().as_uri())
            tab.wait_for_timeout(300)
            paint, ready = tab.evaluate(TIMES)
            print(f"run {number + 1}: first paint {paint:.0f} ms, ready {ready:.0f} ms")
            if picture is not None and number == 0:
                tab.screenshot(path=picture)
            tab.close()
        browser.close()


def main() -> None:
    """Write the pack where there is none, write its page, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--takes", type=int, default=200)
    parser.add_argument("--seconds", type=float, nargs=2, default=(5.0, 10.0))
    parser.add_argument("--rate", type=int, default=44_100)
    parser.add_argument("--pack", type=Path, default=Path("runs/page-bench"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="figures as JSON")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="empty opens no page")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    if not (given.pack / "job.jsonl").is_file():
        write_pack(given.pack, count=given.takes, seconds=tuple(given.seconds), rate=given.rate)
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    rows = time_pages(given.pack, given.rounds)
    page = given.pack / "index.html"
    print(f"page of {given.takes} takes, {page.stat().st_size / 1e6:.1f} MB")
    for what, seconds in rows.items():
        print(f"written {what}: {', '.join(f'{one:.1f}' for one in seconds)} s")
    if given.out is not None:
        told = {"machine": machine, "takes": given.takes, "seconds": rows, "load": os.getloadavg()}
        given.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if given.chromium:
        open_page(page, given.chromium, given.picture)


if __name__ == "__main__":
    main()
