"""A faulty HTTP proxy between commands and a tracking server."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
_HANG_S, _SLOW_S = 60.0, (0.2, 2.0)


class Handler(BaseHTTPRequestHandler):
    """Answers one request, in the way that its proxy says."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, *args: object) -> None:
        """Logs nothing."""

    def _handle(self) -> None:
        self.close_connection = True
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.draw()
        try:
            FAULTS[fault](self) if fault else self.pass_on()
        except OSError:  # either side is gone
            self.reset()

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle  # noqa: N815 (names of http.server)

    def ask(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """Passes the request on, and returns status, headers and content of the answer."""
        connection = http.client.HTTPConnection(*self.server.target, timeout=90)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        try:
            connection.request(self.command, self.path, self._body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def pass_on(self) -> None:
        """Passes request and answer on."""
        self.answer(*self.ask())

    def answer(self, status: int, headers: list[tuple[str, str]], content: bytes, cut: int = 0) -> None:
        """Answers; the last `cut` bytes are left out."""
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content[: len(content) - cut])

    def refuse(self, status: int) -> None:
        """Answers with an error, and passes nothing on."""
        self.answer(status, [("Content-Type", "text/plain")], b"refused by the drill")

    def refuse_after(self) -> None:
        """Passes the request on, and answers that this failed."""
        self.ask()
        self.refuse(502)

    def reset(self) -> None:
        """Resets the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def drop(self) -> None:
        """Passes the request on, and resets the connection in place of an answer."""
        self.ask()
        self.reset()

    def cut(self) -> None:
        """Passes the request on, and answers with a half."""
        status, headers, content = self.ask()
        self.answer(status, headers, content, cut=(len(content) + 1) // 2)

    def hang(self) -> None:
        """Answers nothing for a long time, until the faults end."""
        self.server.calm.wait(_HANG_S)
        self.reset()

    def slow(self) -> None:
        """Answers late."""
        time.sleep(self.server.seconds())
        self.pass_on()

    def show_page(self) -> None:
        """Answers with a page, as portals do."""
        self.answer(200, [("Content-Type", "text/html")], b"<html><body>Please sign in</body></html>")


FAULTS: Mapping[str, Callable[[Handler], None]] = {
    "500": lambda handler: handler.refuse(500),
    "502 after": Handler.refuse_after,
    "reset": Handler.reset,
    "hang": Handler.hang,
    "slow": Handler.slow,
    "html": Handler.show_page,
    "401": lambda handler: handler.refuse(401),
    "drop": Handler.drop,
    "cut": Handler.cut,
}


class Proxy(ThreadingHTTPServer):
    """Passes everything on until `disturb` is called, and again after `soothe`."""

    daemon_threads = True

    def __init__(self, target: str, seed: int) -> None:
        """Listens on a free port of this machine, and answers in threads."""
        super().__init__(("127.0.0.1", 0), Handler)
        parts = urlsplit(target)
        self.target = (str(parts.hostname), int(parts.port or 80))
        self.uri = f"http://127.0.0.1:{self.server_port}"
        self.calm = threading.Event()
        self._rng, self._lock, self._faults, self._share = random.Random(seed), threading.Lock(), [""], 0.0
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def disturb(self, fault: str, share: float) -> None:
        """Answers this share of all requests wrongly; `mixed` in any way."""
        self.calm.clear()
        self._faults, self._share = [*FAULTS] if fault == "mixed" else [fault], share

    def soothe(self) -> None:
        """Ends the faults."""
        self._share = 0.0
        self.calm.set()

    def draw(self) -> str:
        """Returns how a request is to be answered wrongly; empty for rightly."""
        with self._lock:
            return self._rng.choice(self._faults) if self._rng.random() < self._share else ""

    def seconds(self) -> float:
        """Returns how late a slow answer comes."""
        with self._lock:
            return self._rng.uniform(*_SLOW_S)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """No-op: connections that break are what it is for."""

    def stop(self) -> None:
        """Stops to listen."""
        self.soothe()
        self.shutdown()
        self.server_close()
