"""The front end as one application, and the process that serves it."""

from __future__ import annotations

import os
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.middleware.gzip import GZipMiddleware

from app import data, drawing, languages, live, pages, service, training, users
from app.board import Boards
from app.gateway import Gateway
from app.languages import Catalogue, Languages
from app.late import LateInEach
from app.login import Credentials, Login
from app.people import People
from app.pool import Pool
from app.proxies import CREDENTIAL, Proxies
from app.relay import Relays
from app.security import Guard, PageOnly, is_loopback
from backend.errors import InvalidInput

_LONGEST_GOODBYE = 1
"""Seconds that open streams get at the end: pages resume by themselves."""


def create_app(
    endpoint: str,
    token: str,
    data_dir: Path,
    *,
    host: str = "127.0.0.1",
    root_path: str = "",
    credentials: Credentials | None = None,
    proxies: Proxies | None = None,
    asks: bool = True,
    front_end_token: str = "",
) -> FastAPI:
    """The front end of the deployment at `endpoint`; without one, a form that prints commands.

    Args:
        token: of the gateway; no page ever sees it.
        data_dir: as this process sees it, for the pickers and the checks.
        host: what it listens on; on loopback only addresses and `LORAPOOL_UI_HOSTS` are answered to.
        root_path: the path prefix under which a proxy shows it, such as `/lora`, without a slash at the end.
        credentials: what lets people in; without any, whoever reaches it is let in, as the front end itself.
        proxies: who may say in a header who somebody is.
        asks: whether a login is asked for as long as there are no accounts.
        front_end_token: what the gateway believes when one of these proxies says who somebody is; see `People`.
    """
    app = FastAPI(title="lorapool", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan)
    app.state.gateway = Gateway(endpoint, token)
    app.state.endpoint, app.state.token = endpoint, token
    app.state.boards, app.state.relays = Boards(), Relays()
    app.state.data_dir = data_dir.resolve()
    app.state.root_path = root_path
    app.state.languages = known = Languages(data_dir)
    app.state.pool = Pool(app.state.gateway)
    app.add_api_route("/healthz", _healthz)
    if not endpoint:
        app.add_api_route("/train/submit", _only_prints, methods=["POST"])
    for part in (data, drawing, languages, live, pages, service, training, users):
        part.install(app)
    app.state.form = LateInEach(
        known,
        lambda language: _form(root_path, known, language, prints=not endpoint),
        lambda language: pages.waiting("train", root_path, known, language),
    )
    app.mount("/", PageOnly(GZipMiddleware(app.state.form)))
    if credentials is not None:
        app.add_middleware(
            Login,
            credentials=credentials,
            root_path=root_path,
            people=People(app.state.gateway, front_end_token) if endpoint else None,
            proxies=proxies,
            asks=asks,
            languages=known,
        )
    names = os.environ.get("LORAPOOL_UI_HOSTS", "").split(",")
    app.add_middleware(Guard, host=host, names=[platform.node(), *(name.strip() for name in names)])
    return app


def serve(
    endpoint: str,
    token: str,
    host: str,
    port: int,
    data_dir: Path,
    root_path: str = "",
    *,
    username: str = "",
    password: str = "",
) -> None:
    """Serve the front end until SIGTERM or Ctrl-C.

    Where there are accounts, people log in with theirs. Where there are none, whoever can reach it from another
    machine has to log in: with the name and the password, or, where there are none, with the token.
    `LORAPOOL_UI_LOGIN=off` leaves all of that to a proxy in front of it, which lets in whom it likes, as the front end.
    """
    credentials = Credentials(token, username, password, os.environ.get("LORAPOOL_SERVICE", ""))
    off = os.environ.get("LORAPOOL_UI_LOGIN", "") == "off" and not credentials.by_name
    uvicorn.run(
        create_app(
            endpoint,
            token,
            data_dir,
            host=host,
            root_path=root_path,
            credentials=None if off else credentials,
            proxies=Proxies.read(os.environ),
            asks=credentials.by_name or not is_loopback(host),
            front_end_token=os.environ.get(CREDENTIAL, ""),
        ),
        host=host,
        port=port,
        log_level="warning",
        log_config=None,
        # Whose browser it is matters here: the address is not to be what a header says.
        proxy_headers=False,
        timeout_graceful_shutdown=_LONGEST_GOODBYE,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with app.state.form.building():
        yield
    await app.state.boards.close()
    await app.state.relays.close()
    await app.state.gateway.close()


async def _healthz() -> JSONResponse:
    return JSONResponse({"status": "ok"})


async def _only_prints() -> None:
    raise InvalidInput(
        "This form prints commands (--just-ui without --job-service): nothing was queued. Press Show the command."
    )


def _form(root_path: str, languages: Languages, language: Catalogue, *, prints: bool) -> FastAPI:
    import gradio

    from app import train_page

    form: FastAPI = gradio.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        train_page.build(root_path, languages, language, prints=prints),
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        root_path=root_path or None,
        theme=train_page.theme(),
        head=train_page.head(root_path, language, prints=prints),
    )
    return form
