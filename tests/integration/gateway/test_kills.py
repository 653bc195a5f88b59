"""kill -9 of the store and of the gateway while 8 threads put 1 000 items."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable

import httpx
import pytest

from backend.queue.source import as_item
from backend.store import streams, tasks
from backend.store.connection import Store
from backend.store.streams import Item
from tests.support.gateway_box import Box, eventually

PUTS, THREADS = 1000, 8


def _kill_store(box: Box) -> None:
    box.kill_store()
    box.start_store()


def _kill_gateway(box: Box) -> None:
    assert box.gateway is not None
    box.gateway.kill()
    box.gateway.wait()
    box.start_gateway()


def _stored(store: Store) -> list[Item]:
    return list(store.run(streams.get("svc", {}, length=PUTS * 2)))


def _waiting(store: Store) -> list[Item]:
    """The tasks in the order in which RQ holds them."""
    return [as_item(store.run(tasks.get(task))) for task in store.run(tasks.waiting("svc"))]


@pytest.mark.parametrize(
    ("kill", "kind", "found"),
    [
        (_kill_store, "Queue", _stored),
        (_kill_gateway, "Queue", _stored),
        (_kill_store, "ScalableJob", _waiting),
    ],
)
def test_what_was_acknowledged_is_there_once_in_order_and_nothing_else(
    own_box: Box, kill: Callable[[Box], None], kind: str, found: Callable[[Store], list[Item]]
) -> None:
    # Given 8 threads that put, each item again with its own request id until it is acknowledged
    own_box.create("svc", kind)
    acknowledged: dict[str, int] = {}
    some = threading.Event()

    def work(thread: int) -> None:
        with own_box.http() as http:
            for n in range(thread, PUTS, THREADS):
                request_id = f"r{n}"

                def put(request_id: str = request_id) -> httpx.Response | None:
                    try:
                        answer = http.post(
                            "/api/predict/svc",
                            params={"requestId": request_id, "taskType": "query"},
                            content=request_id,
                        )
                    except httpx.TransportError:
                        return None
                    return answer if answer.status_code == 200 else None

                acknowledged[request_id] = int(eventually(put, 60.0).text)
                if len(acknowledged) >= PUTS // 4:
                    some.set()

    # When the process is killed in the middle, and comes back
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        threads = [pool.submit(work, thread) for thread in range(THREADS)]
        assert some.wait(60.0)
        kill(own_box)
        for thread in threads:
            thread.result(120.0)

    # Then
    store = own_box.store()
    items = found(store)
    store.close()
    assert {item.tags["requestId"]: item.index for item in items} == acknowledged
    assert [item.index for item in items] == sorted(item.index for item in items)
    assert [item.data.decode() for item in items] == [item.tags["requestId"] for item in items]
    assert len(items) == PUTS
