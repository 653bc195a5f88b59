"""A front end with accounts: who is let in, and that nobody sees what is another's."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from app import people
from app.main import create_app
from app.proxies import Proxies
from app.sessions import COOKIE, Credentials
from tests.support.gateway_box import TOKEN, Box, eventually, free_port

PASSWORD = "correct horse"


@dataclass(frozen=True, slots=True)
class Studio:
    """Two people, one front end; each has a task and a data set."""

    box: Box
    url: str
    tasks: dict[str, str]

    def browser(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20.0, trust_env=False)

    @contextmanager
    def as_user(self, name: str) -> Iterator[httpx.Client]:
        with self.browser() as browser:
            answer = browser.post("/login", data={"username": name, "secret": PASSWORD})
            assert answer.status_code == 303, answer.text
            yield browser


@asynccontextmanager
async def _without_the_form(app: Any) -> AsyncIterator[None]:
    """The Train page's form takes seconds to make; nothing here looks at it."""
    yield
    await app.state.boards.close()
    await app.state.gateway.close()


@contextmanager
def serving(box: Box, token: str, proxies: Proxies | None = None, front_end_token: str = "") -> Iterator[str]:
    port = free_port()
    app = create_app(
        box.url,
        token,
        box.data_dir,
        credentials=Credentials(token),
        proxies=proxies,
        asks=False,
        front_end_token=front_end_token,
    )
    app.router.lifespan_context = _without_the_form
    config = uvicorn.Config(app, "127.0.0.1", port, log_level="error", proxy_headers=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    box = Box(tmp_path_factory.mktemp("studio"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "_FRESH", 0.0)
        try:
            box.start()
            box.create("kohya_job", "ScalableJob")
            box.create("other", "ScalableJob")
            with serving(box, TOKEN) as url:
                assert httpx.get(f"{url}/live/tasks", trust_env=False).status_code == 200, (
                    "asks without accounts"
                )
                yield Studio(box, url, _people(box, url))
        finally:
            box.close()


def _people(box: Box, url: str) -> dict[str, str]:
    tasks = {}
    with box.client() as client:
        for name, role in (("ana", "member"), ("bob", "member"), ("eve", "viewer"), ("boss", "admin")):
            client.add_user(name, role=role, password=PASSWORD, commands=True)
            with box.client(client.make_token(name).token or "") as own:
                if role == "member":
                    submitted = own.service("kohya_job").submit(
                        command=f"echo secret of {name}", name=f"{name}s", files={"a.txt": f"file of {name}"}
                    )
                    tasks[name] = submitted.id
    return tasks


def test_with_accounts_nobody_comes_in_without_one(studio: Studio) -> None:
    with studio.browser() as browser:
        away = browser.get("/jobs", headers={"accept": "text/html"})
        assert (away.status_code, away.headers["location"]) == (303, "/login?next=/jobs")
        assert "Password or token" in browser.get("/login").text
        for path in ("/live/tasks", "/sets", "/train/choices", "/train/table", "/drawing/history"):
            assert browser.get(path).status_code == 401, path
        wrong = (
            ("ana", "wrong"),
            ("nobody", PASSWORD),
            ("", "lp_wrong"),
            ("ana", TOKEN),
            ("mistyped-pw", "x"),
        )
        for name, secret in wrong:
            refused = browser.post("/login", data={"username": name, "secret": secret})
            assert refused.status_code == 401 and "wrong" in refused.text


def test_one_sees_ones_own_whole_and_of_others_what_a_queue_shows(studio: Studio) -> None:
    with studio.as_user("ana") as ana:
        rows = {row["id"]: row for row in ana.get("/live/tasks").json()["tasks"]}
        own, other = rows[studio.tasks["ana"]], rows[studio.tasks["bob"]]
        assert own["command"] == "echo secret of ana"
        assert (other["name"], other["user"], other["state"]) == ("bobs", "bob", "waiting")
        assert "secret" not in str(other)
        for path in ("log?limit=9", "log.txt", "scalars", "files/a.txt"):
            assert ana.get(f"/live/tasks/{studio.tasks['bob']}/{path}").status_code == 403, path
            assert ana.get(f"/live/tasks/{studio.tasks['ana']}/{path}").status_code == 200, path
        assert ana.get(f"/train/from/{studio.tasks['bob']}").status_code == 403
        assert ana.get(f"/drawing/answer/{studio.tasks['bob']}").status_code == 403
        assert ana.post(f"/live/tasks/{studio.tasks['bob']}/cancel").status_code == 403
        assert (
            ana.post(f"/live/tasks/{studio.tasks['ana']}/priority", json={"priority": 5}).status_code == 403
        )


def test_a_data_set_is_its_makers(studio: Studio) -> None:
    with studio.as_user("ana") as ana, studio.as_user("bob") as bob, studio.as_user("eve") as eve:
        (studio.box.data_dir / "datasets" / "everybodys" / "1_sks").mkdir(parents=True)
        made = ana.post("/sets/new", json={"name": "cats", "words": "cat"})
        folder = made.json()["folder"]
        taken = bob.post("/sets/new", json={"name": "cats", "words": "cat"})
        assert (made.status_code, taken.status_code) == (200, 409)
        assert bob.post("/sets/new", json={"name": "everybodys", "words": "x"}).status_code == 409
        assert eve.post("/sets/new", json={"name": "owls", "words": "owl"}).status_code == 403
        assert {each["name"] for each in ana.get("/sets").json()["sets"]} == {"cats", "everybodys"}
        assert {each["name"] for each in bob.get("/sets").json()["sets"]} == {"everybodys"}
        assert "datasets/cats" not in bob.get("/train/choices").text
        form = {"values": {"train_data_dir": "datasets/cats"}}
        for way in (
            folder,
            f"datasets/everybodys/../cats/{Path(folder).name}",
            str(studio.box.data_dir / folder),
        ):
            assert ana.get("/sets/folder", params={"path": way}).status_code == 200
            assert bob.get("/sets/folder", params={"path": way}).status_code == 404
            assert bob.post("/sets/remove", json={"folder": way}).status_code == 404
            assert bob.post("/sets/check", json={"train_data_dir": way}).status_code == 404
            assert bob.post("/train/check", json={"values": {"train_data_dir": way}}).status_code == 404
        assert ana.post("/train/check", json=form).status_code == 200
        assert bob.post("/sets/remove", json={"folder": "datasets/everybodys"}).status_code == 403
        assert ana.post("/sets/remove", json={"folder": "datasets/cats"}).status_code == 200
        assert bob.post("/sets/new", json={"name": "cats", "words": "cat"}).status_code == 200


def test_a_training_cannot_name_what_is_anothers(studio: Studio) -> None:
    with studio.box.client() as client:
        client.change_user("bob", commands=False)
        bob = client.make_token("bob").token or ""
        client.set_owner("datasets/dogs", "ana")
    (studio.box.data_dir / "datasets" / "dogs").mkdir()
    argv = ["accelerate", "launch", "train_network.py", "--train_data_dir"]
    with studio.box.http(bob) as http:

        def asked(**body: object) -> int:
            return http.post("/api/v1/services/kohya_job/tasks", json=body).status_code

        for path in (
            "datasets/dogs",
            f"jobs/{studio.tasks['ana']}",
            "store",
            "/etc",
            "../x",
            "datasets",
            "token",
        ):
            assert asked(argv=[*argv, path]) == 403, path
            assert asked(argv=[*argv[:-1], f"--train_data_dir={path}"]) == 403, path
            config = f'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "{path}"\n'
            assert asked(argv=argv[:-1], files={"config.toml": config}) == 403, path
        assert asked(command="cat /etc/passwd") == asked(argv=["sh", "-c", "id"]) == 403
        assert asked(argv=[*argv[:-1], "--network_mod", "os.path"]) == 403
        assert asked(argv=argv[:-1], environment={"LD_PRELOAD": "x"}) == 403
        assert asked(argv=argv[:-1], files={"networks.py": "x"}) == 403
        assert asked(argv=["python", "-m", "backend.tools", "verify", "../token"]) == 403
        # What is everybody's gets as far as the look at the arguments.
        assert asked(argv=[*argv, "datasets/everybodys"]) == 400
    with studio.box.client() as client:
        client.change_user("bob", commands=True)


def test_a_session_ends_with_a_logout_a_disabled_account_and_a_new_password(studio: Studio) -> None:
    with studio.as_user("ana") as here, studio.as_user("ana") as there:
        (cookie,) = here.cookies.jar
        assert here.post("/logout").status_code == 303
        with studio.browser() as thief:
            thief.cookies.set(cookie.name, cookie.value or "")
            assert thief.get("/sets").status_code == 401
        with studio.box.client() as client:
            client.change_user("ana", disabled=True)
            assert there.get("/sets").status_code == 401
            client.change_user("ana", disabled=False)
            assert there.get("/sets").status_code == 200
            client.set_password("ana", PASSWORD)
            assert there.get("/sets").status_code == 401


def test_a_session_may_no_more_than_the_front_end_it_was_begun_with(studio: Studio) -> None:
    with studio.box.client() as client:
        token = client.service("other").view().token
    assert token
    with serving(studio.box, token) as url:
        other = Studio(studio.box, url, studio.tasks)
        for name in ("ana", "boss"):
            with other.as_user(name) as browser:
                assert browser.get("/live/tasks").json()["tasks"] == []
                assert browser.get(f"/live/tasks/{studio.tasks['ana']}").status_code == 403
                (stolen,) = browser.cookies.jar
            with studio.browser() as first:
                first.cookies.set(f"{COOKIE}_{httpx.URL(studio.url).port}", stolen.value or "")
                assert first.get("/live/tasks").status_code == 401, "a cookie of another front end"


def test_only_a_proxy_that_is_named_may_say_who_somebody_is(studio: Studio) -> None:
    said = {"x-forwarded-user": "bob"}
    with studio.browser() as browser:
        assert browser.get("/live/tasks", headers=said).status_code == 401
    proxies = Proxies.read({"LORAPOOL_UI_PROXIES": "127.0.0.1"})
    with serving(studio.box, TOKEN, proxies) as url, httpx.Client(base_url=url, trust_env=False) as browser:
        rows = browser.get("/live/tasks", headers=said).json()["tasks"]
        assert {row["command"] for row in rows} == {"", "echo secret of bob"}
        assert browser.get("/live/tasks").status_code == 401
        unknown = browser.get("/live/tasks", headers={"x-forwarded-user": "mallory"})
        assert unknown.status_code == 403 and "mallory" in unknown.json()["message"]
        twice = [("x-forwarded-user", "boss"), ("x-forwarded-user", "bob")]
        assert browser.get("/live/tasks", headers=twice).status_code == 401


def test_behind_a_proxy_the_token_of_a_service_alone_makes_nobody_an_account(studio: Studio) -> None:
    said = {"x-forwarded-user": "boss"}
    proxies = Proxies.read({"LORAPOOL_UI_PROXIES": "127.0.0.1"})
    with studio.box.client() as client:
        service = client.service("other").view()
    assert service.token and service.front_end_token
    with serving(studio.box, service.token, proxies) as url:
        refused = httpx.get(f"{url}/live/tasks", headers=said, trust_env=False)
    assert refused.status_code == 403 and "LORAPOOL_FRONT_END_TOKEN" in refused.json()["message"]
    with serving(studio.box, service.token, proxies, service.front_end_token) as url:
        assert httpx.get(f"{url}/people/me", headers=said, trust_env=False).json()["name"] == "boss"


def test_the_audit_log_says_who_did_what_from_where_and_no_secret(studio: Studio) -> None:
    with studio.as_user("ana") as ana:
        ana.post(f"/live/tasks/{studio.tasks['ana']}/priority", json={"priority": -3})
        ana.get(f"/live/tasks/{studio.tasks['bob']}/log?limit=9")
    with studio.box.client() as client:
        log = client.audit(limit=1000).entries
    did = {(entry.who, entry.did, entry.to, entry.status) for entry in log}
    assert ("ana", "set_priority", studio.tasks["ana"], 200) in did
    assert ("ana", "get_log", studio.tasks["bob"], 403) in did
    assert ("", "log_in", "ana", 200) in did and ("", "log_in", "ana", 401) in did
    assert ("", "change_user", "ana", 200) in did and ("", "add_user", "ana", 200) in did
    assert ("", "set_owner", "datasets/cats ana", 200) in did
    assert {entry.source for entry in log if entry.did == "set_priority"} == {"127.0.0.1 via 127.0.0.1"}
    whole = repr(log) + studio.box.log.read_text()
    assert "mistyped-pw" not in whole
    assert PASSWORD not in whole and TOKEN not in whole and "lp_" not in whole
