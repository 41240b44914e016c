"""Downloads of published files: pooch checks what came, and a downloader here goes on after breaks.

By itself pooch begins a file anew when the connection breaks; the archives here have up to 3 GB.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import pooch
from rich.filesize import decimal

import audiogen

CHUNK_BYTES = 1 << 16
TIMEOUT_SECONDS = 60.0
PAUSES = (2.0, 5.0, 15.0, 60.0)  # seconds before each new attempt that follows no progress
PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses that may be gone soon
OK, PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 200, 206, 416


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file on a server, as those who published it describe it.

    Attributes:
        name: of the file, on disk and on a mirror.
        url: where it lies.
        size: in bytes.
        checksum: "md5:" or "sha256:" and hexadecimal digits.
    """

    name: str
    url: str
    size: int
    checksum: str


def fetch_file(wanted: Download, folder: Path, *, mirror: str = "") -> Path:
    """Return the path of a file with the published bytes, downloading what is not there.

    What arrives is written to `<name>.part`, which a later call continues, and gets the file's name
    once the checksum is right. It comes from where it is published, or from a mirror, the address
    of a server that holds it under its name.

    Raises:
        ValueError: the server's bytes are not the published ones, or the address is none.
        OSError: the server cannot be reached or does not have it, or the disk refuses.
    """
    address = f"{mirror.rstrip('/')}/{quote(wanted.name)}" if mirror else wanted.url
    downloader = partial(_download, wanted)
    pooch.retrieve(address, wanted.checksum, wanted.name, folder, downloader=downloader)
    return folder / wanted.name


def _download(wanted: Download, address: str, output: str, _: object) -> None:
    """Fill `<name>.part` in as many attempts as make progress and a few more; see `pooch`."""
    part = Path(output).with_name(f"{wanted.name}.part")
    if _size(part) > wanted.size:
        part.unlink()  # no part of it
    furthest, failures = _size(part), 0
    while _size(part) < wanted.size:
        problem = _receive(part, wanted, address)
        if _size(part) >= wanted.size:
            break
        failures = 1 if _size(part) > furthest else failures + 1
        furthest = max(furthest, _size(part))
        if failures > len(PAUSES):
            raise OSError(
                f"{address} cannot be had: {problem}\nCall the same command again later; the"
                f" {decimal(_size(part))} of {decimal(wanted.size)} that have arrived are kept."
                f"\nOr name another server that holds {wanted.name} with --mirror."
            )
        time.sleep(PAUSES[failures - 1])
    part.replace(output)


def _receive(part: Path, wanted: Download, address: str) -> str:
    """Ask once for what is missing and append it; return what went wrong that may be gone soon."""
    with part.open("ab") as file:
        download = pooch.HTTPDownloader(
            progressbar=sys.stderr.isatty(),
            chunk_size=CHUNK_BYTES,
            timeout=TIMEOUT_SECONDS,
            headers={
                "User-Agent": f"audiogen/{audiogen.__version__}",
                "Accept-Encoding": "identity",
                "Range": f"bytes={_size(part)}-",
            },
            hooks={"response": partial(_look_at, file=file, wanted=wanted)},
        )
        try:
            download(address, file, None)
        except OSError as error:
            response = getattr(error, "response", None)
            if error.errno is not None or isinstance(error, ValueError):
                raise  # of the disk, or of an address that is none
            status = None if response is None else response.status_code
            if status == RANGE_NOT_SATISFIABLE:
                file.truncate(0)  # the file there is shorter than what we have of it
            elif status is not None and status not in PASSING:
                raise OSError(
                    f"{error}\nIf the file has moved, name another server that holds"
                    f" {wanted.name} with --mirror,\nor put it into {part.parent} yourself,"
                    " and call the same command again."
                ) from None
            return str(error)
    return "the connection broke off"


def _look_at(response: Any, *, file: IO[bytes], wanted: Download, **_: object) -> None:
    """Make `file` ready for what a server answers; raise ValueError if that is another file."""
    if response.status_code == OK:  # a server without ranges sends all
        file.truncate(0)
    elif response.status_code != PARTIAL_CONTENT:
        return
    start = file.seek(0, 2)
    told = response.headers.get("Content-Range", f"bytes {start}-")
    length = response.headers.get("Content-Length", str(wanted.size - start))
    if not told.startswith(f"bytes {start}-") or length != str(wanted.size - start):
        file.truncate(0)
        raise ValueError(
            f"{response.url}: the server sends {told}, {length} bytes, of {wanted.size}"
            " that are published.\nIt is another file, or a page that asks to log in."
            f" Nothing of it was kept.\nName another server that holds {wanted.name} with --mirror."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
