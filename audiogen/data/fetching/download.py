"""Downloads of published files: continued after a break, checked before anyone reads them."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

import audiogen

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60.0
PAUSES = (2.0, 5.0, 15.0, 30.0)  # seconds before each new attempt that follows no progress
MAX_PAUSE = 120.0  # seconds; what a server may ask for with Retry-After
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # HTTP statuses that may be gone soon
RANGE_NOT_SATISFIABLE = 416
_log = logging.getLogger(__name__)

Update = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file on a server, as those who published it describe it.

    Attributes:
        name: of the file, on disk and on a mirror.
        url: where it lies.
        size: in bytes.
        algorithm: of the checksum, "md5" or "sha256".
        checksum: in hexadecimal.
    """

    name: str
    url: str
    size: int
    algorithm: str
    checksum: str


class _InterruptedError(Exception):
    """The connection failed in a way that may be gone at the next attempt."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def fetch_file(wanted: Download, folder: Path, *, mirror: str = "") -> Path:
    """Return the path of a file with the published bytes, downloading what is not there.

    What arrives is written to `<name>.part` and renamed once size and checksum are right. A part
    is continued by a Range request; a server that knows none sends all again.

    Args:
        wanted: the file.
        folder: it lies there afterwards, under its name.
        mirror: address of a server that holds it under its name; empty for where it is published.

    Raises:
        ValueError: the server's bytes are not the published ones; or an address is not https.
        OSError: the server cannot be reached or does not have it, or the disk refuses.
    """
    target = folder / wanted.name
    if target.exists():
        if _is_published(target, wanted):
            return target
        _log.warning("%s is damaged and is downloaded again", target)
    folder.mkdir(parents=True, exist_ok=True)
    address = f"{mirror.rstrip('/')}/{quote(wanted.name)}" if mirror else wanted.url
    part = target.with_name(f"{wanted.name}.part")
    _complete(part, wanted, address, _opener(address, is_mirror=bool(mirror)))
    _check(part, wanted, address)
    part.replace(target)
    return target


def size_text(size: int) -> str:
    """Say a number of bytes with its unit, such as "3.2 GB"."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


@contextlib.contextmanager
def bytes_progress(what: str, total: int, done: int = 0) -> Iterator[Update]:
    """Show on a terminal how many of `total` bytes are done; elsewhere say once what begins.

    Yields:
        A function that takes how many bytes are done now.
    """
    if not sys.stderr.isatty():
        _log.info("%s (%s)", what, size_text(total))
        yield lambda _now: None
        return
    from rich.console import Console  # noqa: PLC0415 (only a terminal needs it)
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=32),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total, completed=done)
        yield lambda now: progress.update(task, completed=now)


def _complete(
    part: Path, wanted: Download, address: str, opener: urllib.request.OpenerDirector
) -> None:
    """Bring `part` to its full size, in as many attempts as make progress and a few more."""
    if _size(part) > wanted.size:
        part.unlink()
    reached, failures = _size(part), 0
    with bytes_progress(wanted.name, wanted.size, reached) as update:
        while _size(part) < wanted.size:
            try:
                _receive(part, wanted, address, opener, update)
            except _InterruptedError as error:
                has_moved = _size(part) > reached
                reached = max(reached, _size(part))
                failures = 1 if has_moved else failures + 1
                if failures > len(PAUSES):
                    raise OSError(
                        f"{address} cannot be had: {error}.\nCall the same command again later;"
                        f" the {size_text(_size(part))} of {size_text(wanted.size)} that have"
                        " arrived are kept.\nOr name another server that holds"
                        f" {wanted.name} with --mirror."
                    ) from None
                time.sleep(max(PAUSES[failures - 1], error.pause))


def _receive(
    part: Path,
    wanted: Download,
    address: str,
    opener: urllib.request.OpenerDirector,
    update: Update,
) -> None:
    """Ask once for what is missing and append it to `part`."""
    have = _size(part)
    headers = {"User-Agent": f"audiogen/{audiogen.__version__}"}
    if have:
        headers["Range"] = f"bytes={have}-"
    # The opener speaks http and https only, and `_opener` has looked at the scheme.
    request = urllib.request.Request(address, headers=headers)  # noqa: S310
    with _respond(request, opener, part, wanted.name) as response:
        start, total = _extent(response)
        if start not in {0, have}:  # a server without ranges sends all, from 0
            raise _InterruptedError("the server sends another part than was asked for")
        if total is not None and total != wanted.size:
            raise ValueError(
                f"{address}: the server's file has {total} bytes; {wanted.size} are published.\n"
                "It is another file, or a page that asks to log in. Nothing of it was kept.\n"
                f"Name another server that holds {wanted.name} with --mirror."
            )
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            for chunk in _chunks(response):
                start += len(chunk)
                if start > wanted.size:
                    break
                file.write(chunk)
                update(start)
    if start > wanted.size:
        part.unlink()
        raise ValueError(
            f"{address}: the server sends more than the {wanted.size} bytes that are published.\n"
            f"Nothing of it was kept. Name another server that holds {wanted.name} with --mirror."
        )
    if start < wanted.size:
        raise _InterruptedError("the connection broke off")


def _respond(
    request: urllib.request.Request,
    opener: urllib.request.OpenerDirector,
    part: Path,
    name: str,
) -> Any:
    """Return the server's answer; raise _InterruptedError if asking again may help."""
    try:
        return opener.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == RANGE_NOT_SATISFIABLE and part.exists():
                part.unlink()  # the file there is shorter than what we have of it
                raise _InterruptedError("the server refuses to go on after the break") from None
            if error.code in PASSING:
                raise _InterruptedError(f"the server says {_status(error)}", _wait(error)) from None
            raise OSError(
                f"{request.full_url}: the server says {_status(error)}.\n"
                f"If the file has moved, name another server that holds {name} with --mirror,\n"
                f"or put it into {part.parent} yourself, and call the same command again."
            ) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise OSError(
                f"{request.full_url}: the server's certificate is not valid"
                f" ({error.reason.verify_message}).\nCheck the clock of this machine, and whether"
                " something between it and the server answers in its place."
            ) from None
        raise _InterruptedError(_reason(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedError(_reason(error)) from None


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield what the server sends; what breaks while reading is no fault of the disk."""
    while True:
        try:
            chunk = response.read1(CHUNK_BYTES)  # what has come, so that a break loses nothing
        except (OSError, http.client.HTTPException) as error:
            raise _InterruptedError(_reason(error)) from None
        if not chunk:
            return
        yield chunk


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Return where in the file an answer begins, and the file's size where it says so."""
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        found = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip()
        )
        if found is None:
            raise _InterruptedError("the server answers with a part that it does not describe")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _check(part: Path, wanted: Download, address: str) -> None:
    """Delete a part whose checksum is not the published one, and raise ValueError."""
    arrived = _checksum(part, wanted)
    if arrived != wanted.checksum:
        part.unlink()
        raise ValueError(
            f"{address}: the {wanted.algorithm} is {arrived},\n"
            f"but {wanted.checksum} is published.\n"
            "What arrived has been deleted. Call the same command again; if that ends the same"
            f" way,\nname another server that holds {wanted.name} with --mirror."
        )


def _is_published(path: Path, wanted: Download) -> bool:
    return _size(path) == wanted.size and _checksum(path, wanted) == wanted.checksum


def _checksum(path: Path, wanted: Download) -> str:
    digest = hashlib.new(wanted.algorithm, usedforsecurity=False)  # of what the publisher chose
    done = 0
    with path.open("rb") as file, bytes_progress(f"checking {wanted.name}", wanted.size) as update:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            update(done)
    return digest.hexdigest()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects as long as they do not leave https."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self._schemes = schemes

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _check_scheme(newurl, self._schemes)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(address: str, *, is_mirror: bool) -> urllib.request.OpenerDirector:
    """Return what opens `address`; a mirror may speak http, since the checksum is asked for."""
    _check_scheme(address, ("https", "http") if is_mirror else ("https",))
    is_plain = urlsplit(address).scheme == "http"
    return urllib.request.build_opener(_Redirects(("https", "http") if is_plain else ("https",)))


def _check_scheme(address: str, schemes: tuple[str, ...]) -> None:
    parts = urlsplit(address)
    if parts.scheme not in schemes or not parts.netloc:
        raise ValueError(
            f"{address} is not used: the address must begin with"
            f" {' or '.join(f'{scheme}://' for scheme in schemes)}."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _status(error: urllib.error.HTTPError) -> str:
    return f"{error.code} {error.reason}".strip()


def _wait(error: urllib.error.HTTPError) -> float:
    """Return the seconds that a server asks to wait, within limits; 0 when it does not say."""
    asked = error.headers.get("Retry-After", "")
    return min(float(asked), MAX_PAUSE) if asked.isdecimal() else 0.0


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:g} s"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
