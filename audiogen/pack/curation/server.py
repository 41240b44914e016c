"""A server of one pack's curation page, for this machine alone, that saves the choices."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from audiogen.pack.curation.choices import (
    SELECTION_FILE,
    Selection,
    add_choices,
    parse_selection,
    read_selection,
)
from audiogen.pack.curation.page import PAGE_FILE
from audiogen.pack.job import read_job, take_path
from audiogen.takes.take import Take
from audiogen.trees import did_you_mean

ADDRESS = "127.0.0.1"
MAX_BYTES = 16 << 20
"""Of a selection: notes of many takes."""
_log = logging.getLogger(__name__)


@contextmanager
def serving(pack: Path, port: int = 0) -> Iterator[ThreadingHTTPServer]:
    """Give a server of a pack that listens on this machine; it answers once it is told to serve.

    Args:
        pack: with its page.
        port: 0 takes a free one.

    Raises:
        ValueError: the pack has no page.
        OSError: the port is taken.
    """
    if not (pack / PAGE_FILE).is_file():
        raise ValueError(
            f"{pack}: no {PAGE_FILE} here{did_you_mean(pack)}\n"
            f"  `audiogen texture page {pack}` makes it"
        )
    read_selection(pack)  # a damaged one is said now, and not overwritten
    try:
        server = _PackServer(pack, port)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(
            f"port {port} cannot be used: {reason}\n"
            "  give another --port, or leave it out, which takes a free one"
        ) from None
    with server:
        yield server


class _PackServer(ThreadingHTTPServer):
    """Knows the files that may be asked for."""

    daemon_threads = True

    def __init__(self, pack: Path, port: int) -> None:
        super().__init__((ADDRESS, port), _Handler)
        self.pack = pack
        self.takes: dict[str, Take] = {take.file: take for take in read_job(pack)}
        self.hosts = {f"{name}:{self.server_address[1]}" for name in (ADDRESS, "localhost")}


class _Handler(BaseHTTPRequestHandler):
    """Three kinds of paths are known; nothing of a request becomes the name of a file."""

    server: _PackServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Send the page, the choices or a take."""
        if not self._is_allowed():
            return
        pack, path = self.server.pack, self.path.partition("?")[0]
        stem = path.removeprefix("/takes/").removesuffix(".wav")
        if path in {"/", f"/{PAGE_FILE}"}:
            self._send_file(pack / PAGE_FILE, "text/html; charset=utf-8")
        elif path == f"/{SELECTION_FILE}":
            try:
                text = json.dumps(read_selection(pack).model_dump(mode="json"))
            except (ValueError, OSError) as error:
                self._send(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            else:
                self._send(HTTPStatus.OK, text, "application/json")
        elif path == f"/takes/{stem}.wav" and stem in self.server.takes:
            self._send_file(take_path(pack, self.server.takes[stem]), "audio/wav")
        else:
            self._send(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_PUT(self) -> None:
        """Save the choices that are sent; those of other takes stay."""
        if not self._is_allowed(writes=True):
            return
        if self.path != f"/{SELECTION_FILE}":
            self._send(HTTPStatus.NOT_FOUND, "only selection.json is saved")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BYTES:
            self.close_connection = True
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected up to {MAX_BYTES} bytes")
            return
        content = self.rfile.read(int(length))
        try:
            selection = parse_selection(content, "the choices")
            self._check_names(selection)
            add_choices(self.server.pack, selection)
        except ValueError as error:
            self._send(HTTPStatus.BAD_REQUEST, str(error))
        except OSError as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, error.strerror or str(error))
        else:
            self._send(HTTPStatus.OK, "saved")

    def _check_names(self, selection: Selection) -> None:
        unknown = [name for name in selection.takes if name not in self.server.takes]
        if unknown:
            raise ValueError(f"the choices: no take of this pack is called {unknown[0]!r:.80}")

    def _is_allowed(self, *, writes: bool = False) -> bool:
        """Refuse what does not come from the page itself.

        Another site may let its own name lead to this machine (DNS rebinding), which the Host
        header shows, or send requests from a browser, which Origin and Sec-Fetch-Site show. JSON
        cannot be sent across origins without asking first, and there is no answer to that.
        """
        hosts = self.headers.get_all("Host") or []
        origin = self.headers.get("Origin")
        site = self.headers.get("Sec-Fetch-Site", "same-origin")
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if (
            len(hosts) == 1
            and hosts[0] in self.server.hosts
            and origin in {None, f"http://{hosts[0]}"}
            and site in ({"same-origin"} if writes else {"same-origin", "none"})
            and (not writes or kind == "application/json")
        ):
            return True
        self.close_connection = True
        self._send(HTTPStatus.FORBIDDEN, "only the page of this pack may ask")
        return False

    def _send_file(self, path: Path, kind: str) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            self._send(HTTPStatus.NOT_FOUND, error.strerror or str(error))
        else:
            self._send(HTTPStatus.OK, content, kind)

    def _send(
        self, status: HTTPStatus, content: str | bytes, kind: str = "text/plain; charset=utf-8"
    ) -> None:
        body = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Frame-Options": "DENY",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing of requests."""
        _log.debug(format, *args)
