"""Every endpoint, asked with no token, a wrong one, another service's, the service's own, and the administrator's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support.gateway_box import TOKEN, Box

OPEN = (200, 200, 200, 200, 200)
ANYBODY = (401, 401, 200, 200, 200)
"""Answers everybody who has a token with what that token covers."""
SERVICE = (401, 401, 403, 200, 200)
ADMINISTRATOR = (401, 401, 403, 403, 200)
BY_LINK = (403, 403, 403, 403, 403)
"""Opened by a signed link, which these requests have not."""


def of_service(status: int) -> tuple[int, ...]:
    """As SERVICE, where those who may ask are told that this cannot be done now."""
    return (401, 401, 403, status, status)


CONTROL: dict[tuple[str, str], tuple[int, ...]] = {
    ("GET", "/healthz"): OPEN,
    ("GET", "/metrics"): ANYBODY,
    ("GET", "/api/v1/servicediscovery/upstreams/{service}"): OPEN,
    ("GET", "/api/v1/info"): ANYBODY,
    ("GET", "/api/v1/services"): ANYBODY,
    ("POST", "/api/v1/services"): ADMINISTRATOR,
    ("GET", "/api/v1/services/{service}"): SERVICE,
    ("GET", "/api/v1/services/{service}/history"): SERVICE,
    ("GET", "/api/v1/services/{service}/usage"): SERVICE,
    ("PUT", "/api/v1/services/{service}"): ADMINISTRATOR,
    ("POST", "/api/v1/services/{service}/stop"): ADMINISTRATOR,
    ("POST", "/api/v1/services/{service}/start"): ADMINISTRATOR,
    ("POST", "/api/v1/services/{service}/scale"): ADMINISTRATOR,
    ("PUT", "/api/v1/services/{service}/autoscaler"): ADMINISTRATOR,
    ("DELETE", "/api/v1/services/{service}/autoscaler"): ADMINISTRATOR,
    ("PUT", "/api/v1/services/{service}/cronscaler"): ADMINISTRATOR,
    ("DELETE", "/api/v1/services/{service}/cronscaler"): ADMINISTRATOR,
    ("GET", "/api/v1/instances"): ANYBODY,
    ("GET", "/api/v1/decisions"): SERVICE,
    ("GET", "/api/v1/events"): ANYBODY,
    ("GET", "/api/v1/models"): ANYBODY,
    ("POST", "/api/v1/services/{service}/tasks"): SERVICE,
    ("GET", "/api/v1/tasks"): SERVICE,
    ("GET", "/api/v1/tasks/{task_id}"): SERVICE,
    ("POST", "/api/v1/tasks/{task_id}/priority"): SERVICE,
    ("POST", "/api/v1/tasks/{task_id}/retry"): of_service(409),
    ("GET", "/api/v1/tasks/{task_id}/log"): SERVICE,
    ("GET", "/api/v1/tasks/{task_id}/log.txt"): SERVICE,
    ("GET", "/api/v1/tasks/{task_id}/scalars"): SERVICE,
    ("GET", "/api/v1/tasks/{task_id}/files"): SERVICE,
    ("GET", "/api/v1/tasks/{task_id}/files/{path}"): SERVICE,
    ("GET", "/api/v1/tasks/{task_id}/images"): of_service(404),
    ("GET", "/api/v1/tasks/{task_id}/events"): SERVICE,
    ("GET", "/api/v1/outputs/{path}"): BY_LINK,
    ("POST", "/api/v1/tasks/{task_id}/cancel"): SERVICE,
    ("DELETE", "/api/v1/services/{service}"): ADMINISTRATOR,
}
"""What they are answered, in the order of the tokens; what ends something comes last."""

QUEUES: list[tuple[str, str, str, int]] = [
    ("POST", "", "?taskType=query", 200),
    ("POST", "/v1/infer", "?taskType=query", 200),
    ("GET", "", "?_raw_=false", 200),
    ("GET", "", "?_attrs_=true", 200),
    ("GET", "", "?_search_=true&_index_=1", 200),
    ("GET", "", "?_count_=true", 200),
    ("GET", "", "?_watch_=true", 409),
    ("PUT", "", "?_indexes_=1", 409),
    ("PUT", "", "?_indexes_=1&_negative_=true", 409),
    ("POST", "/sink", "", 200),
    ("GET", "/sink", "?_raw_=false", 200),
    ("GET", "/sink", "?_attrs_=true", 200),
    ("GET", "/sink", "?_watch_=true", 200),
    ("PUT", "/sink", "?_indexes_=99", 200),
    ("PUT", "/sink", "?_indexes_=99&_negative_=true", 200),
    ("DELETE", "/sink", "?_indexes_=99", 200),
    ("DELETE", "/sink", "?_trunc_=true&_index_=1", 200),
    ("GET", "/dead", "", 204),
    ("POST", "/dead", "", 409),
    ("PUT", "/dead", "?_indexes_=1", 200),
    ("DELETE", "/dead", "?_indexes_=1", 200),
    ("DELETE", "", "?_indexes_=99", 200),
    ("DELETE", "", "?_trunc_=true&_index_=1", 200),
    ("POST", "", "?_eos_=true", 200),
]
"""Method, sub-path, operation, and the status for whom the token lets in."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A service with a task, and the tokens in the order of the tables."""

    http: httpx.Client
    service: str
    task: str
    tokens: tuple[str | None, ...]

    def statuses(self, method: str, path: str, **content: Any) -> tuple[int, ...]:
        found = []
        for token in self.tokens:
            headers = {} if token is None else {"Authorization": token}
            # Only the head of the answer: some are streams.
            with self.http.stream(method, path, headers=headers, **content) as answer:
                found.append(answer.status_code)
                if answer.status_code in (401, 403):
                    assert answer.read() and answer.json()["message"]
        return tuple(found)


@pytest.fixture
def asked(box: Box, name: str) -> Iterator[Asked]:
    own, other = box.create(name, "ScalableJob"), box.create(f"{name}-other", "ScalableJob")
    with box.client() as client:
        task = client.service(name).submit(command="true", files={"a.txt": "a"})
    with httpx.Client(base_url=box.url, timeout=20.0) as http:
        yield Asked(http, name, task.id, (None, "wrong", other, own, TOKEN))


def test_no_endpoint_of_the_document_is_missing_in_the_table(box: Box) -> None:
    document = httpx.get(f"{box.url}/openapi.json").json()
    known = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if method in ("get", "post", "put", "delete", "patch") and not path.startswith("/api/predict/")
    }

    assert known == set(CONTROL)


def test_the_control_api(asked: Asked) -> None:
    bodies: dict[tuple[str, str], Any] = {
        ("POST", "/api/v1/services"): {"metadata": {"name": f"{asked.service}-new", "type": "Queue"}},
        ("PUT", "/api/v1/services/{service}"): {"metadata": {"name": asked.service, "type": "ScalableJob"}},
        ("POST", "/api/v1/services/{service}/scale"): {"instances": 0},
        ("PUT", "/api/v1/services/{service}/autoscaler"): {"min": 0, "max": 1},
        ("PUT", "/api/v1/services/{service}/cronscaler"): {
            "ScaleJobs": [{"Name": "evening", "Schedule": "0 0 18 * * *", "TargetSize": 1}]
        },
        ("POST", "/api/v1/services/{service}/tasks"): {"command": "true"},
        ("POST", "/api/v1/tasks/{task_id}/priority"): {"priority": 1},
    }
    found = {}
    for method, path in CONTROL:
        url = path.format(service=asked.service, task_id=asked.task, path="a.txt")
        if path in ("/api/v1/tasks", "/api/v1/decisions"):
            url += f"?service={asked.service}"
        found[method, path] = asked.statuses(method, url, json=bodies.get((method, path)))

    assert found == CONTROL


def test_the_queues(asked: Asked) -> None:
    found, expected = {}, {}
    for method, sub, query, status in QUEUES:
        url = f"/api/predict/{asked.service}{sub}{query}"
        found[method, sub, query] = asked.statuses(method, url, content=b"")
        expected[method, sub, query] = (401, 401, 403, status, status)

    assert found == expected


def test_watchers_over_a_websocket(box: Box, asked: Asked) -> None:
    found = []
    for token in asked.tokens:
        headers = {} if token is None else {"Authorization": token}
        try:
            with connect(
                f"{box.url.replace('http', 'ws')}/api/predict/{asked.service}/sink?_watch_=true",
                additional_headers=headers,
            ):
                found.append(101)
        except InvalidStatus as refused:
            found.append(refused.response.status_code)

    assert found == [401, 401, 403, 101, 101]


def test_a_service_that_does_not_exist_is_no_secret_to_who_has_a_token_and_one_to_others(
    asked: Asked,
) -> None:
    assert asked.statuses("GET", "/api/predict/missing?_attrs_=true") == (401, 401, 404, 404, 404)
    assert asked.statuses("GET", "/api/v1/services/missing") == (401, 401, 403, 403, 404)
    assert asked.statuses("GET", "/api/v1/tasks/missing") == (401, 401, 404, 404, 404)
