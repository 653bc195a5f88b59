"""The door to the API server: each call has a deadline, and each answer that is not one becomes an error of ours.

The official client reads kube-configs with their plugins, and the service account's rotating token; objects go to and
fro as plain JSON over httpx, as the API documents them.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import kubernetes

from backend.errors import InvalidArgument, LorapoolError
from backend.settings import Settings

log = logging.getLogger("lorapool.kubernetes")

Json = dict[str, Any]

CONNECT, ANSWER = 5.0, 10.0
"""Seconds for a connection, and for each answer."""

_CONNECTIONS = 16
_NAMESPACE_OF_THE_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Unreachable(LorapoolError):
    """The API server does not answer, or not now. `in_doubt`: what was asked may have been done all the same."""

    status = 503

    def __init__(self, message: str, *, in_doubt: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.in_doubt = in_doubt
        self.retry_after = retry_after


class Refused(LorapoolError):
    """The API server has said no. `code` and `reason` are those of its Status object; nothing was done."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster as it was found: how to reach it, and which namespace is ours."""

    configuration: kubernetes.client.Configuration
    namespace: str


def connect(settings: Settings) -> ApiServer:
    """The API server of the service account in a pod, else of the kube-config (`KUBECONFIG`, `~/.kube/config`).

    Raises:
        InvalidArgument: there is neither, or the context is not in it.
    """
    found = _find(settings.kubernetes_context)
    return ApiServer(found.configuration, settings.kubernetes_namespace or found.namespace)


def _find(context: str) -> Place:
    configuration = kubernetes.client.Configuration()
    in_cluster = not context and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    try:
        if in_cluster:
            kubernetes.config.load_incluster_config(client_configuration=configuration)
            return Place(configuration, _NAMESPACE_OF_THE_POD.read_text().strip() or "default")
        file = os.environ.get("KUBECONFIG") or None
        kubernetes.config.load_kube_config(file, context or None, client_configuration=configuration)
        contexts, active = kubernetes.config.list_kube_config_contexts(file)
        chosen = next((each for each in contexts if each["name"] == context), active)
        return Place(configuration, chosen["context"].get("namespace") or "default")
    except (kubernetes.config.ConfigException, OSError, KeyError) as error:
        raise InvalidArgument(
            "LORAPOOL_KUBERNETES_CONTEXT" if context else "KUBECONFIG",
            f"no cluster was found: {error}. Nothing was started; name a kube-config in KUBECONFIG, or run in a pod "
            "with a service account",
        ) from None


class ApiServer:
    """Calls to the API server of one cluster. Safe to use from several threads."""

    def __init__(self, configuration: kubernetes.client.Configuration, namespace: str) -> None:
        self._configuration = configuration
        self._client = httpx.Client(
            base_url=configuration.host,
            verify=_trust(configuration),
            proxy=_proxy(configuration),
            timeout=httpx.Timeout(ANSWER, connect=CONNECT),
            limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
            headers={"Accept": "application/json", "User-Agent": "lorapool"},
        )
        self._watching: set[socket.socket] = set()
        self.namespace = namespace

    @property
    def pods(self) -> str:
        """Path of the pods of our namespace."""
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def get(self, path: str, **query: Any) -> Json:
        """Read one object or a list. Raises Unreachable or Refused, as all of these."""
        return self._call("GET", path, query)

    def create(self, path: str, what: Json) -> Json:
        """Create an object; what the server does not know in it is refused rather than dropped."""
        return self._call("POST", path, {"fieldValidation": "Strict"}, what)

    def merge(self, path: str, patch: Json) -> Json:
        """Change an object by a JSON merge patch (RFC 7386)."""
        return self._call("PATCH", path, {}, patch, "application/merge-patch+json")

    def delete(self, path: str, *, grace: int, uid: str = "") -> Json:
        """Delete an object, only if it is the one of `uid`, giving its processes `grace` seconds."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": grace}
        if uid:
            options["preconditions"] = {"uid": uid}
        return self._call("DELETE", path, {}, options)

    @contextmanager
    def watch(self, path: str, *, silence: float, **query: Any) -> Iterator[Iterator[Json]]:
        """The events of a watch as they come; `silence` seconds without any, and it is taken for broken."""
        request = self._request("GET", path, {**query, "watch": "true"})
        request.extensions["timeout"]["read"] = silence
        try:
            response = self._client.send(request, stream=True)
        except (httpx.HTTPError, OSError) as error:
            raise _unreachable(error) from None
        wire = response.extensions["network_stream"].get_extra_info("socket")
        self._watching.add(wire)
        try:
            with closing(response):
                if response.status_code >= 400:
                    raise _refusal(response.status_code, response.read(), response.headers)
                yield _events(response)
        finally:
            self._watching.discard(wire)

    def interrupt(self) -> None:
        """End the watches that are open, from whatever thread."""
        for wire in list(self._watching):
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close what is open."""
        self._client.close()

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Json | None = None,
        kind: str = "application/json",
    ) -> Json:
        try:
            response = self._client.send(self._request(method, path, query, body, kind))
        except (httpx.HTTPError, OSError) as error:
            raise _unreachable(error) from None
        if response.status_code >= 400:
            raise _refusal(response.status_code, response.content, response.headers)
        answer: Json = response.json()
        return answer

    def _request(
        self, method: str, path: str, query: Mapping[str, Any], body: Json | None = None, kind: str = ""
    ) -> httpx.Request:
        headers = {"Content-Type": kind} if body is not None else {}
        try:
            for each in self._configuration.auth_settings().values():
                if each["in"] == "header" and each["value"]:
                    headers[each["key"]] = each["value"].strip()
        except (kubernetes.config.ConfigException, OSError) as error:
            raise Unreachable(f"there is no valid token for the API server ({error})") from None
        name = getattr(self._configuration, "tls_server_name", None)
        return self._client.build_request(
            method,
            path,
            params={key: value for key, value in query.items() if value is not None},
            headers=headers,
            content=None if body is None else json.dumps(body),
            extensions={"sni_hostname": name} if name else None,
        )


def _trust(configuration: kubernetes.client.Configuration) -> ssl.SSLContext:
    """Whom to believe, and who we are, by certificates."""
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    if data := getattr(configuration, "ca_cert_data", None):
        context.load_verify_locations(cadata=data)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


def _proxy(configuration: kubernetes.client.Configuration) -> str | None:
    """The proxy of the kube-config; the environment's are looked up by themselves, with their exceptions."""
    ours = {os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")}
    return configuration.proxy if configuration.proxy and configuration.proxy not in ours else None


def _unreachable(error: Exception) -> Unreachable:
    never_sent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
    return Unreachable(
        f"the API server does not answer ({str(error) or type(error).__name__})", in_doubt=not never_sent
    )


def _events(response: httpx.Response) -> Iterator[Json]:
    """One JSON object a line; a line may come in several pieces."""
    try:
        for line in response.iter_lines():
            if line.strip():
                yield json.loads(line)
    except (httpx.HTTPError, OSError) as error:
        raise Unreachable(f"the watch broke off ({error})") from None


_NOT_NOW = frozenset({429, 500, 502, 503, 504})


def _refusal(code: int, text: bytes, headers: Mapping[str, str]) -> LorapoolError:
    """The error that an answer stands for: a Status object, or whatever a proxy on the way has said."""
    try:
        status = json.loads(text)
        reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    except (ValueError, AttributeError):
        reason, message = "", text.decode("utf-8", "replace")[:300]
    message = message or f"it answered {code}"
    if code in _NOT_NOW:
        after = headers.get("Retry-After", "")
        # 504 and 500: the server gave up on a request that it may have carried out.
        return Unreachable(
            f"the API server cannot answer at present ({code}: {message})",
            in_doubt=code in (500, 504),
            retry_after=float(after) if after.isdigit() else 0.0,
        )
    return Refused(code, reason, message)
