"""The pods of a deployment as they are: listed once, watched from there, listed again when too much was missed.

As the API documents it: a list says at which resource version it was taken, a watch goes on from there, bookmarks move
that version on while nothing happens, and 410 means that the server does not remember it any more.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from backend.pool.kubernetes.api import ApiServer, Json, Refused, Unreachable

log = logging.getLogger("lorapool.kubernetes")

PAGE = 500
"""Pods to a page of a list."""

WATCH_SECONDS, SILENCE = 50, 60.0
"""How long the server keeps one watch up, and after how many silent seconds it is given up."""

_LAST_WAIT = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_GONE = 410


class _Expired(Exception):
    """The server does not remember the resource version any more."""


class PodWatch:
    """A thread and what it knows. `on_change` is called from it, after each change.

    Pods are known by the value of the label `key`; those that do not carry it are none of ours.
    """

    def __init__(self, server: ApiServer, selector: str, key: str, on_change: Callable[[], None]) -> None:
        self._server = server
        self._selector = selector
        self._key = key
        self._on_change = on_change
        self._lock = threading.Lock()
        self._pods: dict[str, Json] = {}
        self._noted: dict[str, float] = {}
        self._removed: dict[str, Json] = {}
        self._version = ""
        self._synced = False
        self._trouble = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pod-watch", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._closing.set()
        self._server.interrupt()
        self._thread.join(_LAST_WAIT)

    @property
    def synced(self) -> bool:
        """Whether all pods have been seen once."""
        return self._synced

    @property
    def trouble(self) -> str:
        """Why nothing is seen at present; '' while the watch is up."""
        return self._trouble

    def pods(self) -> dict[str, Json]:
        """Every pod that is there."""
        with self._lock:
            return dict(self._pods)

    def find(self, key: str) -> Json | None:
        """One pod."""
        with self._lock:
            return self._pods.get(key)

    def removed(self) -> dict[str, Json]:
        """Pods that are not there any more, since the last call, as they were last seen."""
        with self._lock:
            removed, self._removed = self._removed, {}
        return removed

    def note(self, pod: Json) -> None:
        """The server has just answered with this pod; the watch will say so a moment later."""
        key = self._key_of(pod)
        with self._lock:
            known = self._pods.get(key)
            if known is None or known["metadata"]["uid"] != pod["metadata"]["uid"]:
                self._noted[key] = time.monotonic()
            if known is None or _version(pod) >= _version(known):
                self._pods[key] = pod

    def forget(self, key: str) -> None:
        """The server has just said that there is no such pod."""
        with self._lock:
            self._pods.pop(key, None)

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                if not self._version:
                    self._list()
                self._follow()
                failures = 0
            except _Expired:
                log.info("the API server does not remember where the watch was: the pods are listed again")
                # It answers again, as after a restart: only what it says every time is held back.
                self._version, failures = "", 1
            except (Unreachable, Refused) as error:
                if self._closing.is_set():
                    return
                if isinstance(error, Refused):
                    self._version = ""
                if not self._trouble:
                    log.warning("the pods of the cluster are not seen at present: %s", error)
                self._trouble = str(error)
                failures = min(failures + 1, 10)
            except Exception:
                log.exception("the watch of the pods ended; it begins anew")
                self._version, failures = "", min(failures + 1, 10)
            if failures:
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (failures - 1))
                self._closing.wait(pause * random.uniform(0.5, 1.0))

    def _list(self) -> None:
        began = time.monotonic()
        found: dict[str, Json] = {}
        token = None
        while True:
            try:
                page = self._server.get(
                    self._server.pods, labelSelector=self._selector, limit=PAGE, **_continue(token)
                )
            except Refused as refused:
                raise _Expired from None if refused.code == _GONE else refused
            found |= {self._key_of(pod): pod for pod in page["items"] if self._key_of(pod)}
            token = page["metadata"].get("continue")
            if not token:
                break
        with self._lock:
            # What was created since the list was begun need not be on it.
            late = {k for k, at in self._noted.items() if at >= began and k in self._pods}
            self._removed |= {k: p for k, p in self._pods.items() if k not in found and k not in late}
            self._pods = {k: p for k, p in self._pods.items() if k in late} | found
            self._noted = {k: at for k, at in self._noted.items() if k in late}
        self._version = page["metadata"]["resourceVersion"]
        self._synced = True
        self._on_change()

    def _follow(self) -> None:
        """Hear events until the server ends the watch, as it does after a while."""
        try:
            with self._server.watch(
                self._server.pods,
                silence=SILENCE,
                labelSelector=self._selector,
                resourceVersion=self._version,
                allowWatchBookmarks="true",
                timeoutSeconds=WATCH_SECONDS,
            ) as events:
                self._trouble = ""
                for event in events:
                    if self._closing.is_set():
                        return
                    self._hear(event)
        except Refused as error:
            raise _Expired from None if error.code == _GONE else error

    def _hear(self, event: Json) -> None:
        kind, what = event["type"], event["object"]
        if kind == "ERROR":
            code = what.get("code", 0)
            if code == _GONE:
                raise _Expired
            raise Unreachable(f"the watch was ended by the API server ({code}: {what.get('message', '')})")
        key = self._key_of(what)
        with self._lock:
            if kind in ("ADDED", "MODIFIED") and key:
                known = self._pods.get(key)
                if known is None or _version(what) >= _version(known):
                    self._pods[key] = what
            elif kind == "DELETED" and key:
                self._pods.pop(key, None)
                self._removed[key] = what
        self._version = what["metadata"]["resourceVersion"]
        if kind != "BOOKMARK":
            self._on_change()

    def _key_of(self, pod: Json) -> str:
        return str(pod["metadata"].get("labels", {}).get(self._key, ""))


def _continue(token: str | None) -> Json:
    return {"continue": token} if token else {}


def _version(pod: Json) -> int:
    """A resource version as a number: since Kubernetes 1.35 they may be compared so; others count as equal."""
    version = str(pod["metadata"].get("resourceVersion", ""))
    return int(version) if version.isdigit() else 0
