"""A server of files on this machine that knows ranges, and misbehaves as the tests ask it to."""

import re
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `files` by name. The lists are used up, an item for each request.

    Attributes:
        knows_ranges: whether it answers a Range request with a part.
        tells_size: whether it sends Content-Length.
        breaks: bytes after which the connection is cut; 0 for not at all.
        shift: bytes by which a part begins elsewhere than asked for.
        resets: cut by a TCP reset instead of an orderly end.
        delays: seconds before the answer begins.
        answers: a status instead of the file; 0 for the file.
        headers: sent with each such status.
        asked: name and Range header of each request.
        sent: bytes of files that were sent.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.knows_ranges = True
        self.tells_size = True
        self.breaks: list[int] = []
        self.shift = 0
        self.resets = False
        self.delays: list[float] = []
        self.answers: list[int] = []
        self.headers: Mapping[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.sent = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        server, name = self.server, self.path.lstrip("/")
        wanted = self.headers.get("Range", "")
        server.asked.append((name, wanted))
        time.sleep(server.delays.pop(0) if server.delays else 0)
        status = server.answers.pop(0) if server.answers else 0
        if status or name not in server.files:
            self.send_response(status or 404)
            for key, value in server.headers.items():
                self.send_header(key, value)
            self.end_headers()
            return
        data = server.files[name]
        found = re.fullmatch(r"bytes=(\d+)-", wanted) if server.knows_ranges else None
        start = int(found[1]) + server.shift if found else 0
        if found and start >= len(data):
            self.send_response(416)
            self.end_headers()
            return
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if server.tells_size:
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        limit = server.breaks.pop(0) if server.breaks else 0
        body = data[start : start + limit] if limit else data[start:]
        self.wfile.write(body)
        server.sent += len(body)
        if limit and server.resets:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serving() -> Iterator[FileServer]:
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
