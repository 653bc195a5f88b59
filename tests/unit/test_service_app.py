"""What a description says about the app that answers queries."""

from __future__ import annotations

from typing import Any

import pytest

from backend.errors import InvalidArgument
from backend.service import Description, parse


def described(container: dict[str, Any], **rpc: Any) -> Description:
    return parse(
        {"metadata": {"name": "s", "type": "ScalableJob", **rpc}, "containers": [container]}
    ).description


@pytest.mark.parametrize("start", ["command", "script"])
def test_a_container_with_a_port_and_a_start_is_the_app(start: str) -> None:
    app = described({start: "serve", "port": 8000}).app
    assert app is not None and app.port == 8000


@pytest.mark.parametrize("container", [{"image": "x"}, {"command": "init"}, {"image": "x", "port": 8000}])
def test_without_both_there_is_none(container: dict[str, Any]) -> None:
    assert described(container).app is None


@pytest.mark.parametrize("port", [8080, 9090, 0, 65536, "http"])
def test_a_port_that_cannot_be_is_refused_by_its_key(port: object) -> None:
    with pytest.raises(InvalidArgument) as refused:
        described({"command": "serve", "port": port})
    assert refused.value.field == "containers.0.port"
    assert "nothing was deployed" in refused.value.message


def test_the_reserved_ports_are_named() -> None:
    with pytest.raises(InvalidArgument, match="8080 and 9090 are reserved"):
        described({"command": "serve", "port": 8080})


def test_variables_are_texts() -> None:
    app = described({"command": "x", "port": 1, "env": [{"name": "A", "value": 3}, {"name": "B"}]}).app
    assert app is not None
    assert [(variable.name, variable.value) for variable in app.env] == [("A", "3"), ("B", "")]


def test_a_variable_needs_a_name() -> None:
    with pytest.raises(InvalidArgument) as refused:
        described({"command": "x", "port": 1, "env": [{"value": "3"}]})
    assert refused.value.field.startswith("containers.0.env.0.name")


@pytest.mark.parametrize(
    "rpc",
    [
        {"rpc.keepalive": 5, "rpc.health_check_path": "/ok", "rpc.proxy_path": "/v1"},
        {"rpc": {"keepalive": 5, "health_check_path": "/ok", "proxy_path": "/v1"}},
    ],
)
def test_how_it_is_asked_may_be_dotted_or_nested(rpc: dict[str, Any]) -> None:
    read = described({"command": "x", "port": 1}, **rpc).rpc
    assert (read.keepalive, read.health_check_path, read.proxy_path) == (5, "/ok", "/v1")
    assert read.worker_threads == 5
