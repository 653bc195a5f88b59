"""The front end as a hostile or clumsy client meets it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx
import pytest
import websockets
from websockets.exceptions import InvalidStatus

from tests.browser.fake_gateway import TOKEN, FakeGateway, progress
from tests.browser.stage import PATIENCE, FrontEnd, serving

T = TypeVar("T")


def run(play: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """In a thread of its own: the browser of other tests holds a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(play())).result()


@pytest.fixture
def http(front_end: FrontEnd, gateway: FakeGateway) -> Iterator[httpx.Client]:
    gateway.add("run", state="running", progress=progress(1, 2))
    gateway.log("run", "a line")
    with httpx.Client(base_url=front_end.url, trust_env=False, timeout=PATIENCE) as client:
        yield client


def test_another_sites_page_can_change_nothing(http: httpx.Client, gateway: FakeGateway) -> None:
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        for path in ("/live/tasks/run/cancel", "/train/submit"):
            assert http.post(path, json={"mode": "stop"}, headers=headers).status_code == 403
    assert gateway.tasks["run"].view["cancel"] is None
    assert not gateway.submitted


def test_another_sites_page_cannot_listen(front_end: FrontEnd, http: httpx.Client) -> None:
    async def listen() -> None:
        url = front_end.url.replace("http", "ws") + "/live/board"
        with pytest.raises(InvalidStatus, match="403"):
            async with websockets.connect(url, origin="http://evil.example", proxy=None):  # type: ignore[arg-type]
                pass

    run(listen)


def test_a_foreign_name_for_this_machine_is_not_answered_to(http: httpx.Client) -> None:
    answer = http.get("/live/tasks", headers={"host": "evil.example"})
    assert answer.status_code == 403
    assert "LORAPOOL_UI_HOSTS" in answer.json()["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/jobs",
        "/service",
        "/train/table",
        "/train/start",
        "/live/pool",
        "/live/tasks",
        "/live/tasks/run",
        "/data",
        "/generate",
        "/sets",
        "/drawing/choices",
        "/drawing/history",
    ],
)
def test_no_answer_holds_a_token(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 200
    assert TOKEN not in answer.text
    assert "the-service-token" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/live/tasks/run/files/..%2f..%2fstore%2fpassword",
        "/live/tasks/run/files/%2fetc%2fpasswd",
        "/live/tasks/run/files/a%00b",
        "/live/tasks/run/files/",
        "/live/tasks/..%2f..%2fservices",
        "/live/tasks/%2e%2e",
        "/ui/..%2fmain.py",
        "/live/tasks/run/nonsense",
    ],
)
def test_no_path_leads_out(http: httpx.Client, gateway: FakeGateway, path: str) -> None:
    gateway.paths.clear()
    assert http.get(path).status_code in (404, 405)
    # Whether there are accounts is asked now and then, whatever comes.
    assert set(gateway.paths) <= {"/api/v1/info"}


def test_a_file_that_could_run_is_saved_and_never_shown(http: httpx.Client, gateway: FakeGateway) -> None:
    gateway.file("run", "output/page.html", b"<script>", kind="other")
    gateway.file("run", "output/drawing.svg", b"<svg/>", kind="other")
    for name in ("page.html", "drawing.svg"):
        answer = http.get(f"/live/tasks/run/files/output/{name}")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_gradios_own_uploads_are_closed(http: httpx.Client) -> None:
    assert http.post("/gradio_api/upload", files={"files": b"x"}).status_code == 405
    for path in ("/gradio_api/file=/etc/passwd", "/file=/etc/passwd", "/gradio_api/info", "/config"):
        assert http.get(path).status_code == 404


def test_what_the_gateway_refuses_is_passed_on_in_its_words(http: httpx.Client) -> None:
    answer = http.get("/live/tasks/nothing")
    assert answer.status_code == 404
    assert answer.json() == {"error": "NotFound", "message": "There is no nothing."}


@pytest.mark.parametrize("path", ["/nothing-here", "/live/tasks/nothing"])
def test_a_person_at_an_address_that_leads_nowhere_gets_a_page_with_a_way_on(
    http: httpx.Client, path: str
) -> None:
    opened = http.get(path, headers={"accept": "text/html", "accept-language": "zh"})
    assert opened.status_code == 404
    assert opened.headers["content-type"].startswith("text/html")
    assert 'href="/jobs"' in opened.text and '<html lang="zh">' in opened.text
    asked = http.get(path, headers={"accept": "text/html", "sec-fetch-mode": "cors"})
    assert asked.json()["error"] == "NotFound"


def test_while_the_gateway_is_away_the_pages_are_there_and_say_so(
    http: httpx.Client, gateway: FakeGateway
) -> None:
    gateway.stop()
    try:
        assert http.get("/jobs").status_code == 200
        answer = http.get("/live/tasks")
    finally:
        gateway.start()
    assert answer.status_code == 503
    assert "safe" in answer.json()["message"]


def test_behind_a_path_prefix_every_address_has_it(front_end: FrontEnd, gateway: FakeGateway) -> None:
    with serving(gateway.endpoint, front_end.data_dir, "/lora") as url:
        page = httpx.get(f"{url}/jobs", trust_env=False).text
    addresses = [part.split('"')[0] for part in page.replace('src="', 'href="').split('href="')[1:]]
    assert len(addresses) > 5
    assert all(address.startswith(("/lora/", "#")) for address in addresses)


def test_sigterm_ends_it_promptly_though_pages_are_open(front_end: FrontEnd, gateway: FakeGateway) -> None:
    async def followed(url: str) -> None:
        async with websockets.connect(url.replace("http", "ws") + "/live/board", proxy=None) as socket:
            await socket.recv()
            leave.set()
            with pytest.raises(websockets.ConnectionClosed):
                while True:
                    await socket.recv()

    async def play() -> float:
        def started() -> str:
            return context.__enter__()

        url = await asyncio.to_thread(started)
        following = asyncio.create_task(followed(url))
        await asyncio.wait_for(leave.wait(), PATIENCE)
        at = time.monotonic()
        await asyncio.to_thread(context.__exit__, None, None, None)
        await asyncio.wait_for(following, PATIENCE)
        return time.monotonic() - at

    leave = asyncio.Event()
    context = serving(gateway.endpoint, front_end.data_dir)
    assert run(play) < PATIENCE


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/sets/folder?path=..%2f..", None),
        ("GET", "/sets/folder?path=jobs", None),
        ("GET", "/sets/picture?path=%2fetc%2fpasswd", None),
        ("GET", "/sets/picture?path=datasets%2f..%2ftoken", None),
        ("POST", "/sets/new", {"name": "a/../../b", "words": "x"}),
        ("POST", "/sets/new", {"name": "..", "words": "x"}),
        ("POST", "/sets/rename", {"folder": "datasets/moonlight", "words": "../../x", "repeats": 1}),
        ("POST", "/sets/remove", {"folder": "datasets"}),
        ("POST", "/sets/remove", {"folder": "."}),
        ("POST", "/sets/remove", {"folder": "models/tiny-shapes"}),
        ("POST", "/sets/remove", {"pictures": ["models/tiny-shapes/model_index.json"]}),
        ("POST", "/sets/captions", {"captions": {"jobs/run/a.png": "x"}}),
        ("POST", "/sets/upload/../../x", {}),
        ("POST", "/sets/upload/batch-0001?name=evil.py", {}),
        ("POST", "/sets/take/batch-0001?folder=models", None),
    ],
)
def test_data_sets_are_all_that_the_data_page_reaches(
    http: httpx.Client, front_end: FrontEnd, method: str, path: str, body: object
) -> None:
    before = sorted(front_end.data_dir.rglob("*.safetensors")) + sorted(front_end.data_dir.rglob("*.txt"))
    answer = http.request(method, path, json=body)
    assert answer.status_code in (400, 404, 405)
    after = sorted(front_end.data_dir.rglob("*.safetensors")) + sorted(front_end.data_dir.rglob("*.txt"))
    assert after == before
