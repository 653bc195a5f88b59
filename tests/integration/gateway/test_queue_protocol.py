"""The queue protocol over HTTP: streams, task queues, limits, tokens, answers."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.gateway_box import TOKEN, Box, eventually
from tests.support.pretend import PretendInstance

PROTOBUF = {"Accept": "application/vnd.google.protobuf"}


@pytest.fixture
def http(box: Box) -> Iterator[httpx.Client]:
    with box.http() as http:
        yield http


def path(name: str, *more: str) -> str:
    return "/".join(("/api/predict", name, *more))


def items(http: httpx.Client, url: str, **query: Any) -> list[tuple[int, bytes]]:
    answer = http.get(url, params={"_raw_": "false", "_length_": 100, **query})
    found = answer.json() if answer.status_code == 200 else []
    return [(item["index"], base64.b64decode(item["data"])) for item in found]


def attributes(http: httpx.Client, url: str) -> dict[str, str]:
    answer: dict[str, str] = http.get(url, params={"_attrs_": "true"}).json()
    return answer


def test_put_answers_the_bare_index_and_the_request_id(box: Box, http: httpx.Client, name: str) -> None:
    box.create(name)

    answer = http.post(path(name), params={"color": "red", "_priority_": "0"}, content=b"data")

    assert (answer.status_code, answer.text) == (200, "1")
    request_id = answer.headers["X-Eas-Queueservice-Request-Id"]
    (item,) = http.get(path(name), params={"requestId": request_id, "_raw_": "false"}).json()
    assert item == {"index": 1, "tags": {"color": "red", "requestId": request_id}, "data": "ZGF0YQ=="}


def test_raw_is_the_data_alone_and_the_default(box: Box, http: httpx.Client, name: str) -> None:
    box.create(name)
    http.post(path(name), content=b"\x00raw")

    answer = http.get(path(name))

    assert answer.content == b"\x00raw"
    assert answer.headers["X-Eas-Queueservice-Index"] == "1"


def test_nothing_that_matches_is_204(box: Box, http: httpx.Client, name: str) -> None:
    box.create(name)

    answer = http.get(path(name, "sink"), params={"requestId": "none", "_timeout_": "0s"}, headers=PROTOBUF)

    assert (answer.status_code, answer.content) == (204, b"")


def test_high_priority_is_read_first_and_counted_apart(box: Box, http: httpx.Client, name: str) -> None:
    box.create(name)
    http.post(path(name), content=b"normal")
    http.post(path(name), content=b"high", headers={"X-EAS-QueueService-Priority": "1"})

    assert items(http, path(name)) == [(2, b"high"), (1, b"normal")]
    counts = [
        http.get(path(name), params={"_count_": "true", **more}).text for more in ({}, {"_priority_": "1"})
    ]
    assert counts == ["2", "1"]


def test_reading_without_auto_delete_leaves_it_there(box: Box, http: httpx.Client, name: str) -> None:
    box.create(name)
    http.post(path(name), content=b"x")

    assert items(http, path(name)) == items(http, path(name)) == [(1, b"x")]
    assert items(http, path(name), _auto_delete_="true") == [(1, b"x")]
    assert items(http, path(name)) == []


def test_the_newest_is_index_minus_one(box: Box, http: httpx.Client, name: str) -> None:
    box.create(name)
    for n in range(3):
        http.post(path(name), params={"n": str(n % 2)}, content=b"%d" % n)

    assert items(http, path(name), _index_=-1) == [(3, b"2")]
    assert items(http, path(name), _index_=-1, n="1") == [(2, b"1")]


def test_a_long_poll_answers_when_enough_came(box: Box, http: httpx.Client, name: str) -> None:
    box.create(name)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(items, http, path(name), _length_=2, _timeout_="15s")
        http.post(path(name), content=b"1")
        assert not waiting.done()
        http.post(path(name), content=b"2")

        assert waiting.result(10) == [(1, b"1"), (2, b"2")]


def test_a_long_poll_ends_a_little_early_with_what_there_is(box: Box, http: httpx.Client, name: str) -> None:
    box.create(name)
    http.post(path(name), content=b"1")

    began = time.monotonic()
    found = items(http, path(name), _length_=2, _timeout_="1s")

    assert found == [(1, b"1")]
    assert time.monotonic() - began > 0.9


def test_nothing_is_taken_for_a_reader_that_has_gone(box: Box, http: httpx.Client, name: str) -> None:
    # Given a reader that gave up waiting
    box.create(name)
    with pytest.raises(httpx.ReadTimeout):
        http.get(path(name), params={"_timeout_": "20s", "_auto_delete_": "true"}, timeout=0.3)

    # When an item comes
    http.post(path(name), content=b"kept")

    # Then the next one gets it
    assert items(http, path(name), _auto_delete_="true") == [(1, b"kept")]


def test_a_request_id_is_stored_once_even_after_it_was_consumed(
    box: Box, http: httpx.Client, name: str
) -> None:
    box.create(name)

    first = http.post(path(name), params={"requestId": "r"}, content=b"x")
    http.put(path(name), params={"_indexes_": "1"})
    again = http.post(path(name), params={"requestId": "r"}, content=b"x")

    assert first.text == again.text == "1"
    assert again.headers["X-Eas-Queueservice-Request-Id"] == "r"
    assert attributes(http, path(name))["stream.length"] == "0"


@pytest.mark.parametrize(("given", "shown"), [(" a b ", "a b"), ("中\n", "??"), (" ", "")])
def test_a_request_id_that_no_header_can_carry_is_kept_in_the_tag(
    box: Box, http: httpx.Client, name: str, given: str, shown: str
) -> None:
    box.create(name)

    put = http.post(path(name), params={"requestId": given}, content=b"x")

    assert (put.text, put.headers["X-Eas-Queueservice-Request-Id"]) == ("1", shown)
    raw = http.get(path(name), params={"requestId": given})
    assert (raw.content, raw.headers["X-Eas-Queueservice-Request-Id"]) == (b"x", shown)


def test_a_request_may_have_several_different_results(box: Box, http: httpx.Client, name: str) -> None:
    box.create(name)
    for data in (b"first", b"second", b"second"):
        http.post(path(name, "sink"), params={"requestId": "r"}, content=data)

    assert items(http, path(name, "sink"), requestId="r") == [(1, b"first"), (2, b"second")]


def test_attributes_are_text_in_json_and_in_protobuf(box: Box, http: httpx.Client, name: str) -> None:
    box.create(name, queue={"source": {"capacity": 7, "max_payload_size_kb": 3}})

    found = attributes(http, path(name))

    assert found["meta.name"] == name and found["meta.maxPayloadBytes"] == "3072"
    assert found["stream.approxMaxLength"] == "7"
    assert (found["meta.state"], found["stream.length"], found["consumers.stats.total"]) == (
        "Normal",
        "0",
        "0",
    )
    answer = http.get(path(name), params={"_attrs_": "true"}, headers=PROTOBUF)
    assert answer.headers["content-type"] == "application/vnd.google.protobuf"
    assert b"X-EAS-QueueService-Redis-Uid" in answer.content


MANDATORY = {
    *("meta.backend", "meta.name", "meta.state", "meta.maxPayloadBytes"),
    *("meta.header.user", "meta.header.group", "meta.header.priority"),
    *("stream.length", "stream.approxMaxLength", "stream.firstEntry", "stream.lastEntry"),
    *("consumers.stats.total", "consumers.status.total"),
}
"""Attributes that the Go client calls mandatory, and both spellings of the number of consumers."""


def test_every_attribute_as_the_documents_show_it(box: Box, http: httpx.Client, name: str) -> None:
    # Given an item that a consumer with a tag filter holds, and one that waits, also for a group without consumers
    box.create(name)
    for _ in range(2):
        http.post(path(name), params={"foo": "bar"}, content=b"x")
    http.put(path(name), params={"_indexes_": "99"}, headers={"X-EAS-QueueService-Redis-Gid": "idle"})
    headers = {"Authorization": TOKEN, "X-EAS-QueueService-Redis-Uid": "u1"}
    url = f"{box.url}{path(name)}?_watch_=true&_window_=1&foo=bar"
    with httpx.stream("GET", url, headers=headers) as watcher:
        chunks = watcher.iter_bytes()
        next(chunks)

        found = attributes(http, path(name))

    assert set(found) > MANDATORY and all(isinstance(value, str) for value in found.values())
    numbers = [found[f"stream.{key}"] for key in ("length", "firstEntry", "lastEntry")]
    assert (numbers, found["consumers.stats.total"]) == (["2", "1", "2"], "1")
    idle = found["consumers.list.[0]"].partition("Idle: ")[2].partition("s,")[0]
    assert found["consumers.list.[0]"] == (
        f"Id: eas.u1, Index: 1, Pending: 1, Status: Running, Idle: {idle}s, Window: 1, Slots: 0, "
        "AutoCommit: false, Tags: tags[foo=bar]"
    )
    assert found["groups.list.[0]"] == "Id: eas, Waiting: 1, Pending: 1"
    for queue in (path(name, "sink"), path(name, "dead")):
        assert set(attributes(http, queue)) >= MANDATORY


def test_limits_refuse_and_eviction_makes_room(box: Box, http: httpx.Client, name: str) -> None:
    box.create(
        name,
        queue={
            "source": {"capacity": 2, "max_payload_size_kb": 1},
            "sink": {"capacity": 2, "auto_evict": True},
        },
    )

    assert http.post(path(name), content=b"x" * 1025).status_code == 413
    codes = [http.post(path(name), content=b"x").status_code for _ in range(3)]
    assert codes == [200, 200, 450]
    for n in range(3):
        assert http.post(path(name, "sink"), content=b"%d" % n).status_code == 200
    assert items(http, path(name, "sink")) == [(2, b"1"), (3, b"2")]


def test_the_rate_limit_is_429_without_retry_after(box: Box, http: httpx.Client, name: str) -> None:
    box.create(name, **{"rpc.rate_limit": 2})

    answers = [http.post(path(name), content=b"x") for _ in range(8)]

    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused and all("retry-after" not in answer.headers for answer in answers)
    assert refused[0].json()["error"] == "RateLimited"


def test_a_wait_longer_than_keepalive_is_408(box: Box, http: httpx.Client, name: str) -> None:
    box.create(name, **{"rpc.keepalive": 300})

    assert http.get(path(name), params={"_timeout_": "5s"}).status_code == 408
    assert http.get(path(name), params={"_timeout_": "100ms"}).status_code == 204


def test_a_body_that_does_not_come_is_408_and_stores_nothing(box: Box, http: httpx.Client, name: str) -> None:
    box.create(name, **{"rpc.keepalive": 300})
    head = f"POST {path(name)} HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\nContent-Length: 9\r\n\r\n"
    with socket.create_connection(("127.0.0.1", box.port), timeout=10.0) as connection:
        connection.sendall(head.encode() + b"half")

        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 408") and b"retry-after" not in answer.lower()
    assert attributes(http, path(name))["stream.length"] == "0"


def test_an_ended_queue_takes_nothing_until_it_is_opened_again(
    box: Box, http: httpx.Client, name: str
) -> None:
    box.create(name)
    http.post(path(name), content=b"kept")

    http.post(path(name), params={"_eos_": "true"})

    assert http.post(path(name), content=b"late").status_code == 409
    assert attributes(http, path(name))["meta.state"] == "Ended"
    assert items(http, path(name)) == [(1, b"kept")]
    http.post(path(name), params={"_eos_": "true", "_force_": "true"})
    assert items(http, path(name)) == []
    http.post(path(name), params={"_eos_": "false"})
    assert http.post(path(name), content=b"again").text == "2"


def test_dead_letters_lie_in_a_queue_of_their_own(box: Box, http: httpx.Client, name: str) -> None:
    box.create(name, queue={"max_delivery": 1})
    http.post(path(name), params={"requestId": "r"}, content=b"poison")
    url = f"{box.url}{path(name)}?_watch_=true&_window_=1"
    with httpx.stream("GET", url, headers={"Authorization": TOKEN}) as watcher:
        frames = watcher.iter_bytes()  # kept: a connection whose reader is dropped is closed
        next(frames)
        answer = http.put(
            path(name),
            params={"_indexes_": "1", "_negative_": "true"},
            data={"_code_": "500", "_reason_": "it broke"},
        )
        assert answer.text == "OK"

        (letter,) = http.get(path(name, "dead"), params={"_raw_": "false"}).json()

    assert base64.b64decode(letter["data"]) == b"poison"
    assert letter["tags"]["requestId"] == "r"
    assert (letter["tags"]["dead.code"], letter["tags"]["dead.reason"]) == ("500", "it broke")
    assert attributes(http, path(name))["stream.length"] == "0"
    assert http.post(path(name, "dead"), content=b"x").status_code == 409
    assert http.delete(path(name, "dead"), params={"_indexes_": str(letter["index"])}).text == "OK"


@pytest.mark.parametrize(
    ("method", "query", "status", "says"),
    [
        ("GET", "_index_=x", 400, "_index_"),
        ("GET", "_length_=0", 400, "_length_"),
        ("GET", "_timeout_=soon", 400, "_timeout_"),
        ("GET", "_search_=true", 400, "_index_"),
        ("GET", "_raw_=maybe", 400, "_raw_"),
        ("PUT", "", 400, "_indexes_"),
        ("PUT", "_indexes_=1,x", 400, "_indexes_"),
        ("DELETE", "_indexes_=0", 400, "_indexes_"),
        ("DELETE", "_trunc_=true", 400, "_index_"),
        ("PATCH", "", 405, "PATCH"),
    ],
)
def test_what_is_wrong_is_said(
    box: Box, http: httpx.Client, name: str, method: str, query: str, status: int, says: str
) -> None:
    box.create(name)

    answer = http.request(method, f"{path(name)}?{query}")

    assert answer.status_code == status
    assert says in answer.json()["message"]


def test_tokens(box: Box, name: str) -> None:
    token, other = box.create(name), box.create(f"{name}-other")

    def status(given: str | None, service: str = name) -> int:
        headers = {} if given is None else {"Authorization": given}
        answer = httpx.get(f"{box.url}{path(service)}?_attrs_=true", headers=headers)
        assert answer.status_code == 200 or answer.json()["message"]
        return answer.status_code

    assert [status(token), status(TOKEN), status(f"Bearer {token}")] == [200, 200, 200]
    assert [status(None), status(""), status("wrong")] == [401, 401, 401]
    assert status(other) == 403
    assert status(TOKEN, "missing") == 404
    assert status("wrong", "missing") == 401


def test_a_queue_service_has_no_paths_for_an_app_and_async_keeps_them(
    box: Box, http: httpx.Client, name: str
) -> None:
    box.create(name)
    box.create(f"{name}-async", "Async")

    assert http.post(path(name, "infer"), content=b"x").status_code == 404
    assert http.post(path(f"{name}-async", "v1", "infer"), content=b"x").text == "1"
    (item,) = http.get(path(f"{name}-async"), params={"_raw_": "false"}).json()
    assert item["tags"]["request.path"] == "/v1/infer"


class TestTaskQueue:
    """The input queue of a scalable job."""

    def test_task_type_is_required_and_known(self, box: Box, http: httpx.Client, name: str) -> None:
        box.create(name, "ScalableJob")
        box.create(f"{name}-async", "Async")

        missing = http.post(path(name), content=b"x")
        unknown = http.post(path(name), params={"taskType": "train"}, content=b"x")

        assert (missing.status_code, unknown.status_code) == (400, 400)
        assert missing.json()["field"] == "taskType" and "'train'" in unknown.json()["message"]
        assert http.post(path(f"{name}-async"), content=b"x").status_code == 200
        refused = http.post(path(f"{name}-async"), params={"taskType": "train"}, content=b"x")
        assert refused.status_code == 400
        assert attributes(http, path(name))["stream.length"] == "0"

    def test_put_look_search_and_cancel(self, box: Box, http: httpx.Client, name: str) -> None:
        box.create(name, "ScalableJob")
        for n in range(3):
            answer = http.post(
                path(name),
                params={"taskType": "command", "jobId": f"j{n}", "requestId": f"{name}-r{n}"},
                content=b"true",
            )
            assert answer.text == str(n + 1)
        again = http.post(
            path(name), params={"taskType": "command", "requestId": f"{name}-r0"}, content=b"true"
        )
        assert again.text == "1"

        assert [index for index, _ in items(http, path(name), jobId="j1")] == [2]
        search = http.get(path(name), params={"_search_": "true", "_index_": 3}).json()
        assert search == {"ConsumerId": "", "IsPending": False, "WaitCount": 2}
        assert http.delete(path(name), params={"_indexes_": "2"}).text == "OK"
        assert [index for index, _ in items(http, path(name))] == [1, 3]
        assert http.get(path(name), params={"_count_": "true"}).text == "2"
        with box.client() as client:
            (cancelled,) = client.tasks(name, state="cancelled")
        assert (cancelled.index, cancelled.tags["jobId"]) == (2, "j1")
        assert http.get(path(name), params={"_search_": "true", "_index_": 2}).json() == {}

    def test_a_running_task_is_pending_and_delete_stops_it(
        self, box: Box, http: httpx.Client, name: str
    ) -> None:
        # Given a task that an instance runs
        box.create(name, "ScalableJob")
        http.post(path(name), params={"taskType": "command"}, content=b"sleep 60")
        store = box.store()
        instance = PretendInstance(store, name)
        with box.client() as client:
            (task,) = client.tasks(name)
            instance.take(task.id)

            # Then it is pending, with that instance, and counts as one that is not done
            search = http.get(path(name), params={"_search_": "true", "_index_": 1}).json()
            assert search == {"ConsumerId": f"{name}.{instance.name}", "IsPending": True, "WaitCount": 0}
            found = attributes(http, path(name))
            assert found["stream.length"] == "1"
            assert (
                f"Id: {name}.{instance.name}, Index: 0, Pending: 1, Status: Running"
                in found["consumers.list.[0]"]
            )
            assert (
                set(found) >= MANDATORY and found["groups.list.[0]"] == f"Id: {name}, Waiting: 0, Pending: 1"
            )
            assert items(http, path(name)) == []

            # And a delete asks the instance to stop it
            http.delete(path(name), params={"_indexes_": "1"})
            assert client.task(task.id).view().cancel == "stop"
        store.close()

    def test_truncate_cancels_and_reading_with_auto_delete_takes(
        self, box: Box, http: httpx.Client, name: str
    ) -> None:
        box.create(name, "ScalableJob")
        for n in range(4):
            http.post(
                path(name),
                params={"taskType": "query", "_priority_": "1" if n == 3 else "0"},
                content=b"%d" % n,
            )

        assert http.delete(path(name), params={"_trunc_": "true", "_index_": 3}).text == "OK"
        assert items(http, path(name), _length_=1, _auto_delete_="true") == [(3, b"2")]
        assert items(http, path(name)) == [(4, b"3")]
        assert http.get(path(name), params={"_count_": "true", "_priority_": "1"}).text == "1"
        assert attributes(http, path(name))["stream.lastEntry"] == "4"

    def test_a_long_poll_sees_a_task_come(self, box: Box, http: httpx.Client, name: str) -> None:
        box.create(name, "ScalableJob")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiting = pool.submit(items, http, path(name), _length_=1, _timeout_="15s")
            http.post(path(name), params={"taskType": "query"}, content=b"x")

            assert waiting.result(10) == [(1, b"x")]

    def test_the_path_goes_to_the_app_and_sink_is_reserved(
        self, box: Box, http: httpx.Client, name: str
    ) -> None:
        box.create(name, "ScalableJob")

        http.post(
            path(name, "v1", "infer"),
            params={"taskType": "query"},
            content=b"x",
            headers={"Content-Type": "a/b"},
        )
        http.post(path(name, "sink"), content=b"result")

        with box.client() as client:
            (task,) = client.tasks(name)
        assert items(http, path(name, "sink")) == [(1, b"result")]
        assert task.details == {"content_type": "a/b"}
        store = box.store()
        assert store.redis.hget(f"lorapool:task:{task.id}", "path") == b"/v1/infer"
        store.close()

    def test_capacity_and_the_end_of_the_queue(self, box: Box, http: httpx.Client, name: str) -> None:
        box.create(name, "ScalableJob", **{"rpc.max_queue_size": 2})

        codes = [
            http.post(path(name), params={"taskType": "query"}, content=b"x").status_code for _ in range(3)
        ]
        assert codes == [200, 200, 450]
        http.post(path(name), params={"_eos_": "true", "_force_": "true"})
        assert attributes(http, path(name))["stream.length"] == "0"
        assert http.post(path(name), params={"taskType": "query"}, content=b"x").status_code == 409

    def test_outsiders_can_neither_watch_nor_commit_its_tasks(
        self, box: Box, http: httpx.Client, name: str
    ) -> None:
        box.create(name, "ScalableJob")
        http.post(path(name), params={"taskType": "query"}, content=b"x")

        assert http.get(path(name), params={"_watch_": "true"}).status_code == 409
        assert http.put(path(name), params={"_indexes_": "1"}).status_code == 409
        assert items(http, path(name)) == [(1, b"x")]


def test_the_openapi_document_has_the_queue_and_the_control_api(http: httpx.Client) -> None:
    schema = http.get("/openapi.json").json()

    assert set(schema["paths"]["/api/predict/{service}"]) == {"get", "post", "put", "delete"}
    answer = schema["paths"]["/api/v1/tasks/{task_id}"]["get"]["responses"]["200"]
    assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/TaskView")
    text = json.dumps(schema)
    for reference in {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert reference in schema["components"]["schemas"]


def test_a_followed_queue_is_quick_to_forget(box: Box, http: httpx.Client, name: str) -> None:
    """Deleting a service drops its queues: one of the same name starts anew."""
    box.create(name)
    http.post(path(name), content=b"x")
    with box.client() as client:
        client.service(name).delete()
    assert eventually(lambda: http.get(path(name)).status_code == 404)

    box.create(name)

    assert http.post(path(name), content=b"y").text == "1"
