"""The queue protocol of EAS: `/api/predict/<service>[/sink|/dead|/<sub-path>]`.

A plain ASGI application in front of the rest: it reads bodies as they are, never as forms, and answers before
accepting where it refuses a watcher. docs/queue-protocol.md says what was decided where EAS says nothing.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from functools import partial

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from backend.accounts import Caller
from backend.errors import Conflict, InvalidInput, LorapoolError, NotFound
from backend.gateway import answers, audited, permits, queue_operations, queue_request
from backend.gateway.auth import Signed
from backend.gateway.bench import Benches
from backend.gateway.body import read_body
from backend.gateway.context import Gateway
from backend.gateway.hub import service_topic
from backend.gateway.queue_operations import LongPoll, Target
from backend.gateway.queue_request import QueueRequest
from backend.gateway.rate import Bucket, RateLimited
from backend.gateway.watching import Watching
from backend.queue.patience import persist
from backend.queue.source import TaskQueue
from backend.queue.stream import StreamQueue
from backend.service import Description, ServiceType
from backend.store.services import Deployed

SINK, DEAD = "sink", "dead"
"""Sub-paths that name queues; every other one belongs to the app on the instance."""

_SIGNED_LIMIT = 64 << 20  # bytes of a signed body; its service may not be known yet
_COUNTS = ("_attrs_", "_search_", "_count_")
_SMALL = 1 << 16  # bytes of a body that carries no payload


class MethodNotAllowed(InvalidInput):
    """The protocol has no such operation."""

    status = 405


def _raw_path(scope: Scope) -> str:
    """The path as it came, before it was decoded."""
    return bytes(scope.get("raw_path") or scope["path"].encode()).decode("latin-1")


def _allow(caller: Caller, request: QueueRequest, target: Target, *, watches: bool) -> None:
    """Raises Forbidden. What lies in a queue is everybody's, so accounts that do not operate the service only put
    tasks, which are their own then, and ask how it stands.
    """
    if caller.operates(request.service):
        return
    puts = request.method == "POST" and "_eos_" not in request.reserved
    if puts and target.is_input and target.service.type.runs_tasks:
        caller.need_writer()
    elif watches or request.method != "GET" or not any(request.asks(name) for name in _COUNTS):
        caller.need_operator(request.service)


class QueueApi:
    """Takes every request of the queue protocol. One for a gateway."""

    def __init__(self, gateway: Gateway, *, silence: float) -> None:
        self._gateway = gateway
        self.watching = Watching(gateway, Benches(gateway.hub), uuid.uuid4().hex, silence=silence)
        self._buckets: dict[str, Bucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, for http and websocket."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request = queue_request.parse(
            scope.get("method", "GET"),
            scope["path"],
            scope["query_string"],
            headers,
            raw_path=_raw_path(scope),
        )
        try:
            if scope["type"] == "websocket":
                await self._websocket(request, scope, receive, send)
            else:
                await self._http(request, scope, receive, send)
        except ClientDisconnect:
            return
        except LorapoolError as error:
            self._gateway.metrics.refused.labels(str(error.status)).inc()
            await answers.refuse(answers.from_error(error), scope, receive, send)
        except Exception as error:
            await answers.refuse(answers.from_bug(request.method, request.path, error), scope, receive, send)

    async def _http(self, request: QueueRequest, scope: Scope, receive: Receive, send: Send) -> None:
        target, body = await self._authorised(request, scope, receive)
        if request.method == "GET" and request.asks("_watch_"):
            await self.watching.plain(request, target, receive, send)
            return
        response = await self._operation(request, target, body, receive)
        await response(scope, receive, send)
        if request.method == "DELETE" or "_eos_" in request.reserved:
            entry = audited.described(scope, f"{request.method} {request.path}", response.status_code)
            await audited.note(self._gateway, {**entry, "to": scope["query_string"].decode("latin-1")[:200]})

    async def _websocket(self, request: QueueRequest, scope: Scope, receive: Receive, send: Send) -> None:
        target, _ = await self._authorised(request, scope, receive)
        await self.watching.websocket(request, target, scope, receive, send)

    async def _authorised(
        self, request: QueueRequest, scope: Scope, receive: Receive
    ) -> tuple[Target, bytes | None]:
        """The queue that a request is about, once its token is known to cover it; the body if that was signed."""
        deployed = await persist(lambda: self._deployed(request.service))
        authorization = request.headers.get("authorization", "")
        body: bytes | None = None
        signed: Signed | None = None
        if authorization.startswith("EAS ") and scope["type"] == "http":
            body = await read_body(receive, limit=_SIGNED_LIMIT, seconds=600.0)
            signed = Signed(request.method, _raw_path(scope), request.headers, body)
        caller = await persist(lambda: self._gateway.authority.caller(authorization, deployed, signed))
        if deployed is None:
            raise NotFound(f"there is no service {request.service!r}. Nothing was changed.")
        scope.setdefault("state", {})["caller"] = caller
        caller.need(request.service)
        target = self._target(request, deployed)
        _allow(caller, request, target, watches=scope["type"] == "websocket" or request.asks("_watch_"))
        if caller.user and target.is_input and request.method == "POST":
            if not (caller.operates(request.service) and "user" in request.tags):
                request.tags["user"] = caller.user
            target = replace(
                target, permit=partial(permits.check_put, self._gateway, caller, deployed.description)
            )
        return target, body

    async def _deployed(self, name: str) -> Deployed | None:
        try:
            return await self._gateway.catalog.get(name)
        except NotFound:
            return None

    def _target(self, request: QueueRequest, deployed: Deployed) -> Target:
        store, sub, service = self._gateway.store, request.sub_path, deployed.description
        since = deployed.created_at
        if sub in (SINK, DEAD):
            return Target(service, since, StreamQueue(store, f"{service.name}/{sub}"), is_input=False)
        if sub and (request.method != "POST" or service.type is ServiceType.QUEUE):
            raise NotFound(
                f"{request.path}: only puts have a path for the app behind the service's name, and the queues "
                f"there are {SINK} and {DEAD}. Nothing was changed."
            )
        path = request.app_path
        if service.type.runs_tasks:
            return Target(service, since, TaskQueue(store, service, service_topic), is_input=True, path=path)
        return Target(service, since, StreamQueue(store, service.name), is_input=True, path=path)

    async def _operation(
        self, request: QueueRequest, target: Target, body: bytes | None, receive: Receive
    ) -> Response:
        match request.method:
            case "GET":
                return await self._get(request, target, receive)
            case "POST":
                return await self._post(request, target, body, receive)
            case "PUT" if request.asks("_negative_"):
                form = body if body is not None else await self._body(target, receive, _SMALL)
                return await queue_operations.negative(request, target, form)
            case "PUT":
                return await queue_operations.commit(request, target)
            case "DELETE" if request.asks("_trunc_"):
                return await queue_operations.truncate(request, target)
            case "DELETE":
                return await queue_operations.delete(request, target)
        raise MethodNotAllowed(
            f"{request.method}: a queue knows GET, POST, PUT and DELETE. Nothing was changed."
        )

    async def _get(self, request: QueueRequest, target: Target, receive: Receive) -> Response:
        if request.asks("_attrs_"):
            return await queue_operations.attributes(request, target)
        if request.asks("_search_"):
            return await queue_operations.search(request, target)
        if request.asks("_count_"):
            return await queue_operations.count(request, target)
        poll = LongPoll(self._gateway.hub, receive, target.service.rpc.keepalive / 1000)
        response, items = await poll.get(request, target)
        if items:
            self._gateway.metrics.count_delivered(target.queue.name, items)
        return response

    async def _post(
        self, request: QueueRequest, target: Target, body: bytes | None, receive: Receive
    ) -> Response:
        if "_eos_" in request.reserved:
            return await queue_operations.end(request, target)
        if request.sub_path == DEAD:
            raise Conflict(
                f"the queue {DEAD} holds what was given up; only the gateway puts there. Not stored."
            )
        if target.is_input:
            self._spend(target.service)
        if body is None:
            limits = target.service.queue.source if target.is_input else target.service.queue.sink
            body = await self._body(target, receive, limits.max_payload_size_kb * 1024)
        response = await queue_operations.put(request, target, body)
        self._gateway.metrics.count_put(target.queue.name)
        return response

    async def _body(self, target: Target, receive: Receive, limit: int) -> bytes:
        return await read_body(receive, limit=limit, seconds=target.service.rpc.keepalive / 1000)

    def _spend(self, service: Description) -> None:
        """Count a put against `rpc.rate_limit`; raises RateLimited."""
        rate = service.rpc.rate_limit
        if not rate:
            return
        now = time.monotonic()
        bucket = self._buckets.setdefault(service.name, Bucket(float(rate), now))
        if not bucket.take(rate, now):
            raise RateLimited(f"{service.name} takes {rate} requests a second (rpc.rate_limit). Not stored.")
