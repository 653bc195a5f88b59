"""Queries put to an app on warm instances: a whole deployment, with an app that does what an app may do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.service import parse
from backend.worker import own_network
from tests.integration.queries.conftest import APP, Pictures
from tests.support.box import Box, until

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "queries"


@pytest.fixture(scope="module")
def bad(box: Box, http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pictures]:
    """Two instances with two slots; three deliveries, of at most two seconds."""
    book = tmp_path_factory.mktemp("bad") / "book"
    service = Pictures(box, http, "bad", book).deploy(
        instances=2,
        slots=2,
        rpc={"keepalive": 2000},
        queue={"max_delivery": 3, "sink": {"max_payload_size_kb": 1024}},
    )
    service.ready(2)
    yield service
    http.delete("/api/v1/services/bad")


@pytest.fixture
def alone(box: Box, http: httpx.Client, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pictures]:
    """A service of the test's own, not deployed yet."""
    name = request.node.name.replace("_", "-").removeprefix("test-")[:40]
    yield Pictures(box, http, name, tmp_path / "book")
    http.delete(f"/api/v1/services/{name}")


def test_the_example_of_the_documentation(box: Box, http: httpx.Client, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "app.py", box.data_dir)
    description = parse((EXAMPLE / "service.json").read_bytes()).description
    assert http.post("/api/v1/services", json=description.raw).status_code == 200
    pictures = Pictures(box, http, description.name, tmp_path / "book")
    try:
        index, request = pictures.put("", b'{"prompt": "a red circle", "steps": 3}')
        found = pictures.item(request)
        assert found is not None
        assert json.loads(found[0]) == {"picture": "a picture of a red circle"}
        assert pictures.task(index)["progress"] == {**pictures.task(index)["progress"], "step": 3, "total": 3}
        data, tags = pictures.answer("", b"{}")
        assert (data, tags["lastCode"]) == (b"'prompt' is missing", "400")
    finally:
        http.delete(f"/api/v1/services/{description.name}")


def test_a_query_reaches_the_app_as_it_came_and_its_answer_the_sink(bad: Pictures) -> None:
    index, request = bad.put("echo", b"a red circle", jobId="a b&c")
    found = bad.item(request)
    assert found is not None
    data, tags = found
    assert tags == {"taskType": "query", "jobId": "a b&c", "requestId": request}
    assert json.loads(data) == {"data": "a red circle", "tags": tags}
    assert [entry["path"] for entry in bad.asked(request)] == ["/echo"]
    assert bad.state(index) == "succeeded"


def test_paths_tags_and_request_ids_may_be_anything(bad: Pictures) -> None:
    said = {"requestId": "请求 7\n+é", "jobId": "a&b=c;%2F中"}
    bad.put("echo/a%2Fb/%E4%B8%AD%25//c/", b"", **said)
    found = bad.item(said["requestId"])
    assert found is not None
    assert found[1] == {"taskType": "query", **said} == json.loads(found[0])["tags"]
    assert [entry["path"] for entry in bad.asked("请求 7?+é")] == ["/echo/a%2Fb/%E4%B8%AD%25//c/"]


def test_an_empty_answer_leaves_no_item(bad: Pictures) -> None:
    index, request = bad.put("empty")
    until(lambda: bad.state(index) == "succeeded", "the query has succeeded")
    assert bad.item(request, seconds=0.0) is None


TOO_LARGE = (
    "the app's answer is larger than the 1048576 bytes that the output queue takes; "
    "return the path of a file instead, or raise queue.sink.max_payload_size_kb"
)
CLOSED = "the app closed the connection before its answer"


@pytest.mark.parametrize(
    ("path", "code", "answer", "reason"),
    [
        ("status/500", "500", "no memory", "the app answered 500: no memory"),
        ("status/301", "301", "no memory", "the app answered 301: no memory"),
        ("garbage", "502", "the app's answer is no HTTP/1", "the app's answer is no HTTP/1"),
        ("close", "502", CLOSED, CLOSED),
        ("large", "413", TOO_LARGE, TOO_LARGE),
    ],
)
def test_an_app_that_fails_is_asked_again_elsewhere_and_then_tells_the_caller(
    bad: Pictures, path: str, code: str, answer: str, reason: str
) -> None:
    index, request = bad.put(path, jobId="7")
    assert bad.item(request) == (
        answer.encode(),
        {"taskType": "query", "jobId": "7", "requestId": request, "lastCode": code},
    )
    asked = bad.asked(request)
    assert [entry["delivery"] for entry in asked] == [1, 2, 3]
    assert asked[0]["pid"] != asked[1]["pid"]
    task = bad.task(index)
    assert (task["state"], task["reason"]) == ("failed", f"{reason} (in the last of 3 attempts)")
    assert json.loads(bad.answer("echo", b"well")[0])["data"] == "well"


def test_an_app_that_fails_once_is_forgiven(bad: Pictures) -> None:
    data, tags = bad.answer("flaky")
    assert data == b"2"
    assert "lastCode" not in tags


def test_an_app_that_hangs_is_let_go_after_keepalive(bad: Pictures) -> None:
    bad.deploy(instances=2, slots=2, rpc={"keepalive": 300}, queue={"max_delivery": 1})
    before = len([entry for entry in bad.book() if entry["path"] == "let go"])
    data, tags = bad.answer("hang")
    assert (data, tags["lastCode"]) == (b"the app did not answer within 0.3 s (rpc.keepalive)", "408")
    until(
        lambda: len([e for e in bad.book() if e["path"] == "let go"]) > before,
        "the app saw the connection end",
    )


def test_an_app_that_dies_is_started_again(bad: Pictures) -> None:
    bad.deploy(instances=2, slots=2, rpc={"keepalive": 2000}, queue={"max_delivery": 3})
    before = {instance["id"] for instance in bad.instances()}
    data, tags = bad.answer("die")
    assert (tags["lastCode"], data) == ("502", b"the app closed the connection before its answer")
    assert json.loads(bad.answer("echo", b"still there")[0])["data"] == "still there"
    until(lambda: all(not i["reason"] for i in bad.instances()), f"all is well again: {bad.instances()}")
    assert {instance["id"] for instance in bad.instances()} == before


def test_a_cancelled_query_lets_go_of_the_app_and_frees_its_slot(alone: Pictures) -> None:
    alone.deploy()
    index, request = alone.put("progress")
    until(
        lambda: (alone.task(index)["progress"] or {}).get("step") == 3,
        "the app's progress is seen",
    )
    pending = alone.http.get(
        f"/api/predict/{alone.name}", params={"_search_": "true", "_index_": str(index)}
    ).json()
    assert pending["IsPending"] is True
    _, next_request = alone.put("echo", b"next")
    alone.http.delete(f"/api/predict/{alone.name}", params={"_indexes_": str(index)})
    assert alone.item(next_request) is not None
    until(lambda: alone.state(index) == "cancelled", "the query is cancelled")
    until(lambda: any(e["path"] == "let go" for e in alone.book()), "the app saw the connection end")
    assert alone.item(request, seconds=0.0) is None


SECONDS = os.environ.get("LORAPOOL_QUERY_SECONDS", "0.3")
"""How long the app sleeps over each of the forty queries; 2 in the long variant."""
WINDOW = 2


def test_forty_queries_and_an_instance_killed_in_the_middle(alone: Pictures) -> None:
    alone.deploy(instances=4, slots=WINDOW)
    alone.ready(4)
    requests = [alone.put(f"sleep/{SECONDS}")[1] for _ in range(40)]

    def held() -> list[dict[str, Any]]:
        """Nobody is given more than fits, so that nobody can be idle while another has a query too many."""
        instances = alone.instances()
        assert all(len(each["tasks"]) <= WINDOW for each in instances)
        return instances

    def all_have_answered() -> bool:
        """An app that was asked once more than fits has answered once."""
        asked = Counter(entry["pid"] for entry in alone.book())
        return len(asked) == 4 and min(asked.values()) > WINDOW

    until(all_have_answered, "every instance has answered")
    full: list[dict[str, Any]] = []
    until(lambda: bool(full.extend(i for i in held() if len(i["tasks"]) == WINDOW) or full), "one is full")
    victim = full[0]
    os.kill(victim["pid"], signal.SIGKILL)
    killed = time.monotonic()

    def elsewhere() -> bool:
        """Whether every query of the dead instance is another's, or done."""
        views = [alone.http.get(f"/api/v1/tasks/{task}").json() for task in victim["tasks"]]
        return all(
            view["state"] == "succeeded" or view["instance"] not in ("", victim["id"]) for view in views
        )

    until(elsewhere, "others have the queries of the instance that was killed", 5.0)
    print(f"\n{time.monotonic() - killed:.2f} s until others had its queries")
    while alone.http.get(f"/api/v1/services/{alone.name}").json()["waiting"]:
        held()
    answers = [alone.item(request) for request in requests]
    found = [json.loads(answer[0]) for answer in answers if answer is not None]
    assert len(found) == 40
    assert max(each["most"] for each in found) <= WINDOW, "an app was asked more at once than it has slots"
    assert all(alone.item(request, seconds=0.0) is None for request in requests[:5])


def test_an_instance_killed_with_answers_that_it_has_not_delivered(alone: Pictures) -> None:
    # Given an output queue that is full, and an instance that holds two answers back
    alone.deploy(instances=2, slots=2, queue={"sink": {"capacity": 1}})
    alone.ready(2)
    index, first_request = alone.put("told")
    until(lambda: alone.state(index) == "succeeded", "the first has filled the output queue")
    requests = [first_request] + [alone.put("told")[1] for _ in range(3)]
    until(lambda: all(len(alone.asked(request)) == 2 for request in requests), "all have been answered")
    victim = next(each for each in alone.instances() if len(each["tasks"]) == 2)
    lost = [alone.http.get(f"/api/v1/tasks/{task}").json()["request_id"] for task in victim["tasks"]]
    # When it is killed, and somebody reads
    os.kill(victim["pid"], signal.SIGKILL)
    killed = time.monotonic()
    found = [item for _ in requests if (item := alone.item()) is not None]
    print(f"\n{time.monotonic() - killed:.2f} s until all was answered")
    # Then another instance has answered its queries, and each has one answer
    assert sorted(tags["requestId"] for _, tags in found) == sorted(requests)
    assert alone.item(seconds=0.0) is None
    for data, tags in found:
        first, *again = [e["pid"] for e in alone.asked(tags["requestId"]) if e["path"] == "/told"]
        if tags["requestId"] in lost:
            assert len(again) == 1 and int(data) == again[0] != first
        else:
            assert again == [] and int(data) == first


def test_an_instance_that_is_not_needed_any_more_ends_its_queries_first(alone: Pictures) -> None:
    alone.deploy(instances=2)
    alone.ready(2)
    requests = [alone.put("sleep/1.5")[1] for _ in range(2)]
    until(lambda: len(alone.book()) == 2, "both instances are busy")
    alone.deploy(instances=1)
    until(lambda: "draining" in [i["state"] for i in alone.instances()], "one of them is to leave")
    found = [alone.item(request) for request in requests]
    assert len({json.loads(each[0])["pid"] for each in found if each is not None}) == 2
    assert [entry["delivery"] for entry in alone.book()] == [1, 1]
    until(lambda: len(alone.instances()) == 1, "it has left")


def test_an_instance_that_has_to_leave_hands_its_query_back(alone: Pictures) -> None:
    alone.deploy(queue={"max_delivery": 1})
    index, request = alone.put("late")
    until(lambda: bool(alone.book()), "the app was asked")
    os.kill(alone.instances()[0]["pid"], signal.SIGTERM)
    found = alone.item(request)
    assert found is not None, alone.task(index)
    assert found[0] == b"2", "a second delivery, though only one may fail"


def test_a_full_output_queue_holds_answers_back_and_loses_none(alone: Pictures) -> None:
    alone.deploy(queue={"sink": {"capacity": 1}})
    first, second = alone.put("echo", b"1"), alone.put("echo", b"2")
    until(lambda: len(alone.book()) == 2, "both were asked")
    assert alone.state(second[0]) == "running"
    for _, request in (first, second):
        assert alone.item(request) is not None
    until(lambda: alone.state(second[0]) == "succeeded", "the second has succeeded")


def test_a_full_output_queue_holds_a_command_up_and_loses_no_line(alone: Pictures) -> None:
    alone.deploy(app=False, queue={"sink": {"capacity": 2}})
    url, sink = f"/api/predict/{alone.name}", f"/api/predict/{alone.name}/sink"
    command = b"for n in 1 2 3 4 5; do echo line $n; sleep 0.3; done"
    index = int(alone.http.post(url, params={"taskType": "command"}, content=command).text)
    until(lambda: alone.http.get(f"{sink}?_count_=true").text == "2", "the output queue is full")
    assert alone.state(index) == "running"
    said: list[str] = []

    def read_on() -> bool:
        answer = alone.http.get(sink, params={"_auto_delete_": "true", "_timeout_": "1s"})
        said.extend(answer.text.splitlines())
        return alone.state(index) == "succeeded" and answer.status_code == 204

    until(read_on, "the command has succeeded and all it said was read")
    assert [line for line in said if line.startswith("line")] == [f"line {n}" for n in range(1, 6)]


def test_commands_run_beside_the_app(alone: Pictures) -> None:
    alone.deploy()
    url = f"/api/predict/{alone.name}"
    index = int(alone.http.post(url, params={"taskType": "command"}, content=b"echo hello").text)
    until(lambda: alone.state(index) == "succeeded", "the command has run")
    assert alone.answer("echo", b"and a query")


def test_apps_that_insist_on_one_port_run_side_by_side(alone: Pictures) -> None:
    if not own_network.available():
        pytest.skip("this system gives this user no network namespace")
    command = f"sh -c 'PORT={alone.port} exec {sys.executable} {APP} {alone.book_file}'"
    alone.deploy(instances=2, command=command)
    alone.ready(2)
    indexes = [alone.put("progress")[0] for _ in range(2)]
    for index in indexes:
        until(lambda index=index: (alone.task(index)["progress"] or {}).get("step") == 3, "both report")  # type: ignore[misc]
    assert len({entry["pid"] for entry in alone.book()}) == 2
    for index in indexes:
        alone.http.delete(f"/api/predict/{alone.name}", params={"_indexes_": str(index)})
    until(lambda: sum(e["path"] == "let go" for e in alone.book()) == 2, "both apps saw the connection end")


def test_a_changed_app_replaces_the_old_one_without_losing_a_query(alone: Pictures) -> None:
    alone.deploy(instances=2)
    alone.ready(2)
    before = {instance["id"] for instance in alone.instances()}
    requests = [alone.put("sleep/0.3")[1] for _ in range(8)]
    alone.deploy(instances=2, command=f"{sys.executable} {APP} {alone.book_file} another")
    until(
        lambda: len(alone.instances()) == 2 and before.isdisjoint(i["id"] for i in alone.instances()),
        f"both instances are new: {alone.instances()}",
    )
    assert all(alone.item(request) is not None for request in requests)
    assert {entry["delivery"] for entry in alone.book()} == {1}


def test_an_app_that_never_comes_up_says_why_and_may_be_mended(alone: Pictures) -> None:
    alone.deploy(command="sh -c 'echo there is no model; exit 3'")
    index, request = alone.put("echo", b"patient")
    seen: list[str] = []

    def told() -> bool:
        decisions = alone.http.get("/api/v1/decisions", params={"service": alone.name}).json()["decisions"]
        seen[:] = [str(decision) for decision in decisions]
        return any("did not come up" in text and "there is no model" in text for text in seen)

    until(told, f"the journal says why: {seen}")
    assert alone.state(index) == "waiting"
    alone.deploy()
    assert alone.item(request) is not None


def test_a_query_on_a_service_without_an_app_is_answered_and_never_run(
    alone: Pictures, tmp_path: Path
) -> None:
    alone.deploy(app=False)
    trap = tmp_path / "was run"
    index, request = alone.put("", f"touch '{trap}'".encode())
    found = alone.item(request)
    assert found is not None
    assert found[1]["lastCode"] == "501"
    assert alone.state(index) == "failed"
    assert not trap.exists()


def test_an_app_that_says_an_answer_is_final_is_not_asked_again(alone: Pictures) -> None:
    alone.deploy(queue={"max_delivery": 5})
    index, request = alone.put("final")
    found = alone.item(request)
    assert found is not None
    assert found[1]["lastCode"] == "400"
    assert [entry["delivery"] for entry in alone.asked(request)] == [1]
    assert alone.task(index)["reason"] == "size: is odd"


def test_what_an_app_has_loaded_is_known_and_it_makes_room_for_a_command(alone: Pictures) -> None:
    # Given an app that says what it has in memory, and where it is told to give that back
    alone.deploy(rpc={"unload_path": "/unload"})
    alone.answer("load/sd15")
    assert alone.instances()[0]["loaded"] == ["sd15"]
    pid = alone.book()[-1]["pid"]
    # When a command takes the instance
    url = f"/api/predict/{alone.name}"
    index = int(alone.http.post(url, params={"taskType": "command"}, content=b"true").text)
    until(lambda: alone.state(index) == "succeeded", "the command has run")
    # Then it was told to, and goes on
    assert "unload" in [entry["path"] for entry in alone.book()]
    assert json.loads(alone.answer("sleep/0")[0])["pid"] == pid


def test_an_app_without_a_way_to_unload_is_stopped_for_a_command_and_started_again(alone: Pictures) -> None:
    alone.deploy()
    pid = json.loads(alone.answer("sleep/0")[0])["pid"]
    url = f"/api/predict/{alone.name}"
    check = f"sh -c 'if kill -0 {pid}; then exit 1; fi'"
    index = int(alone.http.post(url, params={"taskType": "command"}, content=check.encode()).text)
    until(lambda: alone.task(index)["state"] in ("succeeded", "failed"), "the command has run")
    assert alone.state(index) == "succeeded", "the app was still there"
    assert json.loads(alone.answer("sleep/0")[0])["pid"] != pid
