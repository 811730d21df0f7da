"""The page's server: what it answers is what the network says, and everybody but the page itself is refused."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import threading
import time
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_pictures
from tiny_page import ask, body, served
from tiny_trained import OWN, trained

from common.errors import UserError
from predict.predictor import Predictor, ranked
from predict.told import as_record
from tools.page import server as module
from tools.page.asked import MOST_BYTES, MOST_TEXTS
from tools.page.serve import main
from tools.page.server import Server

TEXT = ["what is red"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bytes]]:
    folder = tiny_pictures.folder(tmp_path_factory.mktemp("pictures"), 3)
    return [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Predictor, Server]]:
    with served("vqa", tmp_path_factory.mktemp("vqa")) as found:
        yield found


def refused(status: int, said: str, found: Any) -> None:
    got, headers, told = found
    assert (got, headers["X-Content-Type-Options"], headers["Cache-Control"]) == (status, "nosniff", "no-store")
    assert said in told["error"] and len(told["error"]) < 700


@pytest.mark.parametrize("task", ["itm", "vgd", "vqa"])
@pytest.mark.parametrize("count", [1, 3])
def test_it_answers_what_the_network_says(
    task: str, count: int, files: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    texts = ["what is red", "is a zebra blue, or red?"][: 2 if count == 1 else 1]
    paths = sorted(tiny_pictures.folder(tmp_path / "pictures", count).iterdir())
    with served(task, tmp_path) as (predictor, server):
        status, _, told = ask(server, body(texts, files[:count]))
        found = predictor.predict(paths, texts)
    assert status == 200 and told["refused"] == {}
    assert told["predictions"] == [
        {"picture": one.picture, "text": one.text, **json.loads(json.dumps(as_record(one.shown)))} for one in found.said
    ]
    assert [one["unknown"] for one in told["readings"]] == [[], ["zebra"]][: len(texts)]
    (best, *_) = ranked(found.said, "picture" if count == 1 else "text").values() if task == "itm" else [[]]
    chosen = [told["predictions"][place] for ranking in told["rankings"] for place in ranking]
    assert [(one["picture"], one["text"]) for one in chosen] == [(one.picture, one.text) for one in best]


def test_pictures_that_cannot_be_read_are_named(page: tuple[Predictor, Server], files: list[tuple[str, bytes]]) -> None:
    _, server = page
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    bomb += b"\x00\x00\x00\x00IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    for name, content, said in (
        ("a.txt", b"hello", "a.txt is no picture of a known kind"),
        ("a.png", files[0][1][:60], "cannot read the picture a.png"),
        ("b.png", bomb, "pixels"),
        ("\x1b[2J\ud800" + "x" * 999, b"<svg/>", "is no picture"),
    ):
        refused(400, said, ask(server, body(TEXT, [(name, content)])))
    status, _, told = ask(server, body(TEXT, [("a.txt", b"hello"), files[0]]))
    assert status == 200 and [one["picture"] for one in told["predictions"]] == [1] and "a.txt" in told["refused"]["0"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not begin with a line of JSON"),
        (b"x" * 200_000 + b"\n", "of at most 100,000 bytes"),
        (b"nonsense\n", "is no JSON"),
        (b"[" * 90_000 + b"\n", "is no JSON"),
        (b"[]\n", 'no list "texts"'),
        (b'{"texts": ["a"]}\n', 'no list "pictures"'),
        (body(["a"], []), "has 0 pictures"),
        (body(["a"] * (MOST_TEXTS + 1), [("a", b"x")]), f"it takes 1 to {MOST_TEXTS}"),
        (body([" "], [("a", b"x")]), "a text is empty"),
        (body([7], [("a", b"x")]), "a text is empty"),
        (body(["\ud800"], [("a", b"x")]), "half a character"),
        (body(["?"], [("a", b"x")]), "has no words"),
        (body(["a"], [("a", b"")]), "bytes above 0"),
        (body(["a"], [(7, b"x")]), "is no picture of the request"),
        (body(["a"], [("a", b"x")]) + b"more", "would end at"),
        (b'{"texts": ["a"], "pictures": [{"name": "a", "bytes": 1e3}]}\n', "is no picture of the request"),
        (b'{"texts": ["a"], "pictures": [{"name": "a", "bytes": 999}]}\nx', "would end at"),
    ],
)
def test_a_request_that_is_none_has_its_sentence(page: tuple[Predictor, Server], content: bytes, said: str) -> None:
    refused(400, said, ask(page[1], content))


def test_only_the_page_itself_may_ask(page: tuple[Predictor, Server], files: list[tuple[str, bytes]]) -> None:
    _, server = page
    port, asked = server.server_port, body(TEXT, files[:1])
    other = f"127.0.0.1:{port + 1}"
    for host in (None, "evil.example", f"evil.example:{port}", "127.0.0.1", other, f"localhost.:{port}"):
        refused(403, "another name", ask(server, asked, Host=host))
        refused(403, "another name", ask(server, method="GET", path="/", Host=host))
    for origin in (None, "null", "http://evil.example", f"https://127.0.0.1:{port}", f"http://localhost:{port}"):
        refused(403, "only the page itself", ask(server, asked, Origin=origin))
    refused(403, "only the page itself", ask(server, asked, Sec_Fetch_Site="cross-site"))
    local = f"localhost:{port}"
    for own in ({}, {"Host": local, "Origin": f"http://{local}"}, {"Sec_Fetch_Site": "same-origin"}):
        assert ask(server, asked, **own)[0] == 200


def test_a_request_says_its_length_and_is_not_too_large(page: tuple[Predictor, Server]) -> None:
    _, server = page
    for length in (None, "", "-1", "+5", "1e3", "٣"):
        encoded = length if length is None else length.encode().decode("latin-1")
        refused(411, "does not say its length", ask(server, Content_Length=encoded))
    refused(411, "does not say its length", ask(server, Content_Length="5", Transfer_Encoding="chunked"))
    for length in (str(MOST_BYTES + 1), "9" * 5000):
        refused(413, "more than 40 MB", ask(server, Content_Length=length))


def test_a_refused_upload_is_taken_so_that_its_sender_reads_the_sentence(
    page: tuple[Predictor, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, server = page
    monkeypatch.setattr(module, "MOST_BYTES", 1_000_000)
    host, upload = f"127.0.0.1:{server.server_port}", bytes(8_000_000)  # more than the sockets hold between them
    for path, origin, length, said in (
        ("/predict", f"http://{host}", len(upload), b" 413 "),
        ("/predict", "http://evil.example", len(upload), b" 403 "),
        ("/nothing", f"http://{host}", len(upload), b" 404 "),
        ("/predict", f"http://{host}", "", b" 411 "),
    ):
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nContent-Length: {length}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as browser:
            browser.sendall(head.encode() + upload)  # all of it before anything is read
            with browser.makefile("rb") as reply:
                assert said in reply.readline() and b'{"error": ' in reply.read()
    monkeypatch.setattr(module, "MOST_DRAINED", 100_000)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as browser, pytest.raises(OSError):
        browser.sendall(head.encode() + upload)
        browser.recv(1000)
        browser.sendall(upload)


def test_whoever_sends_slowly_is_not_waited_for(
    page: tuple[Predictor, Server], files: list[tuple[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, server = page
    monkeypatch.setattr(module, "BODY_SECONDS", 0.3)
    asked = body(TEXT, files[:1])
    began = time.monotonic()
    refused(408, "did not arrive", ask(server, asked, Content_Length=str(len(asked) + 1)))
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", server.server_port)) as slow:
        slow.sendall(b"GET / HT")
        assert slow.recv(1000) == b"" or time.monotonic() - began < 5
    assert time.monotonic() - began < 5
    assert ask(server, asked)[0] == 200  # whoever comes next has their turn


def test_other_addresses_and_methods(page: tuple[Predictor, Server]) -> None:
    _, server = page
    for path in ("/nothing", "/../../etc/passwd", "/templates/page.js", "/style.css?x", "http://evil.example/"):
        refused(404, "nothing at this address", ask(server, method="GET", path=path))
        refused(404, "nothing at this address", ask(server, path=path))
    for method, path in (("POST", "/"), ("GET", "/predict")):
        found = ask(server, method=method, path=path)
        refused(405, f"{method} is not for this address", found)
        assert found[1]["Allow"] == ("GET" if method == "POST" else "POST")
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "NONSENSE"):
        refused(405, "Unsupported method", ask(server, method=method))


def test_the_page_and_its_files(page: tuple[Predictor, Server]) -> None:
    _, server = page
    for path, holds in (("/", "Visual question answering"), ("/style.css", "--found"), ("/script.js", "fetch(")):
        status, headers, text = ask(server, method="GET", path=path)
        assert status == 200 and holds in text
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
    assert "9 words, 4 answers" in ask(server, method="GET", path="/")[2]


def test_one_prediction_at_a_time(
    page: tuple[Predictor, Server], files: list[tuple[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, server = page
    monkeypatch.setattr(module, "TURN_SECONDS", 0.1)
    with server.turn:
        refused(503, "still answering others", ask(server, body(TEXT, files[:1])))


def test_a_failure_is_told_and_the_next_is_answered(
    page: tuple[Predictor, Server], files: list[tuple[str, bytes]], monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    predictor, server = page
    with monkeypatch.context() as broken:
        broken.setattr(type(predictor), "predict", lambda *_: 1 / 0)
        refused(500, "the program failed (division by zero)", ask(server, body(TEXT, files[:1])))
    assert ask(server, body(TEXT, files[:1]))[0] == 200
    said, end = "", time.monotonic() + 10  # the server's thread writes on after it has answered
    while "ZeroDivisionError" not in said and time.monotonic() < end:
        said += capfd.readouterr().err
        time.sleep(0.01)
    assert "ZeroDivisionError" in said


def test_a_command_line_that_cannot_be_served(page: tuple[Predictor, Server], tmp_path: Path) -> None:
    ckpt, _ = trained("vqa", tmp_path)
    taken = page[1].server_port
    for options, said in (
        ([], "nobody to ask without CKPT="),
        ([f"--ckpt={ckpt}", "--port=80"], "PORT=80 must be 1024 to 65535"),
        ([f"--ckpt={ckpt}", f"--port={taken}", f"--extractor={OWN}"], f"port {taken} cannot be had .*in use"),
    ):
        with pytest.raises(UserError, match=said):
            main([*options, "--gpu=cpu"])


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_quietly(stop: signal.Signals, tmp_path: Path, capfd: Any) -> None:
    ckpt, _ = trained("vqa", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    waiting = threading.Thread(target=_stop_what_serves, args=(port, stop))
    waiting.start()
    main([f"--ckpt={ckpt}", f"--port={port}", f"--extractor={OWN}", "--gpu=cpu"])
    waiting.join()
    told = f"page    http://127.0.0.1:{port}/ (open it in a browser here; Ctrl-C ends it)\n"
    assert capfd.readouterr() == (told, "")


def _stop_what_serves(port: int, stop: signal.Signals) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).close()
            os.kill(os.getpid(), stop)
            return
        time.sleep(0.1)
