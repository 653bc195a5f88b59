"""The door to the API server: each call has a deadline, and each answer that is not one becomes an error of ours.

Connection, TLS, proxies, kube-config with its plugins, and the service account's rotating token are the official
client's; objects go to and fro as plain JSON, as the API documents them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import kubernetes
import urllib3

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
        # A call that fails is tried again by whoever made it, who knows whether it is still wanted.
        configuration.retries = False
        configuration.connection_pool_maxsize = _CONNECTIONS
        configuration.keep_alive = True
        self._configuration = configuration
        self._client = kubernetes.client.ApiClient(configuration)
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
        response = self._send("GET", path, {**query, "watch": "true"}, None, "", silence)
        with closing(response):
            if response.status >= 400:
                raise _refusal(response.status, _body(response), response.headers)
            yield _events(response)

    def close(self) -> None:
        """Close what is open."""
        self._client.rest_client.close()

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Json | None = None,
        kind: str = "application/json",
    ) -> Json:
        response = self._send(method, path, query, body, kind, ANSWER)
        with closing(response):
            try:
                text = _body(response)
            except urllib3.exceptions.HTTPError as error:
                raise Unreachable(f"its answer broke off ({error})", in_doubt=True) from None
            if response.status >= 400:
                raise _refusal(response.status, text, response.headers)
            answer: Json = json.loads(text)
            return answer

    def _send(
        self, method: str, path: str, query: Mapping[str, Any], body: Json | None, kind: str, patience: float
    ) -> Any:
        asked = urlencode({name: value for name, value in query.items() if value is not None})
        headers = {"Accept": "application/json", "User-Agent": "lorapool"}
        try:
            for each in self._configuration.auth_settings().values():
                if each["in"] == "header" and each["value"]:
                    headers[each["key"]] = each["value"]
            if body is not None:
                headers["Content-Type"] = kind
            return self._client.rest_client.request(
                method,
                f"{self._configuration.host}{path}{'?' if asked else ''}{asked}",
                headers=headers,
                body=body,
                _request_timeout=(CONNECT, patience),
            ).response
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
            raise Unreachable(_reason(error)) from None
        except (urllib3.exceptions.HTTPError, kubernetes.client.ApiException, OSError) as error:
            raise Unreachable(_reason(error), in_doubt=True) from None
        except kubernetes.config.ConfigException as error:
            raise Unreachable(f"there is no valid token for it ({error})") from None


def _reason(error: Exception) -> str:
    return f"the API server does not answer ({str(error) or type(error).__name__})"


def _body(response: Any) -> bytes:
    data: bytes = response.data
    return data


def _events(response: Any) -> Iterator[Json]:
    """One JSON object a line; a line may come in several pieces."""
    rest = b""
    try:
        for piece in response.stream(amt=None, decode_content=True):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    yield json.loads(line)
    except (urllib3.exceptions.HTTPError, OSError) as error:
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
