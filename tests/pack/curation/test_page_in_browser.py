"""The curation page in headless Chromium: by keys alone, from disk, served, hostile, and heard."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiogen.audio.io.files import read_audio
from audiogen.pack.curation.page import write_page
from audiogen.pack.curation.server import serving
from audiogen.pack.job import take_path
from audiogen.takes.take import Take, write_take

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install 'audiogen[dev]'"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")
MakePack = Callable[..., list[Take]]
RATE = 16_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        options = ["--autoplay-policy=no-user-gesture-required"]
        running = play.chromium.launch(executable_path=CHROMIUM, args=options)
        yield running
        running.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A window without a network, and what it said and asked for."""
    window = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page = window.new_page()
    page.said, page.asked, page.talked = [], [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("dialog", lambda dialog: (page.talked.append(dialog.message), dialog.dismiss()))
    yield page
    window.close()


@pytest.fixture
def address(tmp_path: Path, make_pack_of: MakePack) -> Iterator[str]:
    """A served pack of three loops; the third is twice as long."""
    takes = make_pack_of(tmp_path, ["rain", "wind", "sea"])
    longer = read_audio(take_path(tmp_path, takes[2]))[0].repeat(1, 2)
    write_take(
        take_path(tmp_path, takes[2]), longer, takes[2].model_copy(update={"sample_rate": RATE})
    )
    write_page(tmp_path)
    with serving(tmp_path) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/"
        running.shutdown()
        thread.join()


def saved_by_download(tab: Any, act: Callable[[], None]) -> Any:
    with tab.expect_download() as waiting:
        act()
    return Path(waiting.value.path())


def until(tab: Any, condition: str) -> None:
    """Wait for a condition of the page's own variables; its policy forbids playwright's way."""
    for _ in range(200):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(25)
    pytest.fail(f"it did not come to be: {condition}")


def press(tab: Any, *keys: str) -> None:
    for key in keys:
        tab.keyboard.press(key)


@pytest.mark.parametrize("count", [12, pytest.param(100, marks=pytest.mark.nightly)])
def test_takes_are_curated_by_keys_alone_from_disk(
    tab: Any, tmp_path: Path, make_pack_of: MakePack, count: int
) -> None:
    takes = make_pack_of(tmp_path, [f"take number {n}" for n in range(count)], seconds=0.25)
    tab.goto(write_page(tmp_path).as_uri())
    expected: dict[str, Any] = {}
    for number, take in enumerate(takes):
        choice = {"status": "keep" if number % 4 == 0 else "reject", "star": False, "note": ""}
        if number % 10 == 0:
            press(tab, "s")
            choice["star"] = True
        if number % 25 == 3:
            press(tab, "n")
            tab.keyboard.type(f"k r s {number} <b>")
            press(tab, "Control+Enter")
            choice["note"] = f"k r s {number} <b>"
        press(tab, "k" if number % 4 == 0 else "r")  # and on to the next
        expected[take.file] = choice
    press(tab, "r", "k")  # the last: taken back, then kept
    expected[takes[-1].file]["status"] = "keep"
    press(tab, "/")
    tab.keyboard.type("number 7")
    press(tab, "Escape")
    assert tab.locator(".card:not([hidden])").count() == sum("7" in str(n) for n in range(count))
    press(tab, "s")
    expected[takes[7].file]["star"] = True
    kept = sum(one["status"] == "keep" for one in expected.values())
    stars = sum(one["star"] for one in expected.values())
    assert tab.locator("#counts").inner_text().split() == [
        f"{count}",
        "takes",
        f"{kept}",
        "kept",
        f"{count - kept}",
        "rejected",
        f"{stars}",
        "starred",
        "0",
        "open",
    ]
    for _ in range(12):  # back to the button, which is the last before the cards
        press(tab, "Shift+Tab")
        if tab.evaluate("document.activeElement.id") == "save":
            break
    path = saved_by_download(tab, lambda: press(tab, "Enter"))
    assert json.loads(path.read_text(encoding="utf-8")) == {"takes": expected}
    tab.reload()
    assert tab.locator(".card.keep").count() == kept  # the browser has kept them
    assert [url for url in tab.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert tab.said == []


HOSTILE = [
    pattern.replace("RUN", f"window.hit = {number}")
    for number in range(20)
    for pattern in (
        "</script><script>RUN</script>",
        "<img src=x onerror='RUN'>",
        '"><svg onload=RUN>',
        "' onmouseover='RUN",
        "javascript:RUN",
        "<!--<script>RUN//",
        "{{script}}${RUN}`",
        "\u202e<b>RUN</b>\u2066\x07\x1b[2J\u0000",
        "]]><iframe srcdoc='<script>parent.RUN</script>'>",
        "../../../" + "A" * 10_000 + "<style>*{display:none}</style>RUN",
    )
]


@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.nightly)])
def test_hostile_prompts_and_notes_run_nothing(
    tab: Any, tmp_path: Path, make_pack_of: MakePack, count: int
) -> None:
    prompts = HOSTILE[:count]
    assert len(prompts) == count
    takes = make_pack_of(tmp_path, prompts, seconds=0.1, negative_prompt=HOSTILE[1])
    notes = {
        take.file: {"status": "keep", "star": False, "note": prompt}
        for take, prompt in zip(takes, prompts, strict=True)
    }
    (tmp_path / "selection.json").write_text(json.dumps({"takes": notes}), encoding="utf-8")
    tab.goto(write_page(tmp_path).as_uri())
    press(tab, "l", "Escape", "a", "j", "b", "?", "Escape", "n")
    tab.keyboard.type(HOSTILE[0])
    press(tab, "Control+Enter")
    tab.mouse.move(300, 300)
    assert tab.evaluate("window.hit") is None
    assert tab.locator(".card script, .card iframe, .card svg, .card style").count() == 0
    shown = tab.locator(".card .prompt").evaluate_all("all => all.map(one => one.textContent)")
    assert shown == [prompt[:1000] for prompt in prompts]
    assert tab.locator(".card").first.is_visible()
    assert tab.talked == []
    assert tab.said == []


def test_scripts_that_were_put_into_the_page_are_blocked(
    tab: Any, tmp_path: Path, make_pack_of: MakePack
) -> None:
    make_pack_of(tmp_path, ["rain"])
    page = write_page(tmp_path)
    text = page.read_text(encoding="utf-8")
    evil = "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"
    page.write_text(text.replace("<main>", f"<main>{evil}"), encoding="utf-8")
    tab.goto(page.as_uri())
    tab.wait_for_timeout(200)
    assert tab.evaluate("window.hit") is None
    assert any("Content Security Policy" in line for line in tab.said)


def test_a_server_saves_each_choice(tab: Any, address: str, tmp_path: Path) -> None:
    tab.context.set_offline(False)
    tab.goto(address)
    tab.get_by_text("Choices are saved in selection.json").wait_for()
    with tab.expect_response(lambda answer: answer.request.method == "PUT") as answer:
        press(tab, "k", "s")
    assert answer.value.status == 200
    tab.get_by_text("Saved in selection.json").wait_for()
    assert json.loads((tmp_path / "selection.json").read_text(encoding="utf-8")) == {
        "takes": {
            "rain-seed0": {"status": "keep", "star": False, "note": ""},
            "wind-seed1": {"status": "", "star": True, "note": ""},
        }
    }
    tab.reload()
    tab.locator(".card.keep").wait_for()
    assert tab.said == []


def test_loops_are_heard_without_a_gap(tab: Any, tmp_path: Path, make_pack_of: MakePack) -> None:
    [take] = make_pack_of(tmp_path, ["rain"])
    tab.goto(write_page(tmp_path).as_uri())
    turns = tab.evaluate("""async () => {
      const one = pack.takes[0], where = new OfflineAudioContext(1, 3 * one.samples, one.rate);
      const source = sourceOf(where, one, await where.decodeAudioData(await block(one)));
      source.connect(where.destination);
      source.start(0, source.lead);
      return Array.from((await where.startRendering()).getChannelData(0));
    }""")
    heard = np.array(turns).reshape(3, -1)
    written = read_audio(take_path(tmp_path, take))[0][0].numpy()
    np.testing.assert_array_equal(heard[1], heard[2])
    error = heard - written  # what the codec changed, no more of it at the joints than elsewhere
    joint = np.abs(np.concatenate([error[0, -80:], error[1, :80]]))
    assert np.sqrt((error**2).mean()) < 0.1 * np.sqrt((written**2).mean())
    assert joint.max() < 1.5 * np.abs(error[1]).max()
    assert np.sqrt((joint**2).mean()) < 2 * np.sqrt((error[1] ** 2).mean())


def test_a_mix_of_layers_is_that_of_the_takes(tab: Any, address: str, tmp_path: Path) -> None:
    tab.context.set_offline(False)
    tab.goto(address)
    tab.get_by_text("Choices are saved in selection.json").wait_for()
    press(tab, "k", "k", "k", "l")
    assert tab.locator(".layer").count() == 3
    press(tab, "Space")  # the first layer is off
    press(tab, "Tab", "Tab", "Tab")
    for _ in range(6):  # the second 6 dB lower
        press(tab, "ArrowLeft")
    assert tab.locator(".layer output").all_inner_texts() == ["0 dB", "\u22126 dB", "0 dB"]
    path = saved_by_download(tab, lambda: tab.locator("#export").press("Enter"))
    mix, rate = read_audio(path)
    wind, sea = (
        read_audio(tmp_path / "takes" / f"{name}.wav")[0] for name in ("wind-seed1", "sea-seed2")
    )
    expected = 10 ** (-6 / 20) * wind.repeat(1, 4) + sea.repeat(1, 2)
    assert rate == RATE
    torch.testing.assert_close(mix, expected, atol=2e-6, rtol=0)
    press(tab, "Escape")
    tab.locator("#layers-play").press("Enter")
    until(tab, "mix && mix.sources && mix.sources.length === 3")
    starts = tab.evaluate("mix.sources.every(one => one.loop)")
    assert starts
    tab.locator("#layers-play").press("Enter")
    assert tab.evaluate("mix") is None
    assert tab.said == []


def test_two_takes_are_compared_in_sync(tab: Any, tmp_path: Path, make_pack_of: MakePack) -> None:
    make_pack_of(tmp_path, ["rain", "wind"])
    tab.goto(write_page(tmp_path).as_uri())
    press(tab, "a", "j", "b", "x")
    until(tab, "playing && playing.sources && playing.sources.length === 2")
    assert tab.evaluate("playing.heard") == "A"
    press(tab, "x")
    assert tab.evaluate("playing.heard") == "B"
    until(tab, "playing.gains.B.gain.value > 0.99 && playing.gains.A.gain.value < 0.01")
    press(tab, "Space")
    assert tab.evaluate("playing") is None
    press(tab, "Space")
    until(tab, "playing && playing.sources")
    assert tab.locator(".card.playing").count() == 1
    assert tab.said == []


def test_search_filter_and_order(tab: Any, tmp_path: Path, make_pack_of: MakePack) -> None:
    make_pack_of(tmp_path, ["sea", "rain on tin", "rain on leaves", "bells"])
    tab.goto(write_page(tmp_path).as_uri())
    shown = "all => all.filter(one => !one.hidden).map(one => one.dataset.file)"

    def files() -> Any:
        return tab.locator(".card").evaluate_all(shown)

    tab.locator("#sort").select_option("prompt")
    assert files() == ["bells-seed3", "rain-on-leaves-seed2", "rain-on-tin-seed1", "sea-seed0"]
    tab.locator("#search").fill("rain")
    assert files() == ["rain-on-leaves-seed2", "rain-on-tin-seed1"]
    press(tab, "Escape", "k")
    tab.locator("#filter").select_option("keep")
    assert files() == ["rain-on-leaves-seed2"]
    tab.locator("#search").fill("nothing like it")
    assert files() == []
    assert tab.locator("#nothing").is_visible()


def test_a_card_tells_what_was_asked_for(tab: Any, tmp_path: Path, make_pack_of: MakePack) -> None:
    asked = {"negative_prompt": "<b>wind</b>", "controls": {"brightness": 2500.0, "key": "Amin"}}
    make_pack_of(tmp_path / "told", ["rain"], **asked)
    tab.goto(write_page(tmp_path / "told").as_uri())
    marks = tab.locator(".card .mark").all_inner_texts()
    assert "asked: not <b>wind</b>, brightness 2500, key Amin" in marks
    make_pack_of(tmp_path / "plain", ["rain"])
    tab.goto(write_page(tmp_path / "plain").as_uri())
    assert "asked" not in tab.locator(".card").inner_text()
