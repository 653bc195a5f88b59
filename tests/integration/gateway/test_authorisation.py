"""Every endpoint × everybody who may ask: who is let in, and who is not.

A route that is missing in the table fails the first test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from backend.storage.gateway import Ticket
from backend.store.keys import key
from tests.support.gateway_box import TOKEN, Box, eventually
from tests.support.store_world import World

WHO = ("nobody", "wrong", "front end", "other", "viewer", "member", "owner", "service", "admin", "deployment")
"""No token, a wrong one, the credential of the service's front ends, another service's token; accounts: a viewer, a
member, the member whose task it is; the service's own token; an account that is an administrator; the deployment's
token."""

Statuses = tuple[int, ...]

OPEN = (200,) * 10
ANYBODY = (401, 401, 401, *(200,) * 7)
"""Answers everybody who has a token with what that token covers."""
SERVICE = (401, 401, 401, 403, *(200,) * 6)
"""What everybody sees who shares a service."""
ADMINISTRATOR = (401, 401, 401, 403, 403, 403, 403, 403, 200, 200)
METRICS = (401, 401, 401, 200, 403, 403, 403, 200, 200, 200)
SELF = (401, 401, 401, 403, 403, 403, 200, 403, 200, 200)
"""An account, about itself."""
LOGIN = (401, 401, 200, 200, 403, 403, 403, 200, 403, 200)
"""A front end, for somebody who gives a password or a token."""
PROVED = (401, 401, 200, 403, 403, 403, 403, 403, 403, 200)
"""A front end, for somebody whom a proxy has asked: nothing else proves who it is."""
BY_LINK = (403,) * 10
"""Opened by a signed link, which these requests have not."""


def contents(status: int = 200) -> Statuses:
    """What a task's owner may, and who operates its service."""
    return (401, 401, 401, 403, 403, 403, *(status,) * 4)


CONTROL: dict[tuple[str, str], Statuses] = {
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): METRICS,
    ("GET", "/api/v1/servicediscovery/upstreams/{service}"): OPEN,
    ("GET", "/api/v1/info"): ANYBODY,
    ("GET", "/api/v1/services"): ANYBODY,
    ("POST", "/api/v1/services"): ADMINISTRATOR,
    ("GET", "/api/v1/services/{service}"): SERVICE,
    ("GET", "/api/v1/services/{service}/history"): SERVICE,
    ("GET", "/api/v1/services/{service}/scaling"): SERVICE,
    ("GET", "/api/v1/services/{service}/usage"): SERVICE,
    ("GET", "/api/v1/services/{service}/init-log"): (401, 401, 401, 403, 403, 403, 403, 200, 200, 200),
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
    ("GET", "/api/v1/loras.zip"): (401, 401, 401, *(404,) * 7),
    ("POST", "/api/v1/services/{service}/tasks"): (401, 401, 401, 403, 403, *(200,) * 5),
    ("GET", "/api/v1/tasks"): SERVICE,
    ("GET", "/api/v1/tasks/{task_id}"): SERVICE,
    ("POST", "/api/v1/tasks/{task_id}/priority"): contents(),
    ("POST", "/api/v1/tasks/{task_id}/retry"): contents(409),
    ("GET", "/api/v1/tasks/{task_id}/room"): contents(),
    ("GET", "/api/v1/tasks/{task_id}/log"): contents(),
    ("GET", "/api/v1/tasks/{task_id}/log.txt"): contents(),
    ("GET", "/api/v1/tasks/{task_id}/scalars"): contents(),
    ("GET", "/api/v1/tasks/{task_id}/files"): contents(),
    ("GET", "/api/v1/tasks/{task_id}/files/{path}"): contents(),
    ("GET", "/api/v1/tasks/{task_id}/images"): contents(404),
    ("GET", "/api/v1/tasks/{task_id}/events"): contents(),
    ("GET", "/api/v1/outputs/{path}"): BY_LINK,
    ("POST", "/api/v1/tasks/{task_id}/cancel"): contents(),
    ("DELETE", "/api/v1/tasks/{task_id}"): (401, 401, 401, 403, 403, 403, 200, 404, 404, 404),
    ("GET", "/api/v1/me"): ANYBODY,
    ("GET", "/api/v1/users"): ADMINISTRATOR,
    ("POST", "/api/v1/users"): ADMINISTRATOR,
    ("GET", "/api/v1/users/{user}"): SELF,
    ("PATCH", "/api/v1/users/{user}"): ADMINISTRATOR,
    ("PUT", "/api/v1/users/{user}/password"): SELF,
    ("GET", "/api/v1/users/{user}/tokens"): SELF,
    ("POST", "/api/v1/users/{user}/tokens"): SELF,
    ("DELETE", "/api/v1/users/{user}/tokens/{token_id}"): tuple(404 if s == 200 else s for s in SELF),
    ("POST", "/api/v1/access"): ANYBODY,
    ("PUT", "/api/v1/owners"): (401, 401, 401, 200, 403, 403, 403, 200, 200, 200),
    ("GET", "/api/v1/audit"): ADMINISTRATOR,
    ("POST", "/api/v1/sessions"): LOGIN,
    ("POST", "/api/v1/services/{service}/front-end-token"): ADMINISTRATOR,
    ("DELETE", "/api/v1/users/{user}"): ADMINISTRATOR,
    ("DELETE", "/api/v1/services/{service}"): (*ADMINISTRATOR[:-1], 404),
    ("DELETE", "/api/v1/sessions/current"): (401, 401, 401, 409, 200, 200, 200, 401, 200, 409),
}
"""What they are answered, in the order of `WHO`; what ends something comes last."""

PUT, LOOK, OPERATE = "put", "look", "operate"

QUEUES: list[tuple[str, str, str, str, int]] = [
    (PUT, "POST", "", "?taskType=query", 200),
    (PUT, "POST", "/v1/infer", "?taskType=query", 200),
    (OPERATE, "GET", "", "?_raw_=false", 200),
    (LOOK, "GET", "", "?_attrs_=true", 200),
    (LOOK, "GET", "", "?_search_=true&_index_=1", 200),
    (LOOK, "GET", "", "?_count_=true", 200),
    (OPERATE, "GET", "", "?_count_=true&_watch_=true", 409),
    (OPERATE, "GET", "", "?_watch_=true", 409),
    (OPERATE, "PUT", "", "?_indexes_=1", 409),
    (OPERATE, "PUT", "", "?_indexes_=1&_negative_=true", 409),
    (OPERATE, "POST", "/sink", "", 200),
    (OPERATE, "GET", "/sink", "?_raw_=false", 200),
    (LOOK, "GET", "/sink", "?_attrs_=true", 200),
    (OPERATE, "GET", "/sink", "?_watch_=true", 200),
    (OPERATE, "PUT", "/sink", "?_indexes_=99", 200),
    (OPERATE, "PUT", "/sink", "?_indexes_=99&_negative_=true", 200),
    (OPERATE, "DELETE", "/sink", "?_indexes_=99", 200),
    (OPERATE, "DELETE", "/sink", "?_trunc_=true&_index_=1", 200),
    (OPERATE, "GET", "/dead", "", 204),
    (OPERATE, "POST", "/dead", "", 409),
    (OPERATE, "PUT", "/dead", "?_indexes_=1", 200),
    (OPERATE, "DELETE", "/dead", "?_indexes_=1", 200),
    (OPERATE, "DELETE", "", "?_indexes_=99", 200),
    (OPERATE, "DELETE", "", "?_trunc_=true&_index_=1", 200),
    (OPERATE, "POST", "", "?_eos_=true", 200),
]
"""Who may, method, sub-path, operation, and the status for whom the token lets in."""


def of_queue(right: str, status: int) -> Statuses:
    """Accounts that do not operate the service put their tasks, and see how many there are."""
    viewer = status if right == LOOK else 403
    member = 403 if right == OPERATE else status
    return (401, 401, 401, 403, viewer, member, member, status, status, status)


@dataclass(frozen=True, slots=True)
class Asked:
    """A service with a task, and the tokens in the order of `WHO`."""

    http: httpx.Client
    service: str
    task: str
    user: str
    tokens: tuple[str | None, ...]

    def statuses(self, method: str, path: str, body: Any = None, content: bytes | None = None) -> Statuses:
        """What everybody is answered; `@n` in path and body is another number for each."""
        found = []
        for n, token in enumerate(self.tokens):
            headers = {} if token is None else {"Authorization": token}
            sent = None if body is None else json.loads(json.dumps(body).replace("@n", str(n)))
            url = path.replace("@n", str(n))
            # Only the head of the answer: some are streams.
            with self.http.stream(method, url, headers=headers, json=sent, content=content) as answer:
                found.append(answer.status_code)
                if answer.status_code in (401, 403):
                    assert answer.read() and answer.json()["message"]
        return tuple(found)


@pytest.fixture
def asked(box: Box, name: str) -> Iterator[Asked]:
    own, other = box.create(name, "ScalableJob"), box.create(f"{name}-other", "ScalableJob")
    with box.client() as client:
        accounts = [f"{name}-{role}" for role in ("viewer", "member", "owner", "admin")]
        for account in accounts:
            role = account.rpartition("-")[2].replace("owner", "member")
            client.add_user(account, role=role, commands=True)
        viewer, member, owner, admin = (client.make_token(each, "for the test").token for each in accounts)
        assert owner is not None
        front_end = client.service(name).view().front_end_token
    with box.client(owner) as client:
        task = client.service(name).submit(command="true", files={"a.txt": "a"})
    with httpx.Client(base_url=box.url, timeout=20.0) as http:
        tokens = (None, "wrong", front_end, other, viewer, member, owner, own, admin, TOKEN)
        yield Asked(http, name, task.id, accounts[2], tokens)


def test_no_endpoint_of_the_document_is_missing_in_the_table(box: Box) -> None:
    document = httpx.get(f"{box.url}/openapi.json").json()
    known = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if method in ("get", "post", "put", "delete", "patch") and not path.startswith("/api/predict/")
    }

    assert known == set(CONTROL)


def test_the_control_api(box: Box, asked: Asked) -> None:
    with box.client() as client:
        client.set_password(asked.user, "old password")
        for n in range(len(WHO)):
            client.add_user(f"{asked.service}-removed{n}")
    bodies: dict[tuple[str, str], Any] = {
        ("POST", "/api/v1/services"): {"metadata": {"name": f"{asked.service}-new", "type": "Queue"}},
        ("PUT", "/api/v1/services/{service}"): {"metadata": {"name": asked.service, "type": "ScalableJob"}},
        ("POST", "/api/v1/services/{service}/scale"): {"instances": 0},
        ("PUT", "/api/v1/services/{service}/autoscaler"): {"min": 0, "max": 1},
        ("PUT", "/api/v1/services/{service}/cronscaler"): {
            "ScaleJobs": [{"Name": "evening", "Schedule": "0 0 18 * * *", "TargetSize": 1}]
        },
        ("POST", "/api/v1/services/{service}/tasks"): {"kind": "query", "data": ""},
        ("POST", "/api/v1/tasks/{task_id}/priority"): {"priority": -1},
        ("POST", "/api/v1/users"): {"name": f"{asked.service}-new@n"},
        ("PATCH", "/api/v1/users/{user}"): {"limits": {"running": 3}},
        ("PUT", "/api/v1/users/{user}/password"): {"password": "new password", "old": "old password"},
        ("POST", "/api/v1/users/{user}/tokens"): {"name": "another"},
        ("POST", "/api/v1/access"): {"paths": ["datasets"]},
        ("PUT", "/api/v1/owners"): {"place": f"datasets/{asked.service}-@n", "owner": asked.user},
        ("POST", "/api/v1/sessions"): {"name": asked.user, "password": "new password"},
    }
    found = {}
    for method, path in CONTROL:
        user = (
            f"{asked.service}-removed@n"
            if (method, path) == ("DELETE", "/api/v1/users/{user}")
            else asked.user
        )
        url = path.format(
            service=asked.service, task_id=asked.task, path="a.txt", user=user, token_id="missing"
        )
        if path in ("/api/v1/tasks", "/api/v1/decisions"):
            url += f"?service={asked.service}"
        found[method, path] = asked.statuses(method, url, bodies.get((method, path)))

    assert found == CONTROL


def test_only_a_front_end_is_believed_when_it_says_who_somebody_is(box: Box, asked: Asked) -> None:
    for name in (asked.user, f"{asked.service}-admin"):
        assert asked.statuses("POST", "/api/v1/sessions", {"name": name, "proved": True}) == PROVED, name
    front_end = asked.tokens[WHO.index("front end")]
    assert front_end is not None
    with box.client(front_end) as client:
        session = client.log_in(name=f"{asked.service}-admin", proved=True)
    with box.client(session.token) as client:
        assert client.me().services == [asked.service], "a session covers more than its front end"
    with box.client() as client:
        new = client.service(asked.service).renew_front_end_token().front_end_token
        last = client.audit(limit=20).entries
    wanted = {"name": asked.user, "proved": True}
    assert asked.statuses("POST", "/api/v1/sessions", wanted)[WHO.index("front end")] == 401
    assert new and new != front_end
    assert ("log_in", f"front end of {asked.service}") in {(entry.did, entry.role) for entry in last}
    assert ("log_in", f"service {asked.service}", 403) in {(e.did, e.role, e.status) for e in last}


def test_a_service_of_an_older_deployment_gets_a_credential_for_its_front_ends(box: Box, name: str) -> None:
    box.create(name, "ScalableJob")
    with box.store().redis as raw:
        raw.hdel(key("service", name), "front_end_token")
        raw.publish(key("events"), json.dumps({"kind": "service", "id": name, "service": name}))
        # also when nobody asks the gateway for anything: its front end waits for that
        eventually(lambda: raw.hget(key("service", name), "front_end_token"))


def test_the_queues(asked: Asked) -> None:
    found, expected = {}, {}
    for right, method, sub, query, status in QUEUES:
        url = f"/api/predict/{asked.service}{sub}{query}"
        found[method, sub, query] = asked.statuses(method, url, content=b"")
        expected[method, sub, query] = of_queue(right, status)

    assert found == expected


def test_watchers_over_a_websocket(box: Box, asked: Asked) -> None:
    found = []
    for token in asked.tokens:
        headers = {} if token is None else {"Authorization": token}
        try:
            with connect(
                f"{box.url.replace('http', 'ws')}/api/predict/{asked.service}/sink?_watch_=true&_attrs_=true",
                additional_headers=headers,
            ):
                found.append(101)
        except InvalidStatus as refused:
            found.append(refused.response.status_code)

    assert found == [401, 401, 401, 403, 403, 403, 403, 101, 101, 101]


FILES_OF_BOXES: list[tuple[str, str, int]] = [
    ("GET", "", 200),
    ("GET", "/needs", 200),
    ("GET", "/list?path=jobs/{task}", 200),
    ("GET", "/hash?path=jobs/{task}/a.txt", 200),
    ("GET", "/files/jobs/{task}/a.txt", 412),
    ("PUT", "/files/jobs/{task}/b.txt?sha256=" + hashlib.sha256(b"b").hexdigest(), 200),
    ("DELETE", "/files/jobs/{task}/b.txt", 200),
    ("GET", "/parts/jobs/{task}/c.txt?upload=0123456789&size=1", 200),
    ("PUT", "/parts/jobs/{task}/c.txt?upload=0123456789&offset=0&md5=" + hashlib.md5(b"b").hexdigest(), 200),
    ("DELETE", "/parts/jobs/{task}/c.txt?upload=0123456789", 200),
    ("POST", "/complete/jobs/{task}/c.txt?upload=0123456789", 503),
    ("POST", "/publish/jobs/{task}/a.txt", 200),
    ("GET", "/needs of another", 403),
    ("GET", "/hash?path=token", 403),
    ("PUT", "/files/datasets/x?sha256=" + hashlib.sha256(b"b").hexdigest(), 403),
]
"""What a box asks for an attempt that it holds, and the status for who has the deployment's token; the last ones are
nobody's: another attempt's, the deployment's own, and what that task does not write."""


def test_the_files_of_boxes(box: Box, asked: Asked) -> None:
    """Open to administrators alone, as is the store; and to them for an attempt that the instance holds."""
    world = World(box.store_url)
    instance = world.instance()
    holder = world.running(instance, argv=("true",))
    folder = box.data_dir / "jobs" / holder.task
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    found, expected = {}, {}
    for method, path, status in FILES_OF_BOXES:
        whose = instance if "another" not in path else "somebody"
        asked.http.headers.update(Ticket(holder.task, holder.attempt, whose).headers)
        url = "/api/v1/box" + path.removesuffix(" of another").format(task=holder.task)
        sent = b"b" if method == "PUT" else None
        found[method, path] = asked.statuses(method, url, content=sent)
        expected[method, path] = (401, 401, 401, *(403,) * 5, status, status)
    world.close()

    assert found == expected


def test_a_service_that_does_not_exist_is_no_secret_to_who_has_a_token_and_one_to_others(
    asked: Asked,
) -> None:
    accounts = (404,) * 5
    assert asked.statuses("GET", "/api/predict/missing?_attrs_=true") == (401, 401, 401, 404, 404, *accounts)
    assert asked.statuses("GET", "/api/v1/services/missing") == (
        401,
        401,
        401,
        403,
        404,
        404,
        404,
        403,
        404,
        404,
    )
    assert asked.statuses("GET", "/api/v1/tasks/missing") == (401, 401, 401, 404, 404, *accounts)
