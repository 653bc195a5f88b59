"""The number that an autoscaler of somebody else's goes by."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.gateway_box import Box


def asked(box: Box, name: str) -> tuple[int, dict[str, Any]]:
    with box.http() as http:
        answer = http.get(f"/api/v1/services/{name}/scaling")
    return answer.status_code, answer.json()


def test_it_follows_what_waits_within_the_bounds(box: Box, name: str) -> None:
    with box.client() as client:
        raw = {"metadata": {"name": name, "type": "ScalableJob"}, "autoscaler": {"min": 0, "max": 3}}
        client.create_service(raw)
        service = client.service(name)
        assert asked(box, name) == (
            200,
            {"service": name, "wanted": 0, "waiting": 0, "running": 0, "min": 0, "max": 3},
        )
        for number in range(5):
            service.submit(command="true")
            assert asked(box, name)[1]["wanted"] == min(3, number + 1)
        service.stop()
        assert asked(box, name)[1]["wanted"] == 0


@pytest.mark.parametrize("threads", [1, 4])
def test_queries_share_an_instance(box: Box, name: str, threads: int) -> None:
    with box.client() as client:
        raw = {
            "metadata": {"name": name, "type": "ScalableJob", "rpc.worker_threads": threads},
            "containers": [{"command": "serve", "port": 7000}],
            "autoscaler": {"min": 0, "max": 9},
        }
        client.create_service(raw)
        for _ in range(5):
            client.service(name).submit(data=b"{}", kind="query")
        assert asked(box, name)[1]["wanted"] == (5 if threads == 1 else 2)


def test_a_plain_queue_has_nothing_to_scale(box: Box, name: str) -> None:
    with box.client() as client:
        client.create_service({"metadata": {"name": name, "type": "Queue"}})
    assert asked(box, name)[0] == 409
