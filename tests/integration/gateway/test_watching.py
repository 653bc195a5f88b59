"""Watching over a plain websocket and over plain HTTP: groups, takeover, silence, the end of a queue."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.gateway_box import TOKEN, Box, eventually

QUIET = 0.5  # seconds in which nothing must come; only ever makes a test weaker, never flaky


@contextlib.contextmanager
def watch(
    box: Box, queue: str, uid: str, gid: str = "eas", *, token: str = TOKEN, **query: Any
) -> Iterator[ClientConnection]:
    options = {"_watch_": "true", "_window_": 5, **query}
    url = f"{box.url.replace('http', 'ws')}/api/predict/{queue}?{httpx.QueryParams(options)}"
    headers = {
        "Authorization": token,
        "X-EAS-QueueService-Redis-Uid": uid,
        "X-EAS-QueueService-Redis-Gid": gid,
    }
    with connect(url, additional_headers=headers, open_timeout=20, close_timeout=5) as socket:
        yield socket


def index(socket: ClientConnection, timeout: float = 20.0) -> int:
    return int(json.loads(socket.recv(timeout))["index"])


def nothing(socket: ClientConnection) -> bool:
    try:
        socket.recv(QUIET)
    except TimeoutError:
        return True
    return False


def put(box: Box, queue: str, count: int = 1, **tags: str) -> None:
    with box.http() as http:
        for n in range(count):
            assert http.post(f"/api/predict/{queue}", params=tags, content=b"%d" % n).status_code == 200


def commit(box: Box, queue: str, *indexes: int, gid: str = "eas", uid: str = "other") -> None:
    headers = {"X-EAS-QueueService-Redis-Gid": gid, "X-EAS-QueueService-Redis-Uid": uid}
    with box.http(**headers) as http:
        text = ",".join(map(str, indexes))
        assert http.put(f"/api/predict/{queue}", params={"_indexes_": text}).text == "OK"


def attributes(box: Box, queue: str) -> dict[str, str]:
    with box.http() as http:
        answer: dict[str, str] = http.get(f"/api/predict/{queue}?_attrs_=true").json()
        return answer


def test_a_websocket_without_accept_gets_json_text(box: Box, name: str) -> None:
    box.create(name)
    put(box, name, color="red")
    with watch(box, name, "u") as socket:
        message = socket.recv(20)

    assert isinstance(message, str)
    frame = json.loads(message)
    assert (frame["index"], frame["data"], frame["tags"]["color"]) == (1, "MA==", "red")


def test_a_request_that_is_too_long_is_answered(box: Box, name: str) -> None:
    box.create(name)
    with pytest.raises(InvalidStatus) as refusal, watch(box, name, "u", color="x" * 9000):
        pass
    assert refusal.value.response.status_code == 414


def test_plain_http_streams_frames_behind_their_length(box: Box, name: str) -> None:
    box.create(name)
    put(box, name, 2)
    url = f"{box.url}/api/predict/{name}?_watch_=true&_window_=5&_auto_commit_=true"
    headers = {"Authorization": TOKEN, "Accept": "application/vnd.google.protobuf"}
    with httpx.stream("GET", url, headers=headers, timeout=20) as answer:
        assert answer.headers["content-type"] == "application/vnd.google.protobuf"
        received, frames = b"", []
        chunks = answer.iter_bytes()
        while len(frames) < 3:
            received += next(chunks)
            while len(received) >= 4 and len(received) >= 4 + (size := int.from_bytes(received[:4], "big")):
                frames.append(received[4 : 4 + size])
                received = received[4 + size :]
            if len(frames) == 2:
                put(box, name)

    assert [frame[:2] for frame in frames] == [b"\x08\x01", b"\x08\x02", b"\x08\x03"]
    eventually(lambda: attributes(box, name)["stream.length"] == "0")


def test_every_group_gets_every_item_and_it_stays_until_all_have_committed(box: Box, name: str) -> None:
    box.create(name)
    with watch(box, name, "u", "one") as one, watch(box, name, "u", "two") as two:
        put(box, name, 2)
        assert [index(one), index(one), index(two), index(two)] == [1, 2, 1, 2]
        commit(box, name, 1, 2, gid="one")
        assert attributes(box, name)["stream.length"] == "2"
        commit(box, name, 1, gid="two")
        assert attributes(box, name)["stream.length"] == "1"


def test_consumers_of_a_group_share_and_a_full_window_waits_for_a_commit(box: Box, name: str) -> None:
    box.create(name)
    with watch(box, name, "a", _window_=1) as a, watch(box, name, "b", _window_=1) as b:
        put(box, name, 3)
        first = {"a": index(a), "b": index(b)}
        assert sorted(first.values()) == [1, 2]
        assert nothing(a) and nothing(b)
        commit(box, name, first["b"])
        assert index(b) == 3


def test_a_negative_commit_gives_it_out_again(box: Box, name: str) -> None:
    box.create(name, queue={"max_delivery": 2})
    put(box, name)
    with watch(box, name, "u") as socket, box.http() as http:
        query = {"_indexes_": "1", "_negative_": "true"}
        # A consumer that shuts down has not failed, however often.
        for _ in range(3):
            assert index(socket) == 1
            http.put(f"/api/predict/{name}", params=query, data={"_code_": "Shutdown", "_reason_": ""})
        assert index(socket) == 1
        http.put(f"/api/predict/{name}", params=query, data={"_code_": "500", "_reason_": ""})
        assert index(socket) == 1
        http.put(f"/api/predict/{name}", params=query, data={"_code_": "500", "_reason_": ""})
        assert nothing(socket)
        assert http.get(f"/api/predict/{name}/dead?_count_=true").text == "1"


def test_only_new_is_new_since_the_first_connection(box: Box, name: str) -> None:
    box.create(name)
    put(box, name, 2)
    with watch(box, name, "u", _index_=-1) as socket:
        put(box, name)
        assert index(socket) == 3
        commit(box, name, 3)
    put(box, name)  # while it is away
    with watch(box, name, "u", _index_=-1) as socket:
        assert index(socket) == 4


def test_watching_from_an_index(box: Box, name: str) -> None:
    box.create(name)
    put(box, name, 3)
    with watch(box, name, "u", _index_=3) as socket:
        assert index(socket) == 3


def test_watchers_with_different_tags_in_one_group_lose_nothing(box: Box, name: str) -> None:
    box.create(name)
    with watch(box, name, "r", color="red") as red, watch(box, name, "b", color="blue") as blue:
        put(box, name, color="blue")
        put(box, name, color="red")
        put(box, name, color="green")
        assert (index(red), index(blue)) == (2, 1)
        assert nothing(red) and nothing(blue)
    with watch(box, name, "all") as everything:
        assert [index(everything) for _ in range(3)] == [1, 2, 3]


def test_the_same_uid_takes_over_and_gives_back_when_it_leaves(box: Box, name: str) -> None:
    # Given a connected consumer that holds an item
    box.create(name)
    put(box, name)
    with watch(box, name, "u") as old:
        assert index(old) == 1

        # When the same uid connects again
        with watch(box, name, "u") as new:
            # Then what was not committed and what comes goes to the new connection; the old one stays open, silent
            assert index(new) == 1
            put(box, name)
            assert index(new) == 2
            assert nothing(old)
            commit(box, name, 1, 2)

        # And when the new one is gone, the old one has its place back
        put(box, name)
        assert index(old) == 3
        commit(box, name, 3)


def test_the_end_of_a_queue_closes_its_watchers_after_the_last_item(box: Box, name: str) -> None:
    box.create(name)
    put(box, name)
    with watch(box, name, "u") as socket, box.http() as http:
        assert index(socket) == 1
        http.post(f"/api/predict/{name}?_eos_=true")
        assert nothing(socket)
        commit(box, name, 1)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(20)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1000
    with pytest.raises(InvalidStatus) as refused, watch(box, name, "u"):
        pass
    assert refused.value.response.status_code == 410


@pytest.mark.parametrize(
    ("query", "token", "status"),
    [({"_window_": "x"}, TOKEN, 400), ({"_index_": "-2"}, TOKEN, 400), ({}, "wrong", 401), ({}, "", 401)],
)
def test_a_watcher_is_refused_before_it_is_accepted(
    box: Box, name: str, query: dict[str, str], token: str, status: int
) -> None:
    box.create(name)

    with pytest.raises(InvalidStatus) as refused, watch(box, name, "u", token=token, **query):
        pass

    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"")["message"]


def test_items_of_300_kilobytes_pass(box: Box, name: str) -> None:
    box.create(name)
    data = os.urandom(300_000)
    with box.http() as http:
        http.post(f"/api/predict/{name}", content=data)
    headers = {"Authorization": TOKEN, "Accept": "application/vnd.google.protobuf"}
    url = f"{box.url.replace('http', 'ws')}/api/predict/{name}?_watch_=true"
    with connect(url, additional_headers=headers, max_size=None) as socket:
        frame = socket.recv(20)
    assert isinstance(frame, bytes) and frame.endswith(data)


_SILENT = """
import sys
from websockets.sync.client import connect
headers = {"Authorization": sys.argv[2], "X-EAS-QueueService-Redis-Uid": "silent"}
with connect(sys.argv[1], additional_headers=headers) as s:
    print(s.recv(), flush=True)
    s.recv()
"""


def test_what_a_silent_watcher_held_goes_to_another(tmp_path: Path) -> None:
    box = Box(tmp_path, silence=12.0)  # more than two of the pings that a quiet client answers
    try:
        # Given a watcher that holds an item and then stands still, its connection open
        box.start()
        box.create("svc")
        put(box, "svc")
        url = f"{box.url.replace('http', 'ws')}/api/predict/svc?_watch_=true&_window_=1"
        stuck = subprocess.Popen([sys.executable, "-c", _SILENT, url, TOKEN], stdout=subprocess.PIPE)
        assert stuck.stdout is not None and json.loads(stuck.stdout.readline())["index"] == 1
        stuck.send_signal(signal.SIGSTOP)

        # Then another one gets it
        with watch(box, "svc", "other") as socket:
            assert index(socket) == 1
    finally:
        stuck.kill()
        stuck.communicate()
        box.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the timers of a socket")
def test_the_kernel_asks_whether_a_silent_watcher_is_there(box: Box, name: str) -> None:
    """A network that is lost says nothing, and neither does a client that follows over plain HTTP."""
    box.create(name)
    url = f"{box.url}/api/predict/{name}?_watch_=true"
    with httpx.stream("GET", url, headers={"Authorization": TOKEN}) as answer:
        client = answer.extensions["network_stream"].get_extra_info("client_addr")

        def probed() -> bool:
            # Columns: number, local address, remote address, state, queues, timer (2: keepalive) and its end.
            rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            ours, theirs = f":{box.port:04X}", f":{client[1]:04X}"
            return any(
                row[1].endswith(ours) and row[2].endswith(theirs) and row[5][:2] == "02" for row in rows
            )

        eventually(probed)


def test_max_idle_takes_an_item_from_one_that_never_commits(box: Box, name: str) -> None:
    box.create(name, queue={"max_idle": 1})
    put(box, name)
    with watch(box, name, "slow", _window_=1) as slow:
        assert index(slow) == 1
        with watch(box, name, "other") as other:
            assert index(other) == 1
            commit(box, name, 1)
    assert attributes(box, name)["stream.length"] == "0"


def test_a_gateway_stops_at_once_with_watchers_and_streams_open(own_box: Box) -> None:
    own_box.create("svc")
    headers = {"Authorization": TOKEN}
    url = f"{own_box.url}/api/v1/events"
    with watch(own_box, "svc", "u"), httpx.stream("GET", url, headers=headers) as events:
        next(events.iter_lines())

        seconds = own_box.stop_gateway()

    assert own_box.gateway is not None and own_box.gateway.returncode in (0, -signal.SIGTERM)
    assert seconds < 5.0


def test_a_killed_gateway_gives_back_what_its_watchers_held(own_box: Box) -> None:
    # Given a watcher that holds an item, and a gateway that is killed with it
    own_box.create("svc", queue={"max_delivery": 1})
    put(own_box, "svc")
    with watch(own_box, "svc", "first") as first:
        assert index(first) == 1
        own_box.stop_gateway(signal.SIGKILL)

    # When another gateway runs, and the lease of the first is over
    own_box.start_gateway()

    # Then somebody else gets it, although one delivery was the limit: a gateway's end is not the item's failure
    with watch(own_box, "svc", "second") as second:
        assert index(second, 40) == 1


def test_one_that_leaves_in_its_handshake_is_no_fault(box: Box, name: str) -> None:
    box.create(name, "Queue")
    request = (
        f"GET /api/predict/{name}?_watch_=true HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", box.port)) as client:
            client.sendall(request.encode())
    with watch(box, name, "stays") as stays:
        put(box, name)
        assert index(stays)
    assert f"GET /api/predict/{name} failed" not in box.log.read_text()
