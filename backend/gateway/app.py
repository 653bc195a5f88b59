"""The application, and serving it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from backend import logs
from backend.accounts import Role
from backend.errors import Forbidden, LorapoolError
from backend.gateway import (
    access_api,
    answers,
    discovery,
    generation_api,
    loras_api,
    scaling_api,
    service_control,
    services_api,
    tasks_api,
    tokens_api,
    tunnel,
    users_api,
)
from backend.gateway.audited import Audited
from backend.gateway.auth import Authority, same
from backend.gateway.bounded import Bounded
from backend.gateway.box_files import BoxFiles, is_for_boxes
from backend.gateway.catalog import Catalog
from backend.gateway.context import Gateway
from backend.gateway.gauges import refresh
from backend.gateway.hub import Hub
from backend.gateway.line import WatchedWebSocket
from backend.gateway.listening import prepare
from backend.gateway.metrics import CONTENT_TYPE, Metrics
from backend.gateway.openapi import ERRORS, document
from backend.gateway.queue_api import QueueApi
from backend.gateway.queue_request import PREFIX
from backend.gateway.watching import SILENCE
from backend.settings import Settings, administrator_token
from backend.store import instances, server
from backend.store.multiplex import MultiplexedStore


class _Application(FastAPI):
    """The queue protocol goes past FastAPI: it is the hot path, and reads its requests itself. So do files of boxes."""

    def __init__(
        self,
        queue_api: QueueApi,
        box_files: BoxFiles,
        lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    ) -> None:
        super().__init__(
            title="lorapool", version=version("lorapool"), lifespan=lifespan, docs_url=None, redoc_url=None
        )
        self._queue_api = queue_api
        self._box_files = box_files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope["path"].startswith(PREFIX):
            await self._queue_api(scope, receive, send)
        elif scope["type"] == "http" and is_for_boxes(scope["path"]):
            await self._box_files(scope, receive, send)
        elif scope["type"] == "websocket" and scope["path"] == tunnel.PATH:
            await tunnel.serve_store(self.state.gateway, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(settings: Settings, *, silence: float = SILENCE) -> FastAPI:
    """The gateway over the store at `settings.redis_url`; it may be made before the store answers.

    `silence`: seconds without a byte from a websocket client after which its items go to others.
    """
    settings = settings.resolved()
    store = MultiplexedStore(settings.redis_url)
    hub = Hub(store)
    catalog = Catalog(store, hub)
    token = settings.token or administrator_token(settings.data_dir)
    gateway = Gateway(settings, store, hub, catalog, Authority(token, catalog, store), Metrics())
    queue_api = QueueApi(gateway, silence=silence)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await hub.start()
        background = [
            asyncio.create_task(work) for work in (catalog.follow(), queue_api.watching.keep_lease())
        ]
        try:
            yield
        finally:
            await hub.stop()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await store.close()

    app = _Application(queue_api, BoxFiles(gateway), lifespan)
    app.state.gateway = gateway
    app.include_router(services_api.router, prefix="/api/v1", responses=ERRORS)
    app.include_router(scaling_api.router, prefix="/api/v1", responses=ERRORS)
    app.include_router(service_control.router, prefix="/api/v1", responses=ERRORS)
    app.include_router(tasks_api.router, prefix="/api/v1", responses=ERRORS)
    app.include_router(loras_api.router, prefix="/api/v1", responses=ERRORS)
    app.include_router(users_api.router, prefix="/api/v1", responses=ERRORS)
    app.include_router(tokens_api.router, prefix="/api/v1", responses=ERRORS)
    app.include_router(access_api.router, prefix="/api/v1", responses=ERRORS)
    app.include_router(discovery.router, prefix="/api/v1")
    app.include_router(generation_api.router, prefix="/api/v1", responses=ERRORS)
    app.add_api_route("/healthz", _healthz, methods=["GET"], tags=["health"], responses={503: ERRORS[503]})
    app.add_api_route("/readyz", _readyz, methods=["GET"], tags=["health"], responses={503: ERRORS[503]})
    app.add_api_route(
        "/metrics",
        _metrics,
        methods=["GET"],
        tags=["health"],
        response_class=PlainTextResponse,
        responses={status: ERRORS[status] for status in (401, 403, 503)},
    )
    app.add_middleware(Bounded, gateway=gateway)
    app.add_middleware(Audited, gateway=gateway)
    app.add_exception_handler(LorapoolError, answers.on_error)
    app.add_exception_handler(HTTPException, answers.on_http)
    app.add_exception_handler(RequestValidationError, answers.on_validation)
    app.add_exception_handler(Exception, answers.on_bug)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


async def _healthz(request: Request) -> dict[str, str]:
    """Whether the gateway and the store answer. Needs no token."""
    gateway: Gateway = request.app.state.gateway
    await gateway.store.run(server.ping())
    return {"status": "ok"}


async def _readyz(request: Request) -> dict[str, str]:
    """Whether tasks are taken: the gateway is up and the store answers; and whether a supervisor leads. No token.

    Without a supervisor tasks are taken and wait, so that alone does not make a gateway unready.
    """
    gateway: Gateway = request.app.state.gateway
    leader = await gateway.store.run(instances.leader())
    return {"status": "ready", "supervisor": "leads" if leader else "none"}


async def _metrics(request: Request) -> Response:
    """Counters and gauges for Prometheus, with the names of users: for operators, or with the token for metrics."""
    gateway: Gateway = request.app.state.gateway
    given = request.headers.get("authorization", "")
    if not same(given.removeprefix("Bearer "), gateway.settings.metrics_token):
        caller = await gateway.authority.caller(given, None, None)
        if caller.role is not Role.ADMIN:
            raise Forbidden(
                "the metrics name everybody's work: they need an administrator's or a service's token"
            )
    await refresh(gateway)
    return Response(gateway.metrics.text(), media_type=CONTENT_TYPE)


class _Server(uvicorn.Server):
    """Ends open streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._hub.stop()
        await super().shutdown(sockets=sockets)


def serve(settings: Settings, *, silence: float = SILENCE) -> None:
    """Serve until SIGTERM or Ctrl-C; `silence` as for `create_app`."""
    logs.configure("gateway", settings.log_format)
    app = create_app(settings, silence=silence)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        log_level="warning",
        ws=WatchedWebSocket,
        ws_max_size=1 << 20,
        ws_ping_interval=5.0,
        # Whether a client is there is decided by anything it sends, see line.py.
        ws_ping_timeout=None,
        ws_per_message_deflate=False,
        # A client that puts on a connection which we close at that moment does not repeat it: close late.
        timeout_keep_alive=120,
        timeout_graceful_shutdown=3,
        server_header=False,
    )
    listening = config.bind_socket()
    prepare(listening)
    _Server(config, app.state.gateway.hub).run([listening])
