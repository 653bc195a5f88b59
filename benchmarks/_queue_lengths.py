"""Whether a long queue is slower: the same operations on a queue of 10 and of 100 000 items, in turn."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any

import httpx

from backend.store.call import source
from backend.store.streams import encode_tags
from tests.support.gateway_box import Box

SHORT, LONG = 10, 100_000
ROUNDS = 200
BODY = b"x" * 100

_NUMBERS = itertools.count()
_AT_ONCE = 2000


def main(box: Box) -> None:
    """Measure, print a table."""
    names = {length: f"length{length}" for length in (SHORT, LONG)}
    for length, name in names.items():
        box.create(name)
        _fill(box, name, length)
    found: dict[tuple[str, int], list[float]] = {}
    with box.http(**{"X-EAS-QueueService-Redis-Uid": "u"}) as http:
        # A group exists, so that every put goes to its list and every commit looks through it.
        for name in names.values():
            http.put(f"/api/predict/{name}", params={"_indexes_": "1"})
        for round_ in range(ROUNDS + 5):
            for length, name in names.items():
                for what, seconds in _cycle(http, name).items():
                    if round_ >= 5:  # the first rounds warm up
                        found.setdefault((what, length), []).append(seconds)
    print(f"\n| one request, median ms | {SHORT} items | {LONG} items | ratio |\n|---|---|---|---|")
    for what in dict.fromkeys(what for what, _ in found):
        short, long = (statistics.median(found[what, length]) * 1000 for length in (SHORT, LONG))
        print(f"| {what} | {short:.2f} | {long:.2f} | {long / short:.2f} |")


def _fill(box: Box, name: str, length: int) -> None:
    """Puts as the gateway makes them, many to a round trip."""
    store = box.store()
    sha = store.redis.script_load(source("queue_put"))
    for start in range(0, length, _AT_ONCE):
        pipeline = store.redis.pipeline(transaction=False)
        for n in range(start, min(length, start + _AT_ONCE)):
            request_id = f"{name}-{n}"
            tags = encode_tags({"requestId": request_id, "taskType": "query"})
            pipeline.evalsha(sha, 0, name, request_id, tags, BODY, 0)
        pipeline.execute()
    store.close()


def _cycle(http: httpx.Client, name: str) -> dict[str, float]:
    """Put an item, look for it in every way, commit it: the queue is as long afterwards as before."""
    url, request_id = f"/api/predict/{name}", f"cycle-{next(_NUMBERS)}"
    found: dict[str, float] = {}

    def timed(what: str, method: str, query: dict[str, Any], body: bytes = b"") -> httpx.Response:
        began = time.perf_counter()
        answer = http.request(method, url, params=query, content=body)
        found[what] = time.perf_counter() - began
        assert answer.status_code == 200, answer.text
        return answer

    index = timed("put", "POST", {"requestId": request_id}, BODY).text
    read = {"_raw_": "false"}
    by_id = timed("get by request id", "GET", {**read, "requestId": request_id}).json()
    assert [item["index"] for item in by_id] == [int(index)]
    assert timed("get the head", "GET", read).json()[0]["index"] < int(index)
    assert timed("get from an index", "GET", {**read, "_index_": index}).json() == by_id
    assert timed("count", "GET", {"_count_": "true"}).text
    found_at = timed("search", "GET", {"_search_": "true", "_index_": index}).json()
    assert found_at["IsPending"] is False
    assert timed("attributes", "GET", {"_attrs_": "true"}).json()["stream.lastEntry"] == index
    assert timed("commit", "PUT", {"_indexes_": index}).text == "OK"
    return found
