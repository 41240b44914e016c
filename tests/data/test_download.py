import hashlib
import http.client
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer, serving

from audiogen.data.fetching import download
from audiogen.data.fetching.download import Download, fetch_file, size_text

CONTENT = np.random.default_rng(0).bytes(3_000_000)
NAME = "sounds 1.zip"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))
    with serving() as running:
        running.files["sounds%201.zip"] = CONTENT
        yield running


def wanted(content: bytes = CONTENT, *, algorithm: str = "sha256") -> Download:
    return Download(
        name=NAME,
        url="https://example.org/sounds.zip",
        size=len(content),
        algorithm=algorithm,
        checksum=hashlib.new(algorithm, content).hexdigest(),
    )


def ranges(server: FileServer) -> list[str]:
    return [asked for _, asked in server.asked]


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_file_is_there_after_one_request_and_none_is_made_for_it_again(
    server: FileServer, tmp_path: Path, algorithm: str
) -> None:
    for _ in range(2):
        path = fetch_file(wanted(algorithm=algorithm), tmp_path / "new", mirror=server.address)
        assert path == tmp_path / "new" / NAME
        assert path.read_bytes() == CONTENT
        assert server.asked == [("sounds%201.zip", "")]
    assert list(path.parent.iterdir()) == [path]


def test_after_a_break_only_the_rest_is_sent(server: FileServer, tmp_path: Path) -> None:
    server.breaks = [1_000_000, 1_500_000]
    path = fetch_file(wanted(), tmp_path, mirror=f"{server.address}/")
    assert path.read_bytes() == CONTENT
    assert ranges(server) == ["", "bytes=1000000-", "bytes=2500000-"]
    assert server.sent == len(CONTENT)


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PAUSES", ())
    server.breaks = [2_000_000]
    with pytest.raises(OSError, match="broke off") as raised:
        fetch_file(wanted(), tmp_path, mirror=server.address)
    assert "2.0 MB of 3.0 MB" in str(raised.value)
    assert "same command again" in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 4
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.part"]
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT
    assert server.sent == len(CONTENT)


def test_attempts_that_make_progress_are_not_counted(server: FileServer, tmp_path: Path) -> None:
    server.breaks = [100_000] * 20
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT
    assert len(server.asked) == 21


def test_a_server_without_ranges_sends_all_again(server: FileServer, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.breaks = [1_000_000]
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT
    assert server.sent == 1_000_000 + len(CONTENT)


def test_a_server_that_never_gets_further_is_given_up(server: FileServer, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.breaks = [1_000_000] * 50
    with pytest.raises(OSError, match="broke off"):
        fetch_file(wanted(), tmp_path, mirror=server.address)
    assert len(server.asked) == 3  # one that got somewhere, and one after each pause


def test_a_reset_is_a_break_like_others(server: FileServer, tmp_path: Path) -> None:
    server.resets = True
    server.breaks = [1_000_000]
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT


def test_a_file_of_unknown_length_is_read_to_its_end(server: FileServer, tmp_path: Path) -> None:
    server.tells_size = False
    server.breaks = [1_000_000]
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT
    assert server.sent == len(CONTENT)


def test_a_slow_start_is_waited_for_and_then_asked_again(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.2)
    server.delays = [0.5]
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT
    assert len(server.asked) == 2
    server.delays = [0.5] * 9
    with pytest.raises(OSError, match=r"no answer within 0\.2 s"):
        fetch_file(wanted(), tmp_path / "again", mirror=server.address)


def test_a_busy_server_is_asked_again_after_the_time_it_names(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(download.time, "sleep", slept.append)
    server.answers, server.headers = [429, 503], {"Retry-After": "7"}
    # The server sleeps with the same function before each answer, for 0 s.
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT
    assert [seconds for seconds in slept if seconds] == [7.0, 7.0]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_not_there_is_asked_for_once(
    server: FileServer, tmp_path: Path, status: int
) -> None:
    server.answers = [status]
    with pytest.raises(OSError, match=f"the server says {status}") as raised:
        fetch_file(wanted(), tmp_path, mirror=server.address)
    assert len(server.asked) == 1
    assert "--mirror" in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 4


def test_no_network(server: FileServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with pytest.raises(OSError, match="same command again") as raised:
        fetch_file(wanted(), tmp_path, mirror=address)
    assert str(raised.value).startswith(f"{address}/sounds%201.zip cannot be had: ")
    assert len(str(raised.value).splitlines()) <= 4
    assert not server.asked


def test_wrong_bytes_are_named_and_not_kept(server: FileServer, tmp_path: Path) -> None:
    other = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    server.files["sounds%201.zip"] = other
    with pytest.raises(ValueError, match="is published") as raised:
        fetch_file(wanted(), tmp_path, mirror=server.address)
    for content in (CONTENT, other):
        assert hashlib.sha256(content).hexdigest() in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 4
    assert list(tmp_path.iterdir()) == []
    server.files["sounds%201.zip"] = CONTENT
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT


@pytest.mark.parametrize("tells_size", [True, False])
def test_another_file_is_refused_by_its_size(
    server: FileServer, tmp_path: Path, tells_size: bool
) -> None:
    server.tells_size = tells_size
    server.files["sounds%201.zip"] = CONTENT + b"more"
    with pytest.raises(ValueError, match="Nothing of it was kept") as raised:
        fetch_file(wanted(), tmp_path, mirror=server.address)
    assert len(str(raised.value).splitlines()) <= 4
    assert not (tmp_path / NAME).exists()
    assert not (tmp_path / f"{NAME}.part").exists()


@pytest.mark.parametrize("extra", [-5, 0, 5])
def test_what_lies_under_the_name_is_not_trusted(
    server: FileServer, tmp_path: Path, extra: int
) -> None:
    (tmp_path / NAME).write_bytes(bytes(len(CONTENT) + extra))
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_part_of_something_else_is_found_out(server: FileServer, tmp_path: Path) -> None:
    part = tmp_path / f"{NAME}.part"
    part.write_bytes(bytes(len(CONTENT) + 1))  # too long to be one
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT
    (tmp_path / NAME).unlink()
    part.write_bytes(bytes(1000))
    with pytest.raises(ValueError, match="has been deleted"):
        fetch_file(wanted(), tmp_path, mirror=server.address)
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT


def test_a_part_that_was_not_asked_for_is_not_used(server: FileServer, tmp_path: Path) -> None:
    server.shift = 7
    server.breaks = [1_000_000]
    with pytest.raises(OSError, match="another part than was asked for"):
        fetch_file(wanted(), tmp_path, mirror=server.address)
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:1_000_000]


def test_a_server_that_has_less_than_the_part_is_started_anew(
    server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:2_000_000])
    server.answers = [416]
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT
    assert ranges(server) == ["bytes=2000000-", ""]


@pytest.mark.parametrize("address", ["file:///etc", "ftp://example.org", "example.org", "http:"])
def test_other_schemes_are_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ValueError, match="must begin with https://"):
        fetch_file(wanted(), tmp_path, mirror=address)


def test_without_a_mirror_only_https_is_used(server: FileServer, tmp_path: Path) -> None:
    url = f"{server.address}/sounds%201.zip"
    plain = Download(name=NAME, url=url, size=1, algorithm="md5", checksum="0")
    with pytest.raises(ValueError, match="must begin with https://"):
        fetch_file(plain, tmp_path)
    assert not server.asked


def test_redirects_are_followed_but_not_out_of_the_web(server: FileServer, tmp_path: Path) -> None:
    server.answers, server.headers = [302], {"Location": f"{server.address}/sounds%201.zip"}
    assert fetch_file(wanted(), tmp_path, mirror=f"{server.address}/old").exists()
    server.answers, server.headers = [302], {"Location": "ftp://example.org/a"}
    with pytest.raises(ValueError, match=r"ftp://example\.org/a is not used"):
        fetch_file(wanted(), tmp_path / "b", mirror=server.address)


def test_a_redirect_does_not_leave_https() -> None:
    handler = download._Redirects(("https",))
    request = urllib.request.Request("https://example.org/a")
    headers = http.client.HTTPMessage()
    with pytest.raises(ValueError, match="must begin with https://"):
        handler.redirect_request(request, None, 302, "", headers, "http://example.org/a")
    followed = handler.redirect_request(request, None, 302, "", headers, "https://b.org/a")
    assert followed is not None
    assert followed.full_url == "https://b.org/a"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (3_221_225_472, "3.2 GB")],
)
def test_sizes_in_words(size: int, text: str) -> None:
    assert size_text(size) == text
