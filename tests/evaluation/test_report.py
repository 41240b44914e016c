"""The report: complete, honest about what is missing, escaped, self-contained, small, playable."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from scores import KINDS, LABELS, make_scores

from audiogen.data.manifest import ManifestRow, write_manifest
from audiogen.evaluation.report import players as report_sounds
from audiogen.evaluation.report.run_page import write_report
from audiogen.evaluation.scores import Referenced, read_scores
from audiogen.pages.markup import DASH, number
from audiogen.pages.pictures import picture_uri, sound_uri, spectrogram

RATE = 22_050
EVIL = "<script>alert(1)</script>"


def sound(kind: str, seconds: float, seed: int) -> torch.Tensor:
    """Return a synthetic sound (1, T): filtered noise, swelling noise, or clicks."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    noise = rng.standard_normal(len(time))
    if kind == "rain":
        wav = np.diff(noise, prepend=0.0) * 0.06
    elif kind == "sea waves":
        low = np.convolve(noise, np.hanning(24) / 8, mode="same")
        wav = low * 0.2 * (0.2 + np.sin(2 * np.pi * (0.25 * time + rng.random())) ** 2)
    else:
        phase = (time * 2 + rng.random()) % 1
        tone = np.sin(2 * np.pi * 2400 * time) + 0.5 * np.sin(2 * np.pi * 5200 * time)
        wav = 0.3 * np.exp(-phase * 60) * tone + 0.001 * noise
    return torch.from_numpy(np.clip(wav, -1, 1)[None].astype(np.float32))


def save(path: Path, wav: torch.Tensor, note: dict[str, Any] | None = None) -> None:
    """Write a sound and its sidecar, without the syncing of the package's own writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wav.T.numpy(), RATE, subtype="PCM_24")
    if note is not None:
        path.with_suffix(".json").write_text(json.dumps(note))


def write_takes(run: Path, labels: Sequence[str], per_label: int, seconds: float) -> None:
    """Write takes with sidecars; the first prompt is hostile."""
    for row, label in enumerate(labels):
        for seed in range(per_label):
            prompt = EVIL if row == seed == 0 else f"{label}, take {seed}"
            note = {"prompt": prompt, "label": label, "seed": seed, "seconds": seconds}
            wav = sound(LABELS[row % 3], seconds, 100 * row + seed)
            save(run / "evaluation" / "takes" / f"{label}-{seed}.wav", wav, note)


def write_pairs(run: Path, count: int, seconds: float) -> None:
    """Write reconstruction pairs, the codec's side a little duller."""
    folder = run / "evaluation" / "reconstructions"
    for k in range(count):
        wav = sound(LABELS[k % 3], seconds, k)
        save(folder / f"{k:02d}.real.wav", wav)
        save(folder / f"{k:02d}.codec.wav", 0.5 * (wav + wav.roll(1, -1)))
        note = {"path": f"{k:03d} - clip.wav", "label": LABELS[k % 3]}
        (folder / f"{k:02d}.json").write_text(json.dumps(note))


def write_demos(run: Path, steps: Sequence[int], seconds: float) -> None:
    """Write demos of both stages: noise that turns into the sound."""
    for stage in ("codec", "generator"):
        for step in steps:
            for k in range(2):
                share = step / steps[-1]
                wav = share * sound(LABELS[k], seconds, k)
                wav = wav + (1 - share) * 0.2 * torch.rand_like(wav)
                path = run / "demos" / stage / f"step-{step:08d}" / f"{k}.wav"
                save(path, wav, {"prompt": LABELS[k], "seed": k})


def write_curves(run: Path, num_steps: int) -> None:
    """Write falling losses of both stages, a repeated step, and a line cut off by a kill."""
    rng, lines = np.random.default_rng(0), []
    for stage, names in (
        ("codec", ("loss", "stft", "mel", "kl", "adversarial", "feature_matching")),
        ("generator", ("loss", *(f"loss_level_{k}" for k in range(6)))),
    ):
        for step in range(0, num_steps, 5):
            row: dict[str, Any] = {"stage": stage, "step": step, "seconds": step * 0.4}
            for k, name in enumerate(names):
                level = (1 + k) * np.exp(-4 * step / num_steps) + 0.1 * (1 + k)
                row[name] = float(level * rng.lognormal(0, 0.15))
            row |= {"lr": 1e-3 * min(1, step / 50), "audio_seconds_per_second": 41.5}
            row |= {"grad_norm": float(rng.lognormal(0, 0.3))}
            lines.append(json.dumps(row))
    lines += [lines[-1], lines[-1][:20]]
    (run / "metrics.jsonl").write_text("\n".join(lines))


def write_data(run: Path, labels: Sequence[str], per_label: int) -> None:
    """Write a manifest with two licences, a few authors, and refused files."""
    rows = [
        ManifestRow(
            path=f"{label}/{k:03d}.ogg",
            sha256="0" * 64,
            seconds=5.0,
            sample_rate=44_100,
            channels=1,
            prompt=label,
            label=label,
            split="held_out" if k % 5 == 0 else "train",
            source_id=f"{label}-{k // 2}",
            licence="CC-BY-4.0" if k % 3 else "CC0-1.0",
            author=f"author & {k % 7}",
            source="javascript:alert(1)" if k == 0 else f"https://sounds.example/{label}/{k}",
        )
        for label in labels
        for k in range(per_label)
    ]
    names = {"broken.wav": "truncated", f"{EVIL}.wav": "not_audio", "empty.mp3": "empty"}
    rows += [ManifestRow(path=n, verdict="refused", reason=why) for n, why in names.items()]
    write_manifest(run / "manifest.jsonl", rows)


def write_run(
    run: Path, *, labels: Sequence[str] = LABELS, per_label: int = 2, seconds: float = 0.5
) -> Path:
    """Write a whole run folder with synthetic sounds."""
    run.mkdir(parents=True)
    write_takes(run, labels, per_label, seconds)
    write_pairs(run, min(10, len(labels)), seconds)
    write_demos(run, (0, 100, 400) if len(labels) > 1 else (100,), seconds)
    write_curves(run, 400)
    write_data(run, labels, 32)
    make_scores(labels, per_label).write(run / "evaluation" / "metrics.json")
    machine = {"cpu": "2 cores", "torch": "2.13.0", "packages": {"numpy": "2.4"}, "gpus": []}
    (run / "environment.json").write_text(json.dumps(machine))
    write_config(run, "codec: {type: vae}\ngenerator: {type: diffusion}\n")
    return run


def write_config(run: Path, blocks: str) -> None:
    (run / "config.yaml").write_text(f"# {EVIL}\nname: rooms\nrun_dir: {run}\n{blocks}")


@pytest.fixture(scope="module")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("runs") / "textures")
    write_report(run)
    return run


@pytest.fixture
def own_run(tmp_path: Path) -> Path:
    """Return a run that a test may damage: short sounds of one label."""
    return write_run(tmp_path / "textures", labels=LABELS[:1], seconds=0.05)


class Page(HTMLParser):
    """Collects elements, the text of each section, and what a browser would fetch or run."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.section = ""
        self.text: dict[str, str] = {}
        self.rows: list[str] = []  # of tables, their cells joined by spaces
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.tags.append((tag, found))
        if tag not in {"meta", "img", "path"}:
            self.open.append(tag)
        if tag == "section":
            self.section = found["id"]
        if tag == "tr":
            self.rows.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.text[self.section] = self.text.get(self.section, "") + data
        if "tr" in self.open:
            self.rows[-1] = f"{self.rows[-1]} {data}".strip()

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_full_report_holds_every_part(full_run: Path) -> None:
    page = Page(full_run / "report.html")
    assert page.open == []
    assert [s["id"] for s in page.all("section")] == [
        *("takes", "codec", "demos", "metrics", "training", "data", "machine", "config")
    ]
    assert len(page.all("audio")) == 6 + 2 * 3 + 2 * 2 * 3
    assert not [a for a in page.all("p") if a.get("class") == "missing"]
    assert "seed 1" in page.text["takes"]
    assert "clock tick, take 1" in page.text["takes"]
    assert "step 400" in page.text["demos"]
    for words in (
        "0.6 s",
        "30",
        "61\N{MULTIPLICATION SIGN}",
        "-3.1 dB",
        "2 cores of a server",
        "half way",
        "near-copy",
    ):
        assert words in page.text["metrics"], words
    for words in (
        "CC-BY-4.0",
        "author & 3",
        "truncated: ",
        "96 clips, 8 min 0 s",
        "3 files refused",
    ):
        assert words in page.text["data"], words
    assert "feature matching" in page.text["training"]
    assert "not whole and left out: 1." in page.text["training"]
    assert "codec: time" in page.text["machine"]
    assert "numpy" in page.text["machine"]
    assert "type: diffusion" in page.text["config"]
    assert "VAE codec · diffusion generator" in page.text[""]
    links = {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")}
    assert links <= {attributes.get("id") for _, attributes in page.tags}


@pytest.mark.parametrize(
    ("part", "section", "words"),
    [
        ("config.yaml", "config", "config.yaml is not there."),
        ("environment.json", "machine", "environment.json is not there."),
        ("manifest.jsonl", "data", "audiogen prepare RECIPE"),
        ("metrics.jsonl", "training", "audiogen train RECIPE"),
        ("evaluation/metrics.json", "metrics", "audiogen evaluate RECIPE"),
        ("evaluation/reconstructions", "codec", "audiogen evaluate RECIPE"),
        ("evaluation/takes", "takes", "audiogen evaluate"),
        ("demos", "demos", "audiogen train RECIPE"),
    ],
)
def test_missing_part_is_said_with_the_command(
    own_run: Path, part: str, section: str, words: str
) -> None:
    target = own_run / part
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    page = Page(write_report(own_run))
    assert words in page.text[section]
    assert len([a for a in page.all("p") if a.get("class") == "missing"]) == 1


def test_empty_run_folder_says_what_is_missing_everywhere(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path))
    assert len([a for a in page.all("p") if a.get("class") == "missing"]) == 8


@pytest.mark.parametrize(
    ("part", "content", "section"),
    [
        ("environment.json", "{", "machine"),
        ("environment.json", "[1]", "machine"),
        ("manifest.jsonl", "{}\n", "data"),
        ("evaluation/metrics.json", "NaN", "metrics"),
    ],
)
def test_damaged_file_is_named(own_run: Path, part: str, content: str, section: str) -> None:
    (own_run / part).write_text(content)
    assert Path(part).name in Page(write_report(own_run)).text[section]


@pytest.mark.parametrize("part", ["takes", "recognised", "likelihood"])
def test_metrics_may_lack_a_part(tmp_path: Path, part: str) -> None:
    (tmp_path / "evaluation").mkdir()
    make_scores(**{part: None}).write(tmp_path / "evaluation" / "metrics.json")
    text = Page(write_report(tmp_path)).text["metrics"]
    for name, words in (
        ("takes", "Fréchet"),
        ("recognised", "Share of sounds"),
        ("likelihood", "Likelihood"),
    ):
        assert (words in text) == (name != part)


def test_its_numbers_are_those_of_the_metrics(full_run: Path) -> None:
    scores = read_scores(full_run / "evaluation" / "metrics.json")
    page = Page(full_run / "report.html")
    rows = [re.sub(r"\s+", " ", row) for row in page.rows]
    assert scores.takes is not None
    for name, distance in [
        ("all together", scores.takes.frechet.all),
        ("mean of labels", scores.takes.frechet.of_labels),
        *scores.takes.mmd.per_label.items(),
    ]:
        way = (distance.takes - distance.real) / (distance.noise - distance.real)
        values = [distance.real, distance.noise, distance.takes]
        learnt = DASH if distance.copies is None else number(distance.copies)
        assert f"{name} {' '.join(map(number, values))} {learnt} {100 * way:.0f} %" in rows
    for one in scores.takes.copies.nearest:
        assert any(row.startswith(f"{one.take} {one.clip} {number(one.distance)}") for row in rows)
    near = [one.take for one in scores.takes.copies.near]
    assert [row.split(" ")[0] for row in rows if row.endswith("near-copy")] == near != []
    assert scores.recognised is not None
    for name, shares in scores.recognised.per_label.items():
        found = (shares.takes, shares.reconstructions, shares.real)
        assert f"{name} {' '.join(f'{share:.2f}' for share in found if share)}" in rows
    assert "training clips through the codec 0.71" in rows
    for label, kinds in scores.character.items():
        cells = [number(kinds[kind].periodicity, 2) for kind in KINDS]
        assert f"{label} {' '.join(cells)}" in rows
    for name, ratio in scores.takes.diversity.per_label.items():
        assert f"{name} {ratio:.2f}" in rows
    assert f"Mel distance {number(scores.codec.mel_distance)} dB 0 is perfect" in rows
    assert "Held-out clips -0.97 0.31 8" in rows
    tiles = page.text[""]
    assert scores.second is not None
    heard, chance = scores.second.all, number(scores.second.chance)
    said = f"recognised by a second listener; real {number(heard.real, 2)}, chance {chance}"
    assert f"{number(heard.takes, 2)}of takes {said}" in tiles
    assert f"{100 * (2.12 - 0.7) / (18.3 - 0.7):.0f} %of the way from real to noise" in tiles


def test_unreadable_take_is_named_and_the_rest_shown(own_run: Path) -> None:
    (own_run / "evaluation" / "takes" / "rain-0.wav").write_bytes(b"")
    (own_run / "evaluation" / "takes" / "rain-1.json").write_text("{")
    page = Page(write_report(own_run))
    assert "rain-0.wav cannot be read: the file has 0 bytes." in page.text["takes"]
    assert "rain-1.wav (no readable JSON file)" in page.text["takes"]
    assert len(page.all("audio")) == 2 + 2 + 4 - 1


@pytest.mark.parametrize("name", ["._rain-0.wav", "._rain-0.json", ".hidden.flac"])
def test_hidden_files_are_no_takes(own_run: Path, name: str) -> None:
    before = len(Page(write_report(own_run)).all("audio"))
    (own_run / "evaluation" / "takes" / name).write_bytes(b"\0\5\x16\7")
    page = Page(write_report(own_run))
    assert len(page.all("audio")) == before
    assert "cannot be read" not in page.text["takes"]


def test_no_such_run() -> None:
    with pytest.raises(ValueError, match="no such run folder"):
        write_report(Path("runs/nowhere"))


def test_everything_given_is_escaped(full_run: Path) -> None:
    page = Page(full_run / "report.html")
    assert len(page.all("script")) == 1
    assert EVIL not in (full_run / "report.html").read_text(encoding="utf-8")
    for section in ("takes", "data", "config"):  # prompt, file name, config: shown as text
        assert EVIL in page.text[section]
    assert not [a for a in page.all("a") if "javascript" in a["href"]]
    attributes = [key for _, found in page.tags for key in found]
    assert not [key for key in attributes if key.startswith("on")]


def test_nothing_is_fetched(full_run: Path) -> None:
    page = Page(full_run / "report.html")
    loading = [found[key] for _, found in page.tags for key in ("src", "srcset") if key in found]
    assert loading
    assert all(value.startswith("data:") for value in loading)
    assert not page.all("link") + page.all("iframe") + page.all("object")
    styles = (full_run / "report.html").read_text(encoding="utf-8").split("<body>")[0]
    assert not re.search(r"url\(|@import|https?:", styles)
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:;")


def test_writing_again_replaces_the_page(own_run: Path) -> None:
    (own_run / "report.html").write_text("old")
    assert Page(write_report(own_run)).text["takes"]
    assert not list(own_run.glob(".*"))


@pytest.mark.parametrize(("bottleneck", "name"), [("residual", "RVQ"), ("fsq", "FSQ")])
def test_a_codec_of_tokens_is_named_by_its_bottleneck(
    tmp_path: Path, bottleneck: str, name: str
) -> None:
    write_config(tmp_path, f"codec: {{type: rvq, bottleneck: {{type: {bottleneck}}}}}\n")
    assert f"{name} codec" in Page(write_report(tmp_path)).text[""]


def test_too_many_takes_are_spread_over_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_sounds, "MAX_TAKES", 5)
    write_takes(tmp_path, ["a", "b"], 4, 0.05)
    page = Page(write_report(tmp_path))
    assert "4 of 8 takes of 2 prompts or labels" in page.text["takes"]
    assert "2 of 4" in page.text["takes"]
    assert len(page.all("audio")) == 4


def test_a_list_of_themes_is_one_group_with_its_prompts(tmp_path: Path) -> None:
    write_takes(tmp_path, ["biodiversity", "Bolivia"], 1, 0.05)
    for path in (tmp_path / "evaluation" / "takes").glob("*.json"):
        note = json.loads(path.read_text())
        path.write_text(json.dumps(note | {"label": "", "prompt": note["label"]}))
    page = Page(write_report(tmp_path))
    assert "one take per prompt 2" in page.text["takes"]
    assert "2 takes of 2 prompts" in page.text["takes"]
    assert "Bolivia" in page.text["takes"]


def test_size_per_sound_lets_eighty_takes_and_ten_pairs_fit() -> None:
    wav = sound("rain", 5.0, 0)  # noise: the worst case for both encoders
    image = spectrogram(wav, RATE)
    take = len(sound_uri(wav, RATE)) + len(picture_uri(image, reference_db=image.peak_db))
    pair = 2 * len(sound_uri(wav, RATE, lossless=True))
    assert 80 * take + 10 * pair + 24 * take < 14_000_000


def test_way_to_noise() -> None:
    assert Referenced(takes=20, real=10, noise=50).way_to_noise == pytest.approx(0.25)
    assert Referenced(takes=20, real=10, noise=10).way_to_noise is None


PROBE = """
<script>
(async function () {
  const seen = [];
  for (const audio of document.querySelectorAll("audio")) {
    audio.muted = true;
    seen.push(await new Promise(function (done) {
      audio.addEventListener("loadeddata", () => done(audio.duration.toFixed(2)), { once: true });
      audio.addEventListener("error", () => done("error"), { once: true });
      audio.load();
    }));
  }
  const images = Array.from(document.images).map((image) => image.naturalWidth);
  const shown = Array.from(document.querySelectorAll("audio")).map(
    (audio) => getComputedStyle(audio).display);
  document.body.dataset.sounds = seen.join(" ");
  document.body.dataset.images = images.join(" ");
  document.body.dataset.shown = shown.join(" ");
  for (const button of Array.from(document.querySelectorAll(".play")).slice(1, 3)) {
    button.click();
    await new Promise((done) => setTimeout(done, 100));
  }
  document.body.dataset.playing = document.querySelectorAll("audio").length
    - Array.from(document.querySelectorAll("audio")).filter((audio) => audio.paused).length;
  document.querySelectorAll("audio").forEach((audio) => audio.pause());
})();
</script>
"""


@pytest.fixture
def browse(tmp_path: Path) -> Callable[[Path], str]:
    """Return a function that opens a file in headless Chromium and returns the DOM."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not on PATH")

    def dump(page: Path) -> str:
        command = [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", "--mute-audio", "--autoplay-policy=no-user-gesture-required"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=8000"),
            *("--dump-dom", page.as_uri()),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=90, check=True, env=dict(os.environ)
        )
        return done.stdout

    return dump


def test_browser_decodes_every_sound_and_picture(
    full_run: Path, tmp_path: Path, browse: Callable[[Path], str]
) -> None:
    page = (full_run / "report.html").read_text(encoding="utf-8")
    loose = re.sub(r"script-src 'sha256-[^']+'", "script-src 'unsafe-inline'", page)
    copy = tmp_path / "probed.html"
    copy.write_text(loose.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    body = re.search(r"<body [^>]*>", browse(copy))
    assert body, "the probe did not finish"
    found = dict(re.findall(r'data-(\w+)="([^"]*)"', body.group()))
    sounds = found["sounds"].split()
    assert len(sounds) == 24
    assert all(abs(float(seconds) - 0.5) < 0.02 for seconds in sounds)
    assert len(found["images"].split()) == 24 + 3
    assert min(map(int, found["images"].split())) >= 160
    assert set(found["shown"].split()) == {"none"}  # the page's own buttons are there instead
    assert found["playing"] == "1"


def test_browser_runs_the_pages_own_script_and_no_other(
    own_run: Path, browse: Callable[[Path], str]
) -> None:
    report = write_report(own_run)
    page = report.read_text(encoding="utf-8")
    evil = "<script>document.body.dataset.evil = 1</script></main>"
    report.write_text(page.replace("</main>", evil), encoding="utf-8")
    dom = browse(report)
    assert "data-evil" not in dom
    assert dom.count('class="play"') == 2 + 2 + 4
