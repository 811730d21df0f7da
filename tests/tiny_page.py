"""The page of a network that was never trained, served in this process on a port that is free."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tiny_trained import CPU, OWN, trained

from predict.predictor import Predictor
from tools.page.serve import server_of
from tools.page.server import Server


@contextlib.contextmanager
def served(task: str, folder: Path) -> Iterator[tuple[Predictor, Server]]:
    """A network and the server that asks it; ``folder`` is for its file."""
    predictor = Predictor.load(trained(task, folder)[0], CPU, extractor=OWN)
    server = server_of(predictor, "best.pt", 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield predictor, server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def body(texts: Sequence[Any], pictures: Sequence[tuple[Any, bytes]]) -> bytes:
    """A request as the page makes it; ``pictures`` are names and files."""
    head = {"texts": texts, "pictures": [{"name": name, "bytes": len(content)} for name, content in pictures]}
    return json.dumps(head).encode() + b"\n" + b"".join(content for _, content in pictures)


def ask(
    server: Server, content: bytes = b"", method: str = "POST", path: str = "/predict", **headers: str | None
) -> Any:
    """Send a request as the page would, but for what is given. Returns status, headers and what was told."""
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    host = f"127.0.0.1:{server.server_port}"
    usual = {"Host": host, "Origin": f"http://{host}", "Content-Length": str(len(content))}
    given = usual | {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in given.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(content)
    reply = connection.getresponse()
    read = reply.read()
    connection.close()
    is_json = reply.headers["Content-Type"] == "application/json"
    return reply.status, reply.headers, json.loads(read) if is_json and read else read.decode()
