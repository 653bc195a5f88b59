"""The OpenAPI document against a running gateway, with schemathesis: whatever fits the document, and whatever does not,
is answered below 500, in a shape that the document has.

`LORAPOOL_FUZZ_EXAMPLES` (requests for each operation) makes the run longer.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.gateway_box import TOKEN, Box

EXAMPLES = int(os.environ.get("LORAPOOL_FUZZ_EXAMPLES", "3"))
STREAMS = ("/api/v1/events", "/api/v1/tasks/{task_id}/events")
"""Answers without an end; the authorisation matrix and the tests of watching ask for them."""

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway with something behind most paths, and who asks."""

    box: Box
    schema: Any
    real: dict[str, str]
    tokens: tuple[str, ...]


@pytest.fixture(scope="module")
def place(box: Box) -> Iterator[Place]:
    box.create("svc", "ScalableJob", rpc={"keepalive": 200})
    with box.client() as client:
        client.add_user("ana", commands=True)
        member = client.make_token("ana").token or ""
    with box.client(member) as client:
        task = client.service("svc").submit(command="true", files={"a.txt": "a"})
    real = {"service": "svc", "task_id": task.id, "user": "ana", "path": "a.txt"}
    schema = schemathesis.openapi.from_url(f"{box.url}/openapi.json")
    yield Place(box, schema, real, (TOKEN, member))


def _operations(place: Place) -> Iterator[Any]:
    for found in place.schema.get_all_operations():
        operation = found.ok()
        if operation.path not in STREAMS:
            yield operation


@pytest.mark.parametrize("mode", [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE])
def test_every_operation(place: Place, mode: schemathesis.GenerationMode) -> None:
    asked = sum(_ask(place, each, each.as_strategy(generation_mode=mode)) for each in _operations(place))

    assert asked > 40 * EXAMPLES


def _ask(place: Place, operation: Any, cases: Any) -> int:
    count = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases, st.booleans(), st.sampled_from(place.tokens))
    def ask(case: Any, names_what_is_there: bool, token: str) -> None:
        nonlocal count
        if names_what_is_there and operation.method.upper() != "DELETE":
            case.path_parameters = {
                **case.path_parameters,
                **{k: v for k, v in place.real.items() if k in case.path_parameters},
            }
        response = case.call(headers={"Authorization": token}, timeout=20.0)
        count += 1
        case.validate_response(response, checks=CHECKS)

    with contextlib.suppress(Unsatisfiable):  # of an operation without arguments none can be wrong
        ask()
    return count
