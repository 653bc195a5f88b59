"""The official `eas-prediction` 0.36, unchanged, against the real gateway and the real store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.store import streams
from tests.support.eas_sdk import Sdk
from tests.support.gateway_box import DEADLINE, Box, eventually
from tests.support.lossy_store import LossyStore

Make = Callable[[Box], Sdk]


def test_every_public_method(box: Box, sdk_of: Make) -> None:
    box.create("methods")

    said = sdk_of(box).run("every_method", "methods")

    assert said["put"] == ["1", "2"]
    (first,) = said["by request"]
    assert (first["index"], first["data"]) == (1, "text")
    assert said["by index"] == [2]
    (second,) = said["by tag"]
    assert second["data"].encode("latin-1") == b"\x00\xffraw"
    assert second["tags"]["jobId"] == "a b&c/中"
    assert "_priority_" not in second["tags"] and second["tags"]["requestId"]
    attributes = said["attributes"]
    assert all(isinstance(value, str) for value in attributes.values())
    assert (attributes["stream.length"], attributes["stream.lastEntry"]) == ("2", "2")
    assert attributes["meta.header.user"] == "X-EAS-QueueService-Redis-Uid"
    assert attributes["meta.header.group"] == "X-EAS-QueueService-Redis-Gid"
    assert said["search"] == {"ConsumerId": "", "IsPending": False, "WaitCount": 1}
    assert said["search missing"] == [{}, {}, {}]
    assert said["commit"] == ["OK", "OK"]
    assert said["delete"] == ["OK", "OK"]
    assert (said["truncate"], said["left"]) == ("OK", "0")
    assert said["taken"] == ["taken"]
    assert said["then"] == [0, "0"]


def test_every_setter_and_every_way_to_name_a_queue(box: Box, sdk_of: Make) -> None:
    box.create("settings")

    said = sdk_of(box).run("settings", "settings")

    assert (said["put"], said["suffix"], said["url"], said["direct"]) == ("1", "1", "2", "2")
    # The header that it was told to add made the first item a high one; its content type is no tag.
    assert (said["first"]["data"], list(said["first"]["tags"])) == ("high", ["requestId"])
    assert said["second"] == [400, "Another watcher is already running"]


def test_watch_with_tags_index_only_and_auto_commit(box: Box, sdk_of: Make) -> None:
    box.create("modes")

    said = sdk_of(box).run("modes", "modes")

    assert [x["tags"]["color"] for x in said["red"]] == ["red", "red"]
    assert [x["data"] for x in said["index only"]] == ["", ""]
    assert all(x["tags"]["color"] == "blue" for x in said["index only"])
    assert said["left"] == "0"


def test_window_holds_back_until_a_commit(box: Box, sdk_of: Make) -> None:
    box.create("window")

    said = sdk_of(box).run("window", "window")

    assert said["first"] == [1, 2]
    assert (
        "Id: eas.u1" in said["consumer"]
        and "Pending: 2" in said["consumer"]
        and "Slots: 0" in said["consumer"]
    )
    assert said["search"] == [
        {"ConsumerId": "eas.u1", "IsPending": True, "WaitCount": 0},
        {"ConsumerId": "", "IsPending": False, "WaitCount": 1},
    ]
    assert said["next"] == 3


def test_two_watchers_of_a_group_share_2000_items(box: Box, sdk_of: Make) -> None:
    box.create("shared")
    sdk = sdk_of(box)
    watchers = [sdk.start("watch", "shared", uid=uid, window=20) for uid in ("a", "b")]
    with box.http() as http:
        eventually(lambda: _running(http, "shared") == 2)

        acknowledged = sdk.run("put_many", "shared", count=2000, threads=8)

        eventually(lambda: _attributes(http, "shared")["stream.length"] == "0", 120)
    for watcher in watchers:
        watcher.kill()
    seen = [[x["index"] for x in watcher.rest()] for watcher in watchers]
    assert sorted(index for index, _ in acknowledged) == list(range(1, 2001))
    assert sorted(seen[0] + seen[1]) == list(range(1, 2001))
    assert all(seen), "one of them got everything"


def test_what_a_killed_watcher_held_goes_to_another(box: Box, sdk_of: Make) -> None:
    # Given a watcher that holds three items
    box.create("killed")
    sdk = sdk_of(box)
    first = sdk.start("watch", "killed", uid="first", window=3, commit=False)
    sdk.run("put_many", "killed", count=3, threads=1)
    assert [first.next()["index"] for _ in range(3)] == [1, 2, 3]
    second = sdk.start("watch", "killed", uid="second", count=3)

    # When it is killed
    first.process.kill()

    # Then another of its group gets them
    assert sorted(second.next()["index"] for _ in range(3)) == [1, 2, 3]


def test_a_watcher_lives_through_restarts_of_gateway_and_store(own_box: Box, sdk_of: Make) -> None:
    own_box.create("restart")
    sdk = sdk_of(own_box)
    watcher = sdk.start("watch", "restart", uid="u1", count=9)
    sdk.run("put_many", "restart", count=3, threads=1)
    assert [watcher.next()["index"] for _ in range(3)] == [1, 2, 3]

    own_box.stop_gateway()
    own_box.start_gateway()
    sdk.run("put_many", "restart", count=3, threads=1)
    assert [watcher.next()["index"] for _ in range(3)] == [4, 5, 6]

    own_box.kill_store()
    own_box.start_store()
    sdk.run("put_many", "restart", count=3, threads=1, own_ids=True)
    assert [watcher.next()["index"] for _ in range(3)] == [7, 8, 9]
    assert watcher.next() == {"done": 9}


def test_get_with_defaults_on_an_empty_queue_is_empty_50_times_of_50(box: Box, sdk_of: Make) -> None:
    box.create("empty")

    assert sdk_of(box).run("get_empty", "empty") == [[]] * 50


def test_predict_client_signature(box: Box, sdk_of: Make) -> None:
    token = box.create("signed")

    sdk = sdk_of(box)
    assert sdk.run("predict", "signed", token) == ["1", 401]
    assert sdk.run("predict", "signed/sink", token, content_type="text/plain; charset=utf-8") == ["1", 401]
    with box.http() as http:
        for queue in ("signed", "signed/sink"):
            (item,) = http.get(f"/api/predict/{queue}?_raw_=false").json()
            assert item["data"] == "aGVsbG8="


def test_its_six_repeats_of_a_refusal_store_nothing(box: Box, sdk_of: Make) -> None:
    box.create("full", queue={"source": {"capacity": 1, "max_payload_size_kb": 1}})
    sdk = sdk_of(box)

    too_large = sdk.run("put_once", "full", data="x" * 2000)
    sdk.run("put_once", "full", data="fits")
    full = sdk.run("put_once", "full", data="too many")

    assert (too_large["code"], full["code"]) == (413, 450)
    assert (
        "Nothing was stored" in too_large["message"] and json.loads(full["message"])["error"] == "QueueFull"
    )
    with box.http() as http:
        attributes = _attributes(http, "full")
    assert (attributes["stream.length"], attributes["stream.lastEntry"]) == ("1", "1")


def test_a_put_whose_answer_the_store_lost_is_stored_once(tmp_path: Path, sdk_of: Make) -> None:
    # Given a client whose put the store takes, and then is away before it has said so
    box = Box(tmp_path)
    box.store_server.start()
    lossy = LossyStore(box.store_server.url, tmp_path, b"not-yet-known")
    box.store_url = lossy.url
    try:
        box.start_gateway()
        box.create("doubt")
        sdk = sdk_of(box)
        sdk.run("put_once", "doubt", data="first")  # now the store has the script of a put
        putting = sdk.start("put_once", "doubt", data="not-yet-known", timeout=60000)
        assert lossy.lost.wait(DEADLINE)

        # When it is away for so long that another put, which it cannot have taken, is refused
        with box.http() as http:
            refused = http.post("/api/predict/doubt", content=b"another")
        assert refused.status_code == 503 and "retry-after" not in refused.headers

        # Then the first, which would be repeated under a new id if it were refused, is answered when it is back
        lossy.mend()
        index, request_id = putting.next()
        store = box.store()
        items = store.run(streams.get("doubt", {}, length=9))
        store.close()
    finally:
        box.close()
        lossy.close()
    assert [item.data for item in items] == [b"first", b"not-yet-known"]
    assert (str(items[1].index), items[1].tags["requestId"]) == (index, request_id)


def test_a_repeated_request_id_is_stored_once(box: Box, sdk_of: Make) -> None:
    box.create("once")
    sdk = sdk_of(box)

    puts = [sdk.run("put_once", "once", data="x", tags={"requestId": "mine"}) for _ in range(2)]

    assert puts == [["1", "mine"], ["1", "mine"]]
    with box.http() as http:
        assert _attributes(http, "once")["stream.length"] == "1"


def test_a_refused_watcher_does_not_spin(box: Box, sdk_of: Make) -> None:
    # Given a watcher with a wrong token: its first handshake fails with a status and a reason
    token = box.create("gone")
    sdk = sdk_of(box)
    said = sdk.run("refused", "gone", "wrong token")
    assert said["first"] == 401 and "token" in said["body"]

    # Given one that is connected, when its service is removed: its connection ends
    watcher = sdk.start("refused", "gone", token)
    assert "connected" in watcher.next()
    with box.client() as client:
        client.service("gone").delete()

    # Then it is refused before its handshake is answered, and tries once a second
    refused = []
    while len(refused) < 4:
        line = watcher.next()
        if line.get("status"):
            refused.append(line)
    assert {line["status"] for line in refused} == {401}
    assert refused[-1]["refused"] - refused[0]["refused"] > 2.5


def _attributes(http: Any, service: str) -> dict[str, str]:
    answer: dict[str, str] = http.get(f"/api/predict/{service}?_attrs_=true").json()
    return answer


def _running(http: Any, service: str) -> int:
    return sum("Status: Running" in value for value in _attributes(http, service).values())
