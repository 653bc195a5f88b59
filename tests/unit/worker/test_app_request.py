"""One request to an app, whatever the app does: a real server on a real socket for each."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from backend.task import Task, TaskState
from backend.worker.app_request import AppRequest, Reply, header_text, headers, target
from backend.worker.ports import choose

Serve = Callable[[socket.socket], None]
DEADLINE = 20.0


@contextmanager
def app(serve: Serve, at: socket.socket | None = None) -> Iterator[int]:
    """An app that takes one connection and does as it is told; its port."""
    with at or socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)

        def work() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(DEADLINE)
                serve(connection)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(DEADLINE)
        assert not thread.is_alive()


def request_of(connection: socket.socket) -> bytes:
    """Head and body of a request whose length is given."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answering(text: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(text)

    return serve


def ask(serve: Serve, *, seconds: float = DEADLINE, largest: int = 100) -> Reply:
    with app(serve) as port:
        return AppRequest(port, seconds=seconds, largest=largest).send("/", b"data", {})


def task(**fields: object) -> Task:
    known = {"id": "t", "service": "s", "index": 7, "kind": "query", "state": TaskState.RUNNING}
    return Task(**{**known, "created_at": 0.0, "request_id": "r", "attempt": 2, **fields})  # type: ignore[arg-type]


def test_the_request_is_what_was_put() -> None:
    seen = []

    def serve(connection: socket.socket) -> None:
        seen.append(request_of(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    wanted = task(path="v1/infer", tags={"a": "b c", "ö": "&"}, details={"content_type": "text/plain"})
    with app(serve) as port:
        request = AppRequest(port, seconds=DEADLINE, largest=100)
        reply = request.send(target(wanted, "/"), b"\x00\xff", headers(wanted, {"X-Own": "yes"}))
    assert reply == Reply(200, b"ok")
    head, _, body = seen[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v1/infer?a=b+c&%C3%B6=%26 HTTP/1.1"
    assert body == b"\x00\xff"
    assert {b"Content-Type: text/plain", b"X-Own: yes"} <= set(lines)
    assert b"X-EAS-QueueService-Request-Id: r" in lines
    assert b"X-EAS-QueueService-Index: 7" in lines
    assert b"X-EAS-QueueService-Delivery: 2" in lines


def test_a_query_without_a_path_goes_to_the_proxy_path() -> None:
    assert target(task(), "/") == "/"
    assert target(task(), "predict") == "/predict"
    assert target(task(path="a b/c"), "predict") == "/a%20b/c"


def test_the_path_is_the_callers_own() -> None:
    assert target(task(path="/v1/a%2Fb%20c%25/"), "predict") == "/v1/a%2Fb%20c%25/"


@pytest.mark.parametrize(
    ("said", "sent"),
    [("请求-7", "请求-7".encode()), ("a\nX-Own: no", b"a?X-Own: no"), (" é\x00", "é?".encode())],
)
def test_a_request_id_may_be_anything(said: str, sent: bytes) -> None:
    seen = []

    def serve(connection: socket.socket) -> None:
        seen.append(request_of(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    own = headers(task(request_id=said, tags={"requestId": said}), {"X-Folder": "/data/模型/jobs"})
    with app(serve) as port:
        assert AppRequest(port, seconds=DEADLINE, largest=100).send("/", b"", own).good
    lines = seen[0].split(b"\r\n")
    assert b"X-EAS-QueueService-Request-Id: " + sent in lines
    assert "X-Folder: /data/模型/jobs".encode() in lines
    assert header_text("/data/模型/jobs".encode().decode("latin-1")) == "/data/模型/jobs"


def test_a_deadline_beyond_all_clocks_is_none() -> None:
    answer = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert ask(answer, seconds=1e18) == Reply(200, b"ok")


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints\r\nLink: </a>"])
def test_hints_that_an_answer_is_on_its_way_are_not_the_answer(status: str) -> None:
    answer = f"HTTP/1.1 {status}\r\n\r\n" * 2 + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert ask(answering(answer.encode())) == Reply(200, b"ok")


def test_an_app_that_listens_on_ipv6_alone_is_asked_there() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this host has no IPv6")
    with app(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), listener) as port:
        assert choose(port) != port, "it is taken"
        assert AppRequest(port, seconds=DEADLINE, largest=100).send("/", b"", {}) == Reply(200, b"ok")


def test_an_empty_answer_is_good() -> None:
    assert ask(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) == Reply(204)


def test_what_it_has_loaded_and_how_long_that_takes_is_read() -> None:
    def told(seconds: str) -> Reply:
        head = f'X-Lorapool-Loaded: ["m"]\r\nX-Lorapool-Load-Seconds: {seconds}'
        return ask(answering(f"HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: 1\r\n\r\nx".encode()))

    assert told("2.5") == Reply(200, b"x", loaded=("m",), load_seconds=2.5)
    assert [told(wrong).load_seconds for wrong in ("0", "-1", "nan", "inf", "1e9", "soon")] == [None] * 6


def test_chunks_make_one_answer() -> None:
    text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    assert ask(answering(text)).body == b"abc"


def test_another_status_is_a_failure_with_the_words_of_the_app() -> None:
    reply = ask(answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\nno memory"))
    assert (reply.status, reply.body, reply.good) == (500, b"no memory", False)
    assert reply.reason == "the app answered 500: no memory"


def test_an_answer_over_the_limit_is_not_read_to_its_end() -> None:
    reply = ask(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + 101 * b"x"))
    assert (reply.status, reply.body) == (413, b"")
    assert "queue.sink.max_payload_size_kb" in reply.reason


def test_a_closed_connection_is_told() -> None:
    reply = ask(answering(b""))
    assert (reply.status, reply.reason) == (502, "the app closed the connection before its answer")


def test_half_an_answer_is_none() -> None:
    reply = ask(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"))
    assert (reply.status, reply.good) == (502, False)
    assert "in the middle of" in reply.reason


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "is no HTTP/1"),
        (b"HTTP/2 200\r\n\r\n", "is no HTTP/1"),
        (b"HTTP/1.1 200 OK\r\n" + 101 * b"X: y\r\n", "cannot be read: got more than 100 headers"),
    ],
)
def test_something_else_than_http_is_told(answer: bytes, told: str) -> None:
    reply = ask(answering(answer))
    assert (reply.status, reply.reason) == (502, f"the app's answer {told}")


def test_a_refused_connection_is_told() -> None:
    reply = AppRequest(choose(0), seconds=DEADLINE, largest=1).send("/", b"", {})
    assert (reply.status, reply.refused) == (502, True)


def test_an_app_that_hangs_is_let_go_in_time() -> None:
    def serve(connection: socket.socket) -> None:
        request_of(connection)
        assert connection.recv(1) == b""  # the instance has gone

    reply = ask(serve, seconds=0.05)
    assert reply.status == 408
    assert "rpc.keepalive" in reply.reason


def test_an_app_that_trickles_is_let_go_in_time() -> None:
    def serve(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf")
        assert connection.recv(1) == b""

    assert ask(serve, seconds=0.05).status == 408


def test_a_request_that_is_cut_comes_back_and_the_app_sees_it() -> None:
    begun, gone = threading.Event(), threading.Event()

    def serve(connection: socket.socket) -> None:
        request_of(connection)
        begun.set()
        if connection.recv(1) == b"":
            gone.set()

    with app(serve) as port:
        request = AppRequest(port, seconds=DEADLINE, largest=100)
        replies: list[Reply] = []
        thread = threading.Thread(target=lambda: replies.append(request.send("/", b"", {})))
        thread.start()
        assert begun.wait(DEADLINE)
        request.cut()
        thread.join(DEADLINE)
        assert gone.wait(DEADLINE)
    assert not replies[0].good


def test_a_request_cut_before_it_was_sent_is_never_answered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        request = AppRequest(listener.getsockname()[1], seconds=DEADLINE, largest=100)
        request.cut()
        assert not request.send("/", b"", {}).good


def test_an_answer_to_half_a_request_counts() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    with app(serve) as port:
        reply = AppRequest(port, seconds=DEADLINE, largest=100).send("/", bytes(4 << 20), {})
    assert (reply.status, reply.body) == (413, b"big")
