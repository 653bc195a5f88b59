"""Accounts over the control API.

The name of one is one person's for good: what is kept under it is nobody else's. A task that waits because of its
user's limit says so in its row, on its own and in its stream of events.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.cli.tasks import _doing
from backend.errors import Conflict, Forbidden, FormerName, NotFound, OverLimit, Unauthorized
from backend.gateway.bounded import SMALL
from backend.gateway.users_api import MOST_FAILURES
from backend.store import accounts
from backend.store.accounts import Token
from backend.store.keys import key
from tests.support.gateway_box import Box


def test_nobody_else_gets_the_name_of_an_account_that_was_removed(box: Box, name: str) -> None:
    box.create(name, "ScalableJob")
    user = f"{name}-ana"
    with box.client() as client:
        client.add_user(user, password="the first password", limits={"running": 1}, commands=True)
        token = client.make_token(user).token
        assert token is not None
        with box.client(token) as ana:
            task = ana.service(name).submit(command="true").id
        session = client.log_in(name=user, password="the first password").token
        client.set_owner(f"datasets/{name}", user)
        client.remove_user(user)

        with pytest.raises(FormerName, match=r"was removed on .* choose another name"):
            client.add_user(user)
        with pytest.raises(NotFound):
            client.user(user)

        back = client.add_user(user, returning=True)
        again = client.make_token(user).token
        assert again is not None
        with pytest.raises(Conflict, match="already; it was not changed"):
            client.add_user(user, returning=True)
        with pytest.raises(Unauthorized):
            client.log_in(name=user, password="the first password")
        assert ("add_user", f"{user} returning") in {(e.did, e.to) for e in client.audit(limit=50).entries}
    assert back.limits.running is None and not back.password, "what it may is not what is kept under its name"
    with box.client(again) as ana:
        assert ana.task(task).view().user == user and list(ana.task(task).logs()) == []
        assert ana.access([f"datasets/{name}"]).access == {f"datasets/{name}": "change"}
    for void in (token, session):
        with box.client(void) as old, pytest.raises(Unauthorized):
            old.me()


@pytest.mark.parametrize("state", ["waits", "has ended", "a data set"])
def test_a_name_under_which_something_is_kept_is_given_to_nobody_unawares(
    box: Box, name: str, state: str
) -> None:
    """As a deployment has it that is older than accounts, or that removed one before removed ones were remembered."""
    own = box.create(name, "ScalableJob")
    user = f"{name}-bob"
    with box.client(own) as service, box.client() as client:
        if state == "a data set":
            client.set_owner(f"datasets/{name}", user)
        else:
            task = service.service(name).submit(command="true", user=user)
            with box.store().redis as raw:
                raw.hdel(key("owners"), f"jobs/{task.id}")
            if state == "has ended":
                task.cancel()
        with pytest.raises(FormerName, match=r"of a user .* already"):
            client.add_user(user)
        client.add_user(f"{user}2")
        client.add_user(user, returning=True)


def test_what_is_written_about_an_account_while_it_is_removed_is_nobodys(box: Box, name: str) -> None:
    """A login, a change and a new password that overlap with the removal."""
    with box.client() as client:
        client.add_user(name)
        store = box.store()
        account = store.run(accounts.maybe(name))
        assert account is not None
        client.remove_user(name)
        assert not store.run(accounts.save(account))
        assert not store.run(accounts.set_password(name, "kept"))
        assert not store.run(accounts.keep_token(name, "f" * 64, Token("late", "session", 0.0)))
        client.add_user(name, returning=True)
        assert client.tokens(name) == [] and not client.user(name).password
        store.close()


def test_many_guesses_at_once_are_no_more_than_one_after_the_other(box: Box, name: str) -> None:
    with box.client() as client:
        client.add_user(name, password="correct horse")
        session = client.log_in(name=name, password="correct horse").token

    def guess(n: int) -> int:
        body = {"name": name, "password": f"wrong horse {n}"}
        return http.post("/api/v1/sessions", json=body).status_code

    with box.http() as http, ThreadPoolExecutor(24) as pool:
        said = Counter(pool.map(guess, range(24)))
    assert said == {401: MOST_FAILURES, 429: 24 - MOST_FAILURES}
    with box.client(session) as client, pytest.raises(OverLimit):
        client.set_password(name, "another password", old="a guess")


def test_a_large_body_is_taken_from_who_has_a_token(box: Box, name: str) -> None:
    own = box.create(name, "ScalableJob")
    large = {"kind": "query", "data": "", "details": {"text": "x" * (SMALL + 1)}}
    for token, status in (("", 401), ("wrong", 401), (own, 200)):
        with box.http(token) as http:
            assert http.post(f"/api/v1/services/{name}/tasks", json=large).status_code == status, token
    with box.http("wrong") as http:
        small = http.post(f"/api/v1/services/{name}/tasks", json={"kind": "query", "data": ""})
        assert small.status_code == 401


def test_only_an_administrator_says_that_somebody_is_back(box: Box, name: str) -> None:
    with box.client() as client:
        client.add_user(name)
        client.remove_user(name)
        own = box.create(f"{name}-service", "ScalableJob")
    with box.client(own) as service, pytest.raises(Forbidden):
        service.add_user(name, returning=True)


def test_a_task_over_its_users_limit_says_what_it_waits_for(box: Box, name: str) -> None:
    box.create(name, "ScalableJob")
    ana, bob = f"{name}-ana", f"{name}-bob"
    tokens = {}
    with box.client() as client:
        for user in (ana, bob):
            client.add_user(user, commands=True)
            tokens[user] = client.make_token(user).token or ""
    with box.client(tokens[ana]) as hers, box.client(tokens[bob]) as his, box.client() as boss:
        task = hers.service(name).submit(command="true")
        assert task.view().waits_for == ""
        boss.change_user(ana, limits={"running": 0})

        assert task.view().waits_for == "you have 0 of 0 tasks running"
        kind, told = next(iter(task.events()))
        assert kind == "task" and told.waits_for == "you have 0 of 0 tasks running"
        (row,) = boss.tasks(service=name)
        assert row.waits_for == f"{ana} has 0 of 0 tasks running"
        assert _doing(row) == f"waits: {ana} has 0 of 0 tasks running"
        (seen,) = his.tasks(service=name)
        assert seen.waits_for == "its user has reached a limit"

        task.cancel()
        assert task.view().waits_for == ""


def test_a_task_of_a_paused_service_says_so_to_everybody(box: Box, name: str) -> None:
    box.create(name, "ScalableJob")
    with box.client() as client:
        client.add_user(name)
        task = client.service(name).submit(command="true")
        client.service(name).stop()
        assert task.view().waits_for == "the queue is paused"
        with box.client(client.make_token(name).token or "") as other:
            (seen,) = other.tasks(service=name)
            assert seen.waits_for == "the queue is paused"
        client.service(name).start()
        assert task.view().waits_for == ""
        task.cancel()
