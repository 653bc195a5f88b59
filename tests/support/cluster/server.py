"""The HTTP face of the control plane: HTTPS, bearer tokens, roles, pages, watches, and faults on order."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.cluster.objects import Answer, Json, Objects
from tests.support.cluster.rules import fits_schema

_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?"
)
KINDS = {"pods": "Pod", "configmaps": "ConfigMap", "deployments": "Deployment", "secrets": "Secret"}
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Request:
    """What was asked, as an audit log has it."""

    verb: str
    group: str
    resource: str
    name: str
    query: dict[str, str]
    body: Json = field(default_factory=dict)
    content_type: str = ""


class ApiDouble:
    """`rules`: what the one user may do, as in a Role; None: everything. `faults`: see `fail`."""

    def __init__(self, objects: Objects, certificate: tuple[str, str], token: str, namespace: str) -> None:
        self.objects = objects
        self.token = token
        self.namespace = namespace
        self.rules: list[Json] | None = None
        self.bookmark_every = 0.1
        self.expire_pages = 0
        self.hold_events = False
        self.requests: list[Request] = []
        self.broken: list[str] = []
        self._faults: list[tuple[str, Callable[[], None]]] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._port = 0
        self._server: _Server | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Answer, at the same address as before."""
        self._server = _Server(self, self._port, self._context)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Go away with all connections, as a server that dies; what it keeps stays kept."""
        if self._server is not None:
            self._server.end()
            self._server = None

    def fail(self, verb: str, how: Callable[[], None]) -> None:
        """Have the next request with this verb run into `how`, which raises an Answer or LostAnswer.

        `created` is a verb of its own: the object is made, and then it happens.
        """
        self._faults.append((verb, how))

    def take_fault(self, verb: str) -> Callable[[], None] | None:
        for number, (wanted, how) in enumerate(self._faults):
            if wanted == verb:
                del self._faults[number]
                return how
        return None

    def calls(self) -> set[tuple[str, str, str]]:
        """Every (group, resource, verb) that was asked for."""
        return {(each.group, each.resource, each.verb) for each in self.requests}


class LostAnswer(Exception):
    """What was asked is done, and the answer never comes."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, double: ApiDouble, port: int, context: ssl.SSLContext) -> None:
        self.double = double
        self.open: set[socket.socket] = set()
        self.lock = threading.Lock()
        self.context = context
        self.ended = False
        super().__init__(("127.0.0.1", port), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the thread of the connection: the handshake must not hold others up."""
        with contextlib.suppress(OSError):
            request.settimeout(30)
            wrapped = self.context.wrap_socket(request, server_side=True)
            with self.lock:
                self.open.add(wrapped)
            if self.ended:
                wrapped.close()
                return
            try:
                super().finish_request(wrapped, client_address)
            finally:
                with self.lock:
                    self.open.discard(wrapped)
                wrapped.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is none of ours; a fault of the double is a test's that failed."""
        error = sys.exception()
        if not isinstance(error, OSError):
            self.double.broken.append(repr(error))

    def end(self) -> None:
        self.ended = True
        self.shutdown()
        self.server_close()
        with self.lock:
            for each in self.open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        try:
            self._serve(body)
        except Answer as answer:
            self._send(answer.code, answer.status)
        except LostAnswer:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, code: int, what: Json) -> None:
        text = json.dumps(what).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if code == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(text)

    def _serve(self, body: Json) -> None:
        double = self.server.double
        url = urlsplit(self.path)
        match = _PATH.fullmatch(url.path)
        if self.headers.get("Authorization", "").split(" ")[-1] != double.token:
            raise Answer(401, "Unauthorized", "Unauthorized")
        if match is None or match["resource"] not in KINDS:
            raise Answer(404, "NotFound", "the server could not find the requested resource")
        query = dict(parse_qsl(url.query))
        verb = _VERBS.get(self.command) or (
            "get" if match["name"] else "watch" if query.get("watch") == "true" else "list"
        )
        asked = Request(
            *(verb, match["group"] or "", match["resource"], match["name"] or ""),
            *(query, body, self.headers.get("Content-Type", "")),
        )
        double.requests.append(asked)
        self._authorise(asked)
        if match["namespace"] != double.namespace and verb == "create":
            raise Answer(404, "NotFound", f'namespaces "{match["namespace"]}" not found')
        fault = double.take_fault(verb)
        if fault is not None:
            fault()
        getattr(self, f"_{verb}")(asked, match["namespace"])

    def _authorise(self, asked: Request) -> None:
        rules = self.server.double.rules
        if rules is None:
            return
        for rule in rules:
            named = rule.get("resourceNames")
            if (
                asked.group in rule["apiGroups"]
                and asked.resource in rule["resources"]
                and asked.verb in rule["verbs"]
                and (not named or asked.name in named)
            ):
                return
        raise Answer(
            403,
            "Forbidden",
            f'{asked.resource} is forbidden: User "system:serviceaccount:{self.server.double.namespace}:lorapool" '
            f'cannot {asked.verb} resource "{asked.resource}" in API group "{asked.group}" in the namespace '
            f'"{self.server.double.namespace}"',
        )

    def _get(self, asked: Request, namespace: str) -> None:
        self._send(200, self.server.double.objects.get(asked.resource, namespace, asked.name))

    def _create(self, asked: Request, namespace: str) -> None:
        if asked.content_type != "application/json":
            raise Answer(415, "UnsupportedMediaType", f"the body may not be {asked.content_type}")
        fits_schema(asked.body)
        if asked.body["kind"] != KINDS[asked.resource]:
            raise Answer(400, "BadRequest", f"{asked.body['kind']} cannot be handled as {asked.resource}")
        objects = self.server.double.objects
        made = objects.create(asked.resource, namespace, asked.body)
        fault = self.server.double.take_fault("created")
        if fault is not None:
            fault()
        self._send(201, made)

    def _patch(self, asked: Request, namespace: str) -> None:
        if asked.content_type != "application/merge-patch+json":
            raise Answer(415, "UnsupportedMediaType", f"this double knows no {asked.content_type}")

        def change(old: Json) -> Json:
            new: Json = _merged(old, asked.body)
            fits_schema(new)
            return new

        objects = self.server.double.objects
        self._send(200, objects.update(asked.resource, namespace, asked.name, change))

    def _update(self, asked: Request, namespace: str) -> None:
        fits_schema(asked.body)
        objects = self.server.double.objects
        self._send(200, objects.update(asked.resource, namespace, asked.name, lambda _: asked.body))

    def _delete(self, asked: Request, namespace: str) -> None:
        if asked.body:
            fits_schema(asked.body)
        objects = self.server.double.objects
        self._send(200, objects.delete(asked.resource, namespace, asked.name, asked.body))

    def _list(self, asked: Request, namespace: str) -> None:
        double = self.server.double
        objects = double.objects
        start, version = 0, objects.version
        if token := asked.query.get("continue"):
            start, version = json.loads(base64.urlsafe_b64decode(token))
            if double.expire_pages:
                double.expire_pages -= 1
                raise Answer(410, "Expired", "The provided continue parameter is too old")
        with objects.changed:
            found = [o for o in objects.list(asked.resource, namespace) if _selected(o, asked.query)]
            version = version if token else objects.version
        limit = int(asked.query.get("limit") or 0) or len(found)
        page, metadata = found[start : start + limit], {"resourceVersion": str(version)}
        if start + limit < len(found):
            metadata["continue"] = base64.urlsafe_b64encode(
                json.dumps([start + limit, version]).encode()
            ).decode()
        kind = f"{KINDS[asked.resource]}List"
        self._send(200, {"kind": kind, "apiVersion": "v1", "metadata": metadata, "items": page})

    def _watch(self, asked: Request, namespace: str) -> None:
        double = self.server.double
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        seconds = float(asked.query.get("timeoutSeconds") or 1800)
        deadline, bookmarked = time.monotonic() + seconds, time.monotonic()
        version = int(asked.query.get("resourceVersion") or 0)
        try:
            for event in double.objects.since(version, asked.resource, deadline):
                if self.server.ended:
                    return
                while double.hold_events and not self.server.ended:
                    time.sleep(0.02)
                if event is not None:
                    ours = event.object["metadata"].get("namespace") == namespace
                    if ours and _selected(event.object, asked.query):
                        self._chunk({"type": event.kind, "object": event.object})
                elif (
                    asked.query.get("allowWatchBookmarks") == "true"
                    and time.monotonic() - bookmarked > double.bookmark_every
                ):
                    bookmarked = time.monotonic()
                    self._chunk(_bookmark(asked.resource, double.objects.version))
        except Answer as answer:
            self._chunk({"type": "ERROR", "object": answer.status})
        except OSError:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, what: Json) -> None:
        text = json.dumps(what).encode() + b"\n"
        half = len(text) // 2  # an event need not come in one piece
        for piece in (text[:half], text[half:]):
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.flush()


def _bookmark(resource: str, version: int) -> Json:
    what = {"kind": KINDS[resource], "apiVersion": "v1", "metadata": {"resourceVersion": str(version)}}
    return {"type": "BOOKMARK", "object": what}


def _selected(what: Json, query: dict[str, str]) -> bool:
    if "fieldSelector" in query:
        raise Answer(400, "BadRequest", "this double knows no field selectors")
    wanted = [pair.partition("=") for pair in query.get("labelSelector", "").split(",") if pair]
    labels = what["metadata"].get("labels", {})
    return all(labels.get(name) == value for name, _, value in wanted)


def _merged(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    new = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            new.pop(name, None)
        else:
            new[name] = _merged(new.get(name), value)
    return new
