"""The page's server: for this machine and its own page alone, with bounds on size and time, one prediction at a time

Web sites that are open in the same browser can send requests here too. They carry a foreign Origin, or a foreign Host
where a name of theirs suddenly means this machine (DNS rebinding), and are refused by that.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Container, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from common.errors import UserError, why
from tools.page.asked import MOST_BYTES

ADDRESS = "127.0.0.1"
CHUNK = 2**16
HOSTS = (ADDRESS, "localhost")
PREDICT = "/predict"
HEAD_SECONDS, BODY_SECONDS, TURN_SECONDS = 10.0, 30.0, 120.0  # to send a head, a body; to wait for one's turn
DRAIN_SECONDS, MOST_DRAINED = 10.0, 4 * MOST_BYTES  # of what still comes of a request that is answered
LAST_SECONDS = 5.0  # for the prediction that is under way when the server ends
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Part(NamedTuple):
    """A file of the page."""

    kind: str  # its media type
    content: bytes


class Refused(Exception):
    """A request that is not served, with its status and a sentence."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Server(ThreadingHTTPServer):
    """Serves the page.

    Args:
        port: where; 0 for any that is free.
        parts: files of the page by path.
        answer: what the body of a POST asks, answered; a UserError is told to the page.

    Raises:
        UserError: the port is taken.
    """

    daemon_threads = True
    allow_reuse_port = False  # newer Pythons share a port with whoever asks

    def __init__(self, port: int, parts: Mapping[str, Part], answer: Callable[[bytes], dict[str, Any]]) -> None:
        self.parts, self.answer, self.turn = parts, answer, threading.Lock()
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise UserError(f"port {port} cannot be had ({error.strerror}); say another one, as PORT=...") from error

    def server_bind(self) -> None:
        """Bind, and leave out the question for the machine's name, which goes to the network."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def serve(self) -> None:
        """Serve until Ctrl-C.

        Raises:
            KeyboardInterrupt: that was pressed.
        """
        try:
            self.serve_forever()
        finally:
            self.server_close()
            self.turn.acquire(timeout=LAST_SECONDS)  # torch does not like to be torn down while it computes


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = BODY_SECONDS

    def setup(self) -> None:
        super().setup()
        self._end = threading.Timer(0, self._end_reading)
        self._read_for(HEAD_SECONDS)

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            self._drain()
        self._end.cancel()
        super().finish()

    def _drain(self) -> None:
        """Take what is still being sent, within bounds.

        Where bytes are left unread, closing resets the connection, and a browser drops the answer with it.
        """
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self._read_for(DRAIN_SECONDS)
        left = MOST_DRAINED
        while left > 0 and (taken := len(self.rfile.read1(min(left, CHUNK)))):
            left -= taken

    def _read_for(self, seconds: float) -> None:
        """From now on reading may last so long in all, however slowly bytes come."""
        self._end.cancel()
        self._end = threading.Timer(seconds, self._end_reading)
        self._end.daemon = True
        self._end.start()

    def _end_reading(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RD)

    def do_GET(self) -> None:
        self._or_refuse(self._part)

    def do_POST(self) -> None:
        self._or_refuse(self._predict)

    def _or_refuse(self, serve: Callable[[], None]) -> None:
        self._end.cancel()
        try:
            if self.headers.get_all("Host", []) not in [[f"{host}:{self.server.server_port}"] for host in HOSTS]:
                raise Refused(HTTPStatus.FORBIDDEN, "this page is asked for under another name than its own")
            serve()
        except Refused as refused:
            self._tell(refused.status, {"error": str(refused)})
        except UserError as error:
            self._tell(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:
            said = f"the program failed ({why(error)}); its terminal says more"
            self._tell(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": said})
            raise

    def _check_path(self, served: Container[str], *others: str) -> None:
        """Refuse a path that is not served, or only by the other method."""
        if self.path in others:
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{self.command} is not for this address")
        if self.path not in served:
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing at this address")

    def _part(self) -> None:
        self._check_path(self.server.parts, PREDICT)
        self._send(HTTPStatus.OK, self.server.parts[self.path])

    def _predict(self) -> None:
        self._check_path([PREDICT], *self.server.parts)
        site = self.headers.get("Sec-Fetch-Site", "same-origin")
        if self.headers.get_all("Origin", []) != [f"http://{self.headers['Host']}"] or site != "same-origin":
            raise Refused(HTTPStatus.FORBIDDEN, "only the page itself may ask")
        length = self._length()
        if not self.server.turn.acquire(timeout=TURN_SECONDS):
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the network is still answering others; ask again later")
        try:  # reading is part of one's turn, so that the pictures of one request are in memory
            self._read_for(BODY_SECONDS)
            content = self.rfile.read(length)
            self._end.cancel()
            if len(content) < length:
                late = f"the pictures did not arrive within {BODY_SECONDS:g} seconds"
                raise Refused(HTTPStatus.REQUEST_TIMEOUT, late)
            told = self.server.answer(content)
        finally:
            self.server.turn.release()
        self._tell(HTTPStatus.OK, told)

    def _length(self) -> int:
        told = self.headers.get_all("Content-Length", [])
        if len(told) != 1 or not (told[0].isascii() and told[0].isdigit()) or "Transfer-Encoding" in self.headers:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "the request does not say its length")
        if len(told[0]) > len(str(MOST_BYTES)) or int(told[0]) > MOST_BYTES:
            most = f"{MOST_BYTES // 1_000_000} MB"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"pictures of more than {most}; choose fewer or smaller")
        return int(told[0])

    def _tell(self, status: int, told: Mapping[str, Any]) -> None:
        self._send(status, Part("application/json", json.dumps(told).encode()))

    def _send(self, status: int, part: Part) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": part.kind, "Content-Length": str(len(part.content))}.items():
            self.send_header(name, value)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "POST" if self.path == PREDICT else "GET")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(part.content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses, in the form and with the headers of everything else."""
        unknown = code == HTTPStatus.NOT_IMPLEMENTED
        self._tell(HTTPStatus.METHOD_NOT_ALLOWED if unknown else code, {"error": message or HTTPStatus(code).phrase})

    def version_string(self) -> str:
        """Without those of Python and its library, which are nobody's business."""
        return "MmNas"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what is asked stays between page and network."""
