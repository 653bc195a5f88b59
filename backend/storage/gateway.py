"""The gateway of a deployment as a `Source`: for a box that does not see its data folder.

What `gateway/box_files.py` answers. Each request names the task, the attempt and the instance that it is for, and the
gateway lets nothing else be read or written. Whatever breaks off goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from backend.errors import StorageUnavailable
from backend.storage.objects import Came, Part, Remote
from backend.storage.source import Unwanted

PREFIX = "/api/v1/box"
TASK, ATTEMPT, INSTANCE = "x-lorapool-task", "x-lorapool-attempt", "x-lorapool-instance"
SHA256 = "x-lorapool-sha256"
"""Of the version of a file whose bytes an answer has, or has a part of; empty where it is not known yet."""
OVERTAKEN, NO_SPACE = 410, 507
_TIMEOUT = httpx.Timeout(20.0, connect=5.0, pool=60.0)
_HASHING = httpx.Timeout(600.0, connect=5.0, pool=60.0)
"""For what makes the gateway read a whole file, which may be a model."""
_CHUNK = 1 << 20
_PASSING = (httpx.codes.UNAUTHORIZED, httpx.codes.REQUEST_TIMEOUT, httpx.codes.PRECONDITION_FAILED)
"""Refusals that may be over later: a token that is being changed, a slow link, a file that has just changed."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What somebody asks for files for: one attempt of a task on an instance."""

    task: str
    attempt: int
    instance: str

    @property
    def headers(self) -> dict[str, str]:
        return {TASK: self.task, ATTEMPT: str(self.attempt), INSTANCE: self.instance}

    @staticmethod
    def is_noted(values: Any) -> bool:
        """Whether a noted place is one of these."""
        return isinstance(values, dict) and "instance" in values

    @staticmethod
    def of(values: Mapping[str, Any]) -> Ticket:
        """The ticket of a noted place; raises KeyError, ValueError or TypeError when it is none."""
        return Ticket(str(values["task"]), int(values["attempt"]), str(values["instance"]))


@dataclass(frozen=True, slots=True)
class Needs:
    """What a task needs of the data folder: paths of files and folders.

    For a query to the built-in app `data` is its body with the files that it means spelled out, for what a name means
    depends on what else is there; or `fault` the answer that it gets instead.
    """

    files: tuple[str, ...]
    data: str | None = None
    fault: str | None = None


class GatewayStore:
    """The data folder behind a gateway, as far as one attempt of a task may use it; paths are relative to it."""

    leads = True

    def __init__(self, endpoint: str, token: str, ticket: Ticket) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token = token
        self._ticket = ticket

    @staticmethod
    def from_environment(ticket: Ticket, environment: Mapping[str, str]) -> GatewayStore | None:
        """The one that this process belongs to; None when it knows of none."""
        endpoint, token = (environment.get(f"LORAPOOL_{name}", "") for name in ("ENDPOINT", "TOKEN"))
        return GatewayStore(endpoint, token, ticket) if endpoint and token else None

    @property
    def url(self) -> str:
        """How people call it."""
        return f"the gateway at {self._endpoint}"

    def noted(self) -> dict[str, Any]:
        """The ticket; address and token are the machine's."""
        return asdict(self._ticket)

    def close(self) -> None:
        """Let go of its connections."""
        if "_http" in self.__dict__:
            self._http.close()

    @cached_property
    def _http(self) -> httpx.Client:
        headers = {"Authorization": self._token, **self._ticket.headers}
        return httpx.Client(base_url=f"{self._endpoint}{PREFIX}", headers=headers, timeout=_TIMEOUT)

    def needs(self) -> Needs:
        """What the task needs that lies in the data folder."""
        said = self._json("GET", "/needs")
        return Needs(tuple(said["files"]), said.get("data"), said.get("fault"))

    def below(self, path: str) -> list[Remote]:
        """The file at `path`, or all below it as a folder; empty for neither."""
        return [_remote(each) for each in self._json("GET", "/list", path=path)["files"]]

    def head(self, path: str) -> tuple[Remote, str]:
        """One file, and its SHA-256."""
        said = self._json("GET", "/hash", path=path, timeout=_HASHING)
        return _remote(said), str(said["sha256"])

    def download(self, remote: Remote, to: Path, moved: Callable[[int], None]) -> Came:
        """Copy into a file, going on behind what that holds already, which is read to be in the hash."""
        have = to.stat().st_size if to.exists() else 0
        if have > remote.size:
            have = 0
        moved(have)
        sha256, noted = hashlib.sha256(), ""

        def take(data: bytes) -> None:
            sha256.update(data)
            moved(file.write(data))

        with to.open("r+b" if have else "wb") as file:
            while file.tell() < have:
                sha256.update(file.read(min(_CHUNK, have - file.tell())))
            if have < remote.size:
                headers = {"If-Match": f'"{remote.etag}"', "Range": f"bytes={have}-"}
                noted = self._receive(remote.path, headers, take)
            file.truncate()
        return Came(sha256.hexdigest(), noted)

    def _receive(self, path: str, headers: dict[str, str], take: Callable[[bytes], None]) -> str:
        """Take a file's bytes as they come; its SHA-256 as the gateway notes it, or ''."""
        try:
            with self._http.stream("GET", f"/files/{quote(path)}", headers=headers) as answer:
                if answer.status_code != httpx.codes.PARTIAL_CONTENT:
                    answer.read()
                    self._refuse(answer)
                for data in answer.iter_raw(_CHUNK):
                    take(data)
                return str(answer.headers.get(SHA256, ""))
        except httpx.HTTPError as error:
            raise self._away(error) from None

    def put(self, path: str, data: bytes, sha256: str) -> None:
        """Write a small file."""
        self._ask("PUT", f"/files/{quote(path)}", content=data, sha256=sha256)

    def begin(self, path: str, sha256: str) -> str:
        """The id of an upload of this content: the same each time, so that it goes on after a restart."""
        return hashlib.sha256(f"{path}\n{sha256}".encode()).hexdigest()[:24]

    def put_part(self, path: str, upload: str, number: int, data: bytes, *, offset: int, md5: str) -> Part:
        """Send one part, which begins at `offset`."""
        self._ask("PUT", f"/parts/{quote(path)}", content=data, upload=upload, offset=offset, md5=md5)
        return Part(number, md5)

    def parts(self, path: str, upload: str, *, part_size: int) -> list[Part] | None:
        """The parts that have arrived."""
        said = self._json("GET", f"/parts/{quote(path)}", upload=upload, size=part_size, timeout=_HASHING)
        return [Part(number, md5) for number, md5 in enumerate(said["parts"], start=1)]

    def complete(self, path: str, upload: str, parts: Sequence[Part], sha256: str) -> None:
        """Make a file of the parts, once it has the hash that it should have."""
        self._ask("POST", f"/complete/{quote(path)}", upload=upload, sha256=sha256, timeout=_HASHING)

    def abandon(self, path: str, upload: str) -> None:
        """Forget an upload in parts."""
        self._ask("DELETE", f"/parts/{quote(path)}", upload=upload)

    def remove(self, path: str) -> None:
        """Remove a file that a run has sent and removed since."""
        self._ask("DELETE", f"/files/{quote(path)}")

    def publish(self, path: str) -> str:
        """Have a finished LoRA, which was sent to `path`, under `loras/`; where it is there."""
        return str(self._json("POST", f"/publish/{quote(path)}")["path"])

    def _json(self, method: str, address: str, **more: Any) -> Any:
        return self._ask(method, address, **more).json()

    def _ask(
        self,
        method: str,
        address: str,
        *,
        content: bytes | None = None,
        timeout: httpx.Timeout = _TIMEOUT,
        **query: Any,
    ) -> httpx.Response:
        try:
            answer = self._http.request(method, address, params=query, content=content, timeout=timeout)
        except httpx.HTTPError as error:
            raise self._away(error) from None
        if answer.status_code >= 300:
            self._refuse(answer)
        return answer

    def _away(self, error: Exception) -> StorageUnavailable:
        return StorageUnavailable(f"{self.url} does not answer ({error or type(error).__name__})")

    def _refuse(self, answer: httpx.Response) -> None:
        try:
            said = str(answer.json()["message"])
        except (ValueError, KeyError, TypeError):
            said = answer.text[:200]
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise FileNotFoundError(said)
        if answer.status_code == OVERTAKEN:
            raise Unwanted(said)
        refused = 400 <= answer.status_code < 500 and answer.status_code not in _PASSING
        raise StorageUnavailable(f"{self.url} answers {answer.status_code}: {said}", refused=refused)


def _remote(said: Mapping[str, Any]) -> Remote:
    return Remote(str(said["path"]), int(said["size"]), str(said["etag"]), "")
