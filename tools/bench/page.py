"""How large a curation page is, how long it takes to write, and when it is first painted.

    python tools/bench/page.py --takes 200 --seconds 5 10 --chromium /usr/bin/chromium

The takes are the procedural textures; every fourth is a loop. By turns the page is written without
any card, after a job (that is, after its takes' cards were made as `audiogen texture make` makes
them beside its sampling), with a tenth of the takes new, and with none new. What the cards of a job
cost is told per take, in processor time. The page is opened from disk in headless Chromium (needs
the package playwright). Of the browser's own times since the page was asked for, "first paint" is
when the first cards are seen, "ready" when all sounds are there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from timing import machine, write_figures

from audiogen.audio.dsp import set_loudness
from audiogen.audio.loops import measure_seam
from audiogen.data.synthetic.writing import plan_clip, render_clip
from audiogen.generators import ODESamplingConfig
from audiogen.pack.curation.page import write_page
from audiogen.pack.curation.store import STORE_FOLDER, making_cards
from audiogen.pack.job import read_job, take_path, write_job
from audiogen.take_request import TakeRequest
from audiogen.takes.take import Take, take_slug, write_take

RUNS = 5
WITHOUT, AFTER_JOB, TENTH_NEW = "without cards", "after a job", "with a tenth new"
PAGES = (WITHOUT, AFTER_JOB, TENTH_NEW, "again")
CARDS = "cards of a job, each"
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
        loop = number % 4 == 0
        request = TakeRequest(
            prompt=clip.caption,
            seed=number,
            seconds=length,
            loop=loop,
            sampling=ODESamplingConfig(),
        )
        seam = measure_seam(wav, rate) if loop else None  # as `make` does
        made = Take.made_by(stub, request, seam=seam)
        name = f"{take_slug(clip.caption)}-seed{number}"
        take = made.model_copy(update={"file": name, "run": "textures"})
        write_take(take_path(pack, take), wav, take)
        takes.append(take)
    write_job(pack, takes)


def time_pages(pack: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds that writing a page takes, by what is there of its cards, `rounds` times by turns."""
    job = read_job(pack)
    rows: dict[str, list[float]] = {name: [] for name in (*PAGES, CARDS)}
    write_page(pack)  # warms up: imports and compiled functions
    for _ in range(rounds):
        for what in PAGES:
            if what in (WITHOUT, AFTER_JOB):
                shutil.rmtree(pack / STORE_FOLDER)
            if what == AFTER_JOB:
                rows[CARDS].append(round(_make_cards(pack, job) / len(job), 3))
            if what == TENTH_NEW:
                for take in job[::10]:
                    os.utime(take_path(pack, take))
            start = time.monotonic()
            write_page(pack)
            rows[what].append(round(time.monotonic() - start, 2))
    return rows


def _make_cards(pack: Path, job: Sequence[Take]) -> float:
    """Make all cards as a job does; return the processor seconds that it took."""
    start = time.process_time()
    with making_cards(pack, job) as make_card:
        for take in job:
            make_card(take)
    return time.process_time() - start


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
    rows = time_pages(given.pack, given.rounds)
    page = given.pack / "index.html"
    print(f"page of {given.takes} takes, {page.stat().st_size / 1e6:.1f} MB")
    for what in PAGES:
        print(f"written {what}: {', '.join(f'{one:.1f}' for one in rows[what])} s")
    before, after = (statistics.median(rows[what]) for what in (WITHOUT, AFTER_JOB))
    print(f"after a job it is there {before / after:.1f} times sooner than without cards")
    each = ", ".join(f"{one:.2f}" for one in rows[CARDS])
    print(f"making a card while the job runs: {each} s of processor time")
    if given.out is not None:
        told = {"machine": machine(), "takes": given.takes, "seconds": rows}
        write_figures(given.out, told)
    if given.chromium:
        open_page(page, given.chromium, given.picture)


if __name__ == "__main__":
    main()
