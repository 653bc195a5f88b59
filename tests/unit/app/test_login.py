"""The login of a front end: who is let in, what a session is, and where one is led."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from app import login, tries
from app.login import COOKIE, LASTS, Credentials, Login
from app.proxies import Proxies
from app.sessions import cookie_name, cookie_of

TOKEN = "a-long-token"
HTML = {"accept": "text/html,*/*"}


class Clock:
    """A time that tests move."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def _inside(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"inside {request.url.path}")


async def _live(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("live")
    await socket.close()


def front_end(credentials: Credentials, clock: Clock, root_path: str = "") -> TestClient:
    routes = [Route("/{path:path}", _inside, methods=["GET", "POST"]), WebSocketRoute("/live/board", _live)]
    app = Login(Starlette(routes=list(reversed(routes))), credentials, root_path, clock)
    return TestClient(app, base_url="http://testserver", follow_redirects=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(login, "_WRONG_TAKES", 0.0)
    return Clock()


@pytest.fixture
def client(clock: Clock) -> Iterator[TestClient]:
    with front_end(Credentials(TOKEN), clock) as client:
        yield client


def log_in(client: TestClient, **form: str) -> int:
    return client.post("/login", data=form).status_code


def test_a_page_leads_to_the_login_and_back(client: TestClient) -> None:
    away = client.get("/jobs?task=x", headers=HTML)
    assert (away.status_code, away.headers["location"]) == (303, "/login?next=/jobs%3Ftask%3Dx")
    page = client.get(away.headers["location"])
    assert page.status_code == 200 and 'type="password"' in page.text
    back = client.post(away.headers["location"], data={"secret": f" {TOKEN}\n"})
    assert (back.status_code, back.headers["location"]) == (303, "/jobs?task=x")
    assert client.get("/jobs").text == "inside /jobs"


def test_the_login_is_in_the_language_of_the_browser_or_the_chosen_one(client: TestClient) -> None:
    chinese = {**HTML, "accept-language": "zh-CN,zh;q=0.9,en;q=0.8"}
    page = client.get("/login", headers=chinese)
    assert '<html lang="zh">' in page.text and ">登录</button>" in page.text
    assert '<option value="en" lang="en">English</option>' in page.text
    assert "在数据目录的 <code>token</code> 文件中" in page.text
    wrong = client.post("/login", data={"secret": "guess"}, headers=chinese)
    assert wrong.status_code == 401 and "令牌不对。" in wrong.text
    chosen = client.get("/login", headers={**chinese, "cookie": "lorapool_language=en"})
    assert ">Log in</button>" in chosen.text and '<html lang="en">' in chosen.text


def test_without_a_session_nothing_is_answered(client: TestClient) -> None:
    for path in ("/live/tasks", "/train/table", "/ui/js/train.js", "/ui/css/../../live/tasks"):
        refused = client.get(path)
        assert refused.status_code == 401, path
        assert "Log in" in refused.json()["message"]
    assert client.post("/train/submit", headers=HTML).status_code == 401
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/live/board"):
        pass


def test_with_one_everything_is(client: TestClient) -> None:
    assert log_in(client, secret=TOKEN) == 303
    assert client.post("/train/submit").status_code == 200
    with client.websocket_connect("/live/board") as socket:
        assert socket.receive_text() == "live"


def test_what_the_login_page_is_made_of_needs_none(client: TestClient) -> None:
    for path in ("/healthz", "/ui/css/look.css", "/ui/css/login.css", "/ui/js/theme.js"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("secret", ["", "a-long-toke", "a-long-token2", "Ä", "x" * 5000])
def test_a_wrong_token_is_said_and_lets_nobody_in(client: TestClient, secret: str) -> None:
    answer = client.post("/login", data={"secret": secret})
    assert answer.status_code == 401
    assert "This is not the token" in answer.text
    assert COOKIE not in answer.cookies
    assert client.get("/jobs").status_code == 401


def test_a_name_and_a_password_replace_the_token(clock: Clock) -> None:
    with front_end(Credentials(TOKEN, "ana", "pw"), clock) as client:
        assert "Password" in client.get("/login").text
        assert log_in(client, username="ana", secret=TOKEN) == 401
        assert log_in(client, username="bob", secret="pw") == 401
        assert log_in(client, username="ana", secret="pw") == 303
        assert client.get("/jobs").status_code == 200


def test_a_session_ends(client: TestClient, clock: Clock) -> None:
    log_in(client, secret=TOKEN)
    clock.now += LASTS - 1
    assert client.get("/jobs").status_code == 200
    clock.now += 2
    assert client.get("/jobs").status_code == 401


def test_a_session_ends_with_the_token_it_was_given_for(clock: Clock) -> None:
    session = Credentials(TOKEN).session(clock.now + 60)
    assert Credentials(TOKEN).holder(session, clock.now) == ""
    for other in (Credentials("another"), Credentials(TOKEN, "ana", "pw")):
        assert other.holder(session, clock.now) is None


@pytest.mark.parametrize(
    "forged", ["", ".", "9999999999.", "9999999999.00", "x.y", "²." + "0" * 64, "9" * 400]
)
def test_a_forged_session_is_none(forged: str, clock: Clock) -> None:
    assert Credentials(TOKEN).holder(forged, clock.now) is None


def test_a_session_cannot_be_prolonged(clock: Clock) -> None:
    until, _, signature = Credentials(TOKEN).session(clock.now + 60).partition(".")
    assert Credentials(TOKEN).holder(f"{int(until) + 1}.{signature}", clock.now) is None


def test_logging_out_forgets_the_session(client: TestClient) -> None:
    log_in(client, secret=TOKEN)
    assert client.post("/logout").headers["location"] == "/login"
    assert client.get("/jobs").status_code == 401


@pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb"])
def test_the_login_leads_to_no_other_site(client: TestClient, elsewhere: str) -> None:
    answer = client.post("/login", params={"next": elsewhere}, data={"secret": TOKEN})
    assert answer.headers["location"] == "/"


def test_what_is_written_into_the_address_is_not_run_by_the_page(client: TestClient) -> None:
    assert "<script>alert" not in client.get("/login", params={"next": '/"><script>alert(1)</script>'}).text


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(client: TestClient) -> None:
    said = client.post("/login", data={"secret": TOKEN}, headers={"x-forwarded-proto": "https"})
    cookie = said.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "secure" in cookie
    assert TOKEN not in cookie


def test_of_two_front_ends_on_one_machine_each_has_its_own_cookie() -> None:
    names = {cookie_name(Headers({"host": host})) for host in ("box", "box:8001", "box:8002", "[::1]")}
    assert names == {COOKIE, f"{COOKIE}_8001", f"{COOKIE}_8002"}
    session = Credentials(TOKEN).session(9e9)
    said = {"host": "box:8001", "cookie": f"{COOKIE}_8002=x; {COOKIE}=y; {COOKIE}_8001={session}"}
    assert cookie_of(Headers(said)) == session


def test_of_a_chain_of_proxies_the_browsers_side_says_whether_the_cookie_is_for_https_alone(
    client: TestClient,
) -> None:
    for forwarded, secure in (("https, http", True), ("http", False)):
        said = client.post("/login", data={"secret": TOKEN}, headers={"x-forwarded-proto": forwarded})
        assert ("secure" in said.headers["set-cookie"].lower()) is secure, forwarded


def test_who_guesses_is_not_listened_to_for_a_while(client: TestClient, clock: Clock) -> None:
    said = [client.post("/login", data={"secret": f"guess{n}"}).text for n in range(tries.MOST)]
    assert not any("Too many" in text for text in said)
    answer = client.post("/login", data={"secret": TOKEN})
    assert answer.status_code == 429 and "Too many wrong tries" in answer.text
    clock.now += tries.WITHIN
    assert log_in(client, secret=TOKEN) == 303


def test_behind_a_proxy_loopback_is_not_this_machine_alone(clock: Clock) -> None:
    inside = Starlette(routes=[Route("/{path:path}", _inside)])
    plain = Login(inside, Credentials(TOKEN), "", clock, asks=False)
    with TestClient(plain) as browser:
        assert browser.get("/jobs").status_code == 200
        for header in ("x-forwarded-for", "forwarded", "x-real-ip", "via"):
            assert browser.get("/jobs", headers={header: "10.0.0.9"}).status_code == 401, header
    named = Proxies.read({"LORAPOOL_UI_PROXIES": "127.0.0.1"})
    with TestClient(Login(inside, Credentials(TOKEN), "", clock, asks=False, proxies=named)) as browser:
        assert browser.get("/jobs").status_code == 401, "the proxy has left out whom it has asked"


def test_behind_a_path_prefix_it_stays_there(clock: Clock) -> None:
    with front_end(Credentials(TOKEN), clock, "/lora") as client:
        away = client.get("/lora/jobs", headers=HTML)
        assert away.headers["location"] == "/lora/login?next=/jobs"
        back = client.post(away.headers["location"], data={"secret": TOKEN})
        assert back.headers["location"] == "/lora/jobs"
        assert "path=/lora" in back.headers["set-cookie"].lower()
