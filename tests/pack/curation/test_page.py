"""The curation page and its server: what is in it, how large it is, and what it refuses."""

import base64
import http.client
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiogen.audio.io.files import read_audio
from audiogen.audio.measure.measures import measure_sound
from audiogen.pack.curation import store as page_sounds
from audiogen.pack.curation.cards import NEAR_DB, fingerprint, near_duplicates
from audiogen.pack.curation.choices import read_selection
from audiogen.pack.curation.page import script_json, update_page, write_page
from audiogen.pack.curation.server import serving
from audiogen.pack.job import take_path, write_job
from audiogen.pages.pictures import spectrogram
from audiogen.takes.take import Take, amend_take, write_take

RATE = 16_000
MakePack = Callable[..., list[Take]]
Ring = Callable[[int, int], torch.Tensor]
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    "\u202eevil\u2066",
    "a\x00b\x1b[31m",
    "{{script}}{{data}}",
    "\u2028\u2029",
    "x" * 10_000,
    "../../etc/passwd",
    "CON",
    "",
)


def data_of(page: Path) -> dict[str, Any]:
    """Return the data block of a page as a browser would read it: up to the first end tag."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="pack">(.*?)</script', text, re.DOTALL)
    assert found is not None
    tree: dict[str, Any] = json.loads(found[1])
    return tree


def test_the_page_shows_what_the_takes_are(
    tmp_path: Path, make_pack_of: MakePack, ring: Ring
) -> None:
    takes = make_pack_of(tmp_path, ["rain", "wind"])
    unmeasured = takes[1].model_copy(update={"sample_rate": RATE})  # its seam is not told
    write_take(take_path(tmp_path, takes[1]), 0.5 * ring(0, RATE // 2), unmeasured)
    page = write_page(tmp_path)
    tree = data_of(page)
    assert [one["file"] for one in tree["takes"]] == ["rain-seed0", "wind-seed1"]
    first, second = tree["takes"]
    assert (first["prompt"], first["seed"], first["samples"], first["rate"]) == (
        "rain",
        "0",
        8000,
        RATE,
    )
    assert first["lufs"] - second["lufs"] == pytest.approx(6.0, abs=0.11)
    told = measure_sound(*read_audio(take_path(tmp_path, takes[0])))
    assert first["sound"]["brightness"] == round(told.brightness_hz or 0)
    assert first["sound"]["steadiness"] == round(told.stationarity, 2)
    assert first["near"] == [["wind-seed1", 0.0]]  # the same sound at another level
    assert first["seam"] <= 1
    peaks = np.frombuffer(base64.b64decode(first["peaks"]), dtype=np.int8).reshape(-1, 2)
    assert np.abs(peaks).max() == round(127 * 0.3)
    assert (peaks[:, 0] <= peaks[:, 1]).all()
    text = page.read_text(encoding="utf-8")
    assert text.count("data:audio/ogg;base64,") == 2
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)


def test_hostile_texts_stay_data(tmp_path: Path, make_pack_of: MakePack) -> None:
    pack = tmp_path / "<b>pack<"
    make_pack_of(pack, HOSTILE)
    page = write_page(pack)
    text = page.read_text(encoding="utf-8")
    assert [one["prompt"] for one in data_of(page)["takes"]] == list(HOSTILE)
    assert len(re.findall(r"<script", text)) == 2 + len(HOSTILE)
    assert "<img src=x" not in text
    assert "<b>pack" not in text
    assert json.loads(script_json({"a": HOSTILE[6]})) == {"a": HOSTILE[6]}
    assert "\u2028" not in script_json({"a": HOSTILE[6]})


def test_the_policy_allows_this_script_alone(tmp_path: Path, make_pack_of: MakePack) -> None:
    make_pack_of(tmp_path, ["rain"])
    text = write_page(tmp_path).read_text(encoding="utf-8")
    [policy] = re.findall(r'Content-Security-Policy" content="(.*?)"', text)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in policy
    [sources] = re.findall(r"script-src (.*?);", policy)
    assert re.fullmatch(r"'sha256-[\w+/=]+'", sources)


def test_sounds_get_smaller_where_there_is_no_room(
    tmp_path: Path, make_pack_of: MakePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pack_of(tmp_path, ["rain", "wind", "sea"], seconds=1.0)
    page = write_page(tmp_path)
    large = page.stat().st_size
    room = sum(len(uri) for uri in re.findall("data:audio[^<]*", page.read_text("utf-8")))
    monkeypatch.setattr(page_sounds, "SOUND_BYTES", int(0.9 * room))
    assert write_page(tmp_path).stat().st_size < large - 0.1 * room + 1


@pytest.mark.nightly
def test_200_takes_of_10_s_stay_under_40_mb(tmp_path: Path, make_pack_of: MakePack) -> None:
    takes = make_pack_of(tmp_path, [f"rain {n}" for n in range(200)], seconds=10.0, loop=False)
    for seed, take in enumerate(takes):  # noise, in stereo: nothing needs more room
        source = torch.Generator().manual_seed(seed)
        wav = (0.1 * torch.randn(2, 441_000, generator=source)).clamp(-1, 1)
        stereo = take.model_copy(update={"sample_rate": 44_100})
        write_take(take_path(tmp_path, take), wav, stereo)
    assert write_page(tmp_path).stat().st_size < 40e6


def test_takes_that_are_not_made_yet_are_left_out(tmp_path: Path, make_pack_of: MakePack) -> None:
    takes = make_pack_of(tmp_path, ["rain", "wind"])
    take_path(tmp_path, takes[0]).unlink()
    assert [one["file"] for one in data_of(write_page(tmp_path))["takes"]] == ["wind-seed1"]
    take_path(tmp_path, takes[1]).unlink()
    with pytest.raises(ValueError, match="no takes here"):
        write_page(tmp_path)


def test_a_page_is_written_again_when_there_are_new_takes(
    tmp_path: Path, make_pack_of: MakePack
) -> None:
    takes = make_pack_of(tmp_path, ["rain", "wind"])
    page = update_page(tmp_path)
    page.write_text("as it was", encoding="utf-8")
    assert update_page(tmp_path).read_text(encoding="utf-8") == "as it was"
    later = page.stat().st_mtime + 1
    os.utime(take_path(tmp_path, takes[1]), (later, later))
    assert len(data_of(update_page(tmp_path))["takes"]) == 2


def test_near_duplicates_are_found_and_others_are_not(ring: Ring) -> None:
    swell = torch.linspace(-2, 2, RATE).exp() / 8
    sounds = [ring(0, RATE) * swell, ring(0, RATE) * swell.flip(0)]
    source = torch.Generator().manual_seed(9)
    sounds.append(0.4 * sounds[0] + 1e-4 * torch.randn(1, RATE, generator=source))
    prints = [fingerprint(spectrogram(wav, RATE)) for wav in sounds]
    near = near_duplicates(prints)
    assert [[other for other, _ in one] for one in near] == [[2], [], [0]]
    assert near[0][0][1] < NEAR_DB
    assert near_duplicates([]) == []


# The server


@pytest.fixture
def server(tmp_path: Path, make_pack_of: MakePack) -> Iterator[ThreadingHTTPServer]:
    """A server of a pack with two takes."""
    make_pack_of(tmp_path, ["rain", "wind"])
    write_page(tmp_path)
    with serving(tmp_path) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(
    server: ThreadingHTTPServer, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, str]:
    """Send a request as it stands, and return status and body."""
    host, port = server.server_address[:2]
    line = http.client.HTTPConnection(str(host), port, timeout=10)
    line.putrequest(method, path, skip_host=True)
    given = {"Host": f"127.0.0.1:{port}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    if body is not None:
        given = {"Content-Type": "application/json", "Content-Length": str(len(body)), **given}
    for name, value in given.items():
        line.putheader(name, value)
    line.endheaders(body.encode() if body else None)
    answer = line.getresponse()
    found = (answer.status, answer.read().decode("utf-8", "replace"))
    line.close()
    return found


CHOICES = {"takes": {"rain-seed0": {"status": "keep", "star": True, "note": "</script>"}}}


def test_choices_are_saved_as_they_are(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    assert ask(server, "GET", "/")[1].startswith("<!doctype html>")
    assert json.loads(ask(server, "GET", "/selection.json")[1]) == {"takes": {}}
    assert ask(server, "PUT", "/selection.json", json.dumps(CHOICES)) == (200, "saved")
    assert json.loads((tmp_path / "selection.json").read_text(encoding="utf-8")) == CHOICES
    assert json.loads(ask(server, "GET", "/selection.json")[1]) == CHOICES
    assert ask(server, "GET", "/takes/rain-seed0.wav")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/takes/../job.jsonl",
        "/../../etc/passwd",
        "//etc/passwd",
        "/takes/%2e%2e/job.jsonl",
        "/takes/..%2fjob.jsonl",
        "/job.jsonl",
        "/takes/rain-seed0.json",
        "/takes/nothing.wav",
        "/takes/",
        "/takes/.wav",
        "/takes//etc/passwd.wav",
    ],
)
def test_nothing_else_is_sent(server: ThreadingHTTPServer, path: str) -> None:
    assert ask(server, "GET", path)[0] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Content_Type": "text/plain"},
    ],
)
def test_others_are_refused(
    server: ThreadingHTTPServer, tmp_path: Path, headers: dict[str, str]
) -> None:
    assert ask(server, "PUT", "/selection.json", json.dumps(CHOICES), **headers)[0] == 403
    if "Content_Type" not in headers:
        assert ask(server, "GET", "/selection.json", **headers)[0] == 403
    assert not (tmp_path / "selection.json").exists()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{",
        '{"takes": {"nothing": {}}}',
        '{"takes": {"rain-seed0": {"status": "x"}}}',
        '{"takes": {}, "more": 1}',
        '{"takes": {"../rain-seed0": {}}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_selection_is_not_saved(
    server: ThreadingHTTPServer, tmp_path: Path, body: str
) -> None:
    ask(server, "PUT", "/selection.json", json.dumps(CHOICES))
    assert ask(server, "PUT", "/selection.json", body)[0] == 400
    assert read_selection(tmp_path).takes["rain-seed0"].star
    assert ask(server, "PUT", "/job.jsonl", json.dumps(CHOICES))[0] == 404
    assert ask(server, "PUT", "/selection.json", "{}", Content_Length="99999999")[0] == 413
    assert ask(server, "POST", "/selection.json", "{}")[0] == 501


def test_a_server_listens_on_this_machine_alone(server: ThreadingHTTPServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_a_pack_without_a_page_or_with_damaged_choices_is_not_served(
    tmp_path: Path, make_pack_of: MakePack
) -> None:
    make_pack_of(tmp_path, ["rain"])
    with pytest.raises(ValueError, match=r"no index\.html here"), serving(tmp_path):
        pass
    write_page(tmp_path)
    (tmp_path / "selection.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="not valid JSON"), serving(tmp_path):
        pass


@pytest.mark.parametrize("seed", [2**53 + 1, 2**60 + 3, 2**63 - 1])
def test_seeds_beyond_the_numbers_of_a_browser_are_shown_exactly(
    tmp_path: Path, make_pack_of: MakePack, seed: int
) -> None:
    [take] = make_pack_of(tmp_path, ["rain"])
    amend_take(take_path(tmp_path, take), seed=seed)
    assert data_of(write_page(tmp_path))["takes"][0]["seed"] == str(seed)


def test_variations_of_a_take_do_not_accuse_one_another(
    tmp_path: Path, make_pack_of: MakePack, ring: Ring
) -> None:
    takes = make_pack_of(tmp_path, ["rain", "wind", "sea", "bells"])
    for take in takes:  # all of them the same sound
        write_take(
            take_path(tmp_path, take),
            ring(0, RATE // 2),
            take.model_copy(update={"sample_rate": RATE}),
        )
    rain, wind, sea, bells = (take.file for take in takes)
    parents = {wind: rain, sea: wind}
    write_job(
        tmp_path, [one.model_copy(update={"parent": parents.get(one.file, "")}) for one in takes]
    )
    shown = {one["file"]: one for one in data_of(write_page(tmp_path))["takes"]}
    for file in (rain, wind, sea):
        assert [other for other, _ in shown[file]["near"]] == [bells]
    assert {other for other, _ in shown[bells]["near"]} == {rain, wind, sea}


def test_two_servers_of_a_pack_lose_no_choice(tmp_path: Path, make_pack_of: MakePack) -> None:
    names = [take.file for take in make_pack_of(tmp_path, list("abcdefgh"))]
    write_page(tmp_path)
    with serving(tmp_path) as first, serving(tmp_path) as second:
        for one in (first, second):
            threading.Thread(target=one.serve_forever, daemon=True).start()

        def keep(number: int) -> tuple[int, str]:
            body = json.dumps({"takes": {names[number]: {"status": "keep"}}})
            return ask((first, second)[number % 2], "PUT", "/selection.json", body)

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(keep, range(8))) == {(200, "saved")}
        ask(second, "PUT", "/selection.json", json.dumps({"takes": {names[0]: {}}}))
        for one in (first, second):
            one.shutdown()
    status = {name: choice.status for name, choice in read_selection(tmp_path).takes.items()}
    assert status == {name: "keep" if name != names[0] else "" for name in names}
