"""Whatever path a browser names, the front end opens no file outside the data folder, and answers below 500.

It runs with an audit hook that notes each file it opens, lists, makes or removes; `LORAPOOL_FUZZ_EXAMPLES` makes it
longer. Asked are the front end itself and a member, of whom the files of another are as far away as any.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend import samples
from kohya_adapter.fields import FIELDS
from tests.support.gateway_box import TOKEN, Box, eventually, free_port
from tests.support.path_fuzz import AUDITED, PATHS, SECRET, encoded, links_out, opened, strange

_FRONT_END = """
import contextlib, os, sys
from pathlib import Path
import uvicorn
from app.main import create_app
from app.sessions import Credentials
@contextlib.asynccontextmanager
async def lifespan(app):
    yield
    await app.state.gateway.close()
endpoint, token, data, port = sys.argv[1:]
app = create_app(endpoint, token, Path(data), credentials=Credentials(token), asks=True)
app.router.lifespan_context = lifespan
uvicorn.run(app, port=int(port), log_level="error")
"""
PASSWORD = "correct horse"
BATCH = "00000000-batch"
BOBS = "what-only-bob-may-read"


@dataclass(frozen=True, slots=True)
class Place:
    """A front end, its book, a folder beside its data folder, and who asks."""

    data_dir: Path
    book: Path
    outside: Path
    task: str
    browsers: tuple[httpx.Client, httpx.Client]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("front-end")
    book, outside = folder / "book", folder / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    box = Box(folder / "data")
    try:
        box.start()
        task = _furnished(box, outside)
        with _serving(box, book, folder) as url, closing(_browser(url, "", TOKEN)) as own:
            with closing(_browser(url, "ana", PASSWORD)) as ana:
                yield Place(box.data_dir, book, outside, task, (own, ana))
    finally:
        box.close()


def _furnished(box: Box, outside: Path) -> str:
    """Samples, somebody else's data set and task, links that lead out; the id of the task."""
    samples.install(box.data_dir)
    box.create("kohya_job", "ScalableJob")
    with box.client() as client:
        client.add_user("ana", password=PASSWORD)
        client.add_user("bob", commands=True)
        client.set_owner("datasets/bobs", "bob")
        bob = client.make_token("bob").token or ""
    with box.client(bob) as client:
        task = client.service("kohya_job").submit(command="true", files={"a.txt": BOBS}).id
    concept = box.data_dir / "datasets" / "bobs" / "1_bob"
    concept.mkdir(parents=True)
    (concept / "a.txt").write_text(BOBS)
    (concept / "a.png").write_bytes(next(box.data_dir.joinpath("datasets").rglob("*.png")).read_bytes())
    for inside in ("datasets", "datasets/moonlight", "models", "loras", f"jobs/{task}"):
        links_out(box.data_dir / inside, outside)
    return task


class _serving:
    """The front end, with its hook."""

    def __init__(self, box: Box, book: Path, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._log = (folder / "front-end.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-c", AUDITED + _FRONT_END, box.url, TOKEN, str(box.data_dir), str(port)],
            env={**os.environ, "AUDIT_BOOK": str(book)},
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> str:
        eventually(self._answers)
        return self.url

    def _answers(self) -> bool:
        assert self._process.poll() is None, Path(self._log.name).read_text()
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


def _browser(url: str, name: str, secret: str) -> httpx.Client:
    browser = httpx.Client(base_url=url, timeout=20.0, trust_env=False)
    assert browser.post("/login", data={"username": name, "secret": secret}).status_code == 303
    return browser


Way = Callable[[httpx.Client, Place, str], httpx.Response]


def _get(url: str) -> Way:
    """A path in the address."""
    return lambda browser, at, path: browser.get(url.format(path=encoded(path), task=at.task))


def _asked(url: str, name: str) -> Way:
    """A path in the query."""
    return lambda browser, at, path: browser.get(url, params={name: path})


def _sent(url: str, body: Callable[[str], object]) -> Way:
    """A path in what is sent."""
    return lambda browser, at, path: browser.post(url, content=json.dumps(body(path)))


def _upload(browser: httpx.Client, at: Place, path: str) -> httpx.Response:
    return browser.post(f"/sets/upload/{BATCH}", params={"name": path}, content=b"x")


def _batch(browser: httpx.Client, at: Place, path: str) -> httpx.Response:
    return browser.post(f"/sets/upload/{encoded(path)}", params={"name": "a.txt"}, content=b"x")


def _take(browser: httpx.Client, at: Place, path: str) -> httpx.Response:
    browser.post(f"/sets/upload/{BATCH}", params={"name": "a.txt"}, content=b"x")
    return browser.post(f"/sets/take/{BATCH}", params={"folder": path})


def _toml(browser: httpx.Client, at: Place, path: str) -> httpx.Response:
    text = f"train_data_dir = {json.dumps(path)}\ndataset_config = {json.dumps(path)}\n"
    return browser.post("/train/import", content=json.dumps({"text": text}))


WAYS: list[Way] = [
    *(
        _get("/live/tasks/{path}"),
        _get("/live/tasks/{path}/log.txt"),
        _get("/live/tasks/{task}/files/{path}"),
    ),
    *(_get("/train/presets/{path}"), _get("/train/from/{path}"), _get("/ui/{path}"), _get("/{path}")),
    *(_get("/drawing/answer/{path}"), _get("/drawing/picture/{path}/0"), _get("/live/services/{path}/about")),
    *(_asked("/sets/folder", "path"), _asked("/sets/picture", "path")),
    *(_upload, _batch, _take, _toml),
    _sent("/sets/new", lambda path: {"name": path, "words": "x"}),
    _sent("/sets/new", lambda path: {"name": f"set-{abs(hash(path))}", "words": path}),
    _sent("/sets/captions", lambda path: {"captions": {path: "x"}}),
    _sent("/sets/edit", lambda path: {"folder": path, "add_first": ["x"]}),
    _sent("/sets/rename", lambda path: {"folder": path, "words": "x", "repeats": 1}),
    _sent("/sets/rename", lambda path: {"folder": "datasets/moonlight", "words": path, "repeats": 1}),
    _sent("/sets/remove", lambda path: {"folder": path}),
    _sent("/sets/remove", lambda path: {"pictures": [path]}),
    _sent("/sets/check", lambda path: {"train_data_dir": path}),
    _sent("/drawing/draw", lambda path: {"group": "g-1", "values": {"prompt": "x", "model": path}}),
    _sent(
        "/drawing/draw", lambda path: {"group": "g-1", "values": {"prompt": "x", "loras": [{"name": path}]}}
    ),
]


def _field(url: str, key: str) -> Way:
    return _sent(url, lambda path: {"values": {key: path}})


FORMS = [
    _field(f"/train/{action}", field.key)
    for field in FIELDS
    for action in ("check", "command", "submit")
    if field.format in ("file", "folder", "model") or field.key in ("additional_parameters", "output_name")
]


@settings(
    max_examples=int(os.environ.get("LORAPOOL_FUZZ_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.data())
def _ask(place: Place, data: st.DataObject) -> None:
    more = [
        "datasets/bobs/1_bob/a.png",
        "datasets/bobs",
        f"jobs/{place.task}/a.txt",
        "datasets/moonlight/link",
    ]
    path = data.draw(st.one_of(PATHS, st.sampled_from(more)))
    path = path.replace("@outside", str(place.outside)).replace("@data", str(place.data_dir))
    way = data.draw(st.one_of(st.sampled_from(WAYS), st.sampled_from(WAYS), st.sampled_from(FORMS)))
    browser = data.draw(st.sampled_from(place.browsers))

    answer = way(browser, place, path)

    assert answer.status_code < 500, answer.text
    assert SECRET not in answer.text and TOKEN not in answer.text and "root:x:0" not in answer.text
    assert browser is place.browsers[0] or BOBS not in answer.text


def test_no_path_leads_outside(place: Place) -> None:
    _ask(place)

    # One that does open a file, so that the hook is known to work.
    folder = place.data_dir / "datasets" / "new"
    folder.mkdir()
    assert place.browsers[0].get("/sets/folder", params={"path": "datasets/new"}).status_code == 200
    assert folder.resolve() in opened(place.book)
    assert strange(place.book, place.data_dir) == set()
    assert not any(path.is_relative_to(place.outside.resolve()) for path in opened(place.book))
    assert [path.name for path in place.outside.iterdir()] == ["secret.txt"]
    assert (place.outside / "secret.txt").read_text() == SECRET
