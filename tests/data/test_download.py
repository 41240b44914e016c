import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer, serving

from audiogen.data.fetching import download
from audiogen.data.fetching.download import Download, fetch_file

CONTENT = np.random.default_rng(0).bytes(3_000_000)
NAME = "sounds 1.zip"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))
    with serving() as running:
        running.files["sounds%201.zip"] = CONTENT
        yield running


def wanted(*, algorithm: str = "sha256") -> Download:
    return Download(
        name=NAME,
        url="https://example.org/sounds.zip",
        size=len(CONTENT),
        checksum=f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}",
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
        assert server.asked == [("sounds%201.zip", "bytes=0-")]
    assert list(path.parent.iterdir()) == [path]


def test_after_a_break_only_the_rest_is_sent(server: FileServer, tmp_path: Path) -> None:
    server.breaks = [1_000_000, 1_500_000]
    path = fetch_file(wanted(), tmp_path, mirror=f"{server.address}/")
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 3
    assert server.sent <= len(CONTENT) + 2 * download.CHUNK_BYTES


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PAUSES", ())
    server.breaks = [2_000_000]
    with pytest.raises(OSError, match=r"\d MB of 3\.0 MB") as raised:
        fetch_file(wanted(), tmp_path, mirror=server.address)
    assert len(str(raised.value).splitlines()) <= 4
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.part"]
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT
    assert server.sent <= len(CONTENT) + download.CHUNK_BYTES


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
    with pytest.raises(OSError, match="cannot be had"):
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
    assert server.sent <= len(CONTENT) + download.CHUNK_BYTES


def test_a_slow_start_is_waited_for_and_then_asked_again(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.2)
    server.delays = [0.5]
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT
    assert len(server.asked) == 2
    server.delays = [0.5] * 9
    with pytest.raises(OSError, match="cannot be had"):
        fetch_file(wanted(), tmp_path / "again", mirror=server.address)


def test_a_busy_server_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    server.answers = [429, 503]
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_not_there_is_asked_for_once(
    server: FileServer, tmp_path: Path, status: int
) -> None:
    server.answers = [status]
    with pytest.raises(OSError, match=str(status)) as raised:
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
    with pytest.raises(ValueError, match="does not match") as raised:
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
    with pytest.raises(ValueError, match=r"server|hash") as raised:
        fetch_file(wanted(), tmp_path, mirror=server.address)
    assert len(str(raised.value).splitlines()) <= 4
    assert not any(path.stat().st_size for path in tmp_path.iterdir())


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
    with pytest.raises(ValueError, match="Deleted"):
        fetch_file(wanted(), tmp_path, mirror=server.address)
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT


def test_a_part_that_is_whole_is_not_asked_for_again(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT
    assert not server.asked


def test_a_part_that_was_not_asked_for_is_not_used(server: FileServer, tmp_path: Path) -> None:
    server.shift = 7
    server.breaks = [1_000_000]
    with pytest.raises(ValueError, match="another file"):
        fetch_file(wanted(), tmp_path, mirror=server.address)
    assert not (tmp_path / NAME).exists()


def test_a_server_that_has_less_than_the_part_is_started_anew(
    server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:2_000_000])
    server.answers = [416]
    assert fetch_file(wanted(), tmp_path, mirror=server.address).read_bytes() == CONTENT
    assert ranges(server) == ["bytes=2000000-", "bytes=0-"]


@pytest.mark.parametrize("address", ["file:///etc", "ftp://example.org", "example.org", "http:"])
def test_other_addresses_are_refused_at_once(tmp_path: Path, address: str) -> None:
    with pytest.raises(ValueError, match=address.partition(":")[0]):
        fetch_file(wanted(), tmp_path, mirror=address)


def test_redirects_are_followed(server: FileServer, tmp_path: Path) -> None:
    server.answers, server.headers = [302], {"Location": f"{server.address}/sounds%201.zip"}
    assert fetch_file(wanted(), tmp_path, mirror=f"{server.address}/old").exists()
