"""The page of `data check`: complete, escaped, self-contained, and with pictures where it can."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from audiogen.cli.main import app
from audiogen.data.intake.scan import scan_folder
from audiogen.evaluation.report import intake_page
from audiogen.evaluation.report.intake_page import write_intake_page

RATE = 16_000
EVIL = "<img src=x onerror=alert(1)> & 'q'"


class Page(HTMLParser):
    """Collects what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def noise(seed: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((RATE, channels)) * 0.1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    soundfile.write(sounds / "good.wav", noise(0), RATE)
    soundfile.write(sounds / f"{EVIL}.wav".replace("/", ""), noise(1) * [1, 0], RATE)
    soundfile.write(sounds / "cut.wav", noise(2), RATE)
    (sounds / "cut.wav").write_bytes((sounds / "cut.wav").read_bytes()[:20_000])
    soundfile.write(sounds / "nan.wav", noise(3) * np.nan, RATE, subtype="FLOAT")
    (sounds / "page.mp3").write_text("<script>alert(1)</script>")
    return sounds


def test_the_page_shows_what_is_wrong(folder: Path) -> None:
    rows = scan_folder(folder)
    target = folder.parent / "new" / "page.html"
    write_intake_page(target, folder, rows)
    text = target.read_text(encoding="utf-8")
    page = Page(text)
    said = " ".join(page.words)
    assert page.links
    assert all(link.startswith(("data:image/webp", "#")) for link in page.links)
    assert page.tags.count("figure") == 4  # three refused, one warned
    assert page.tags.count("img") == page.tags.count("svg") == 3
    assert said.count("Nothing of it can be decoded.") == 1
    for words in ("cut.wav", "truncated", "not_finite", "not_audio", "dead_channel", EVIL):
        assert words in said
    assert page.tags.count("script") == 1  # that of the template
    assert "default-src 'none'" in text


def test_every_reason_has_a_picture_when_there_are_too_many(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        (folder / f"a{number}.wav").touch()
    monkeypatch.setattr(intake_page, "MAX_PICTURES", 5)
    write_intake_page(folder / "page.html", folder, scan_folder(folder))
    text = (folder / "page.html").read_text(encoding="utf-8")
    cards = re.findall(r"<figcaption><div><b>(.*?)</b>", text)
    assert {"cut.wav", "nan.wav", "page.mp3"} <= set(cards)
    assert sum(card.startswith("a") for card in cards) == 2
    assert "10 more files" in text


def test_check_prints_the_table_and_writes_the_page(folder: Path) -> None:
    done = CliRunner().invoke(app, ["data", "check", str(folder), "--html", str(folder / "p.html")])
    assert done.exit_code == 0, done.output
    assert "refused, truncated: the file ends before" in done.output
    assert "\n  cut.wav\n" in done.output
    assert "used, but dead_channel" in done.output
    assert done.output.endswith(f"\npage: {folder / 'p.html'}\n")
    assert (folder / "p.html").is_file()


def test_check_of_nothing_usable_says_why_and_fails(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    target = tmp_path / "p.html"
    done = CliRunner().invoke(app, ["data", "check", str(tmp_path), "--html", str(target)])
    assert done.exit_code == 1
    assert "refused, empty" in done.output
    assert "None of these files can be used." in target.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="does not exist"):
        CliRunner().invoke(app, ["data", "check", str(tmp_path / "no")], catch_exceptions=False)
