"""`storage[]` of a description: what stands behind the folders that tasks know as `/workspace` or `/mnt/data`.

The forms are those of the EAS documents (`oss`, `nfs`, `git`, `empty_dir`), and two of our own: `s3` for any object
store that speaks S3, `local` for a folder of the machine. Values only: `backend/storage` carries them out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from backend.service.part import Part

StorageKind: TypeAlias = Literal["object", "nfs", "local", "git", "empty", "none"]

_SECRET = re.compile(r"password|secret|token|access_?key|credential", re.IGNORECASE)
_OBJECTS = ("oss://", "s3://")


class ObjectPlace(Part):
    """A prefix of a bucket: `oss://bucket/folder/` or `s3://bucket/folder/`.

    `endpoint` is where the store answers, with or without a scheme; `region` is needed by few of them.
    """

    path: str
    endpoint: str = ""
    region: str = ""
    read_only: bool = Field(default=False, alias="readOnly")

    @field_validator("path")
    @classmethod
    def _plain_url(cls, path: str) -> str:
        url = urlsplit(path)
        if not path.startswith(_OBJECTS) or not url.netloc:
            raise ValueError("an address like oss://bucket/folder/ or s3://bucket/folder/ is expected")
        if "@" in url.netloc or url.query or url.fragment:
            raise ValueError("only bucket and folder belong into the address; credentials are the machine's")
        if any(part in ("..", ".") for part in url.path.split("/")) or "\0" in path:
            raise ValueError("the folder may not hold '.' or '..'")
        return path

    @property
    def protocol(self) -> str:
        """`oss` or `s3`."""
        return urlsplit(self.path).scheme

    @property
    def bucket(self) -> str:
        return urlsplit(self.path).netloc

    @property
    def prefix(self) -> str:
        """The folder within the bucket: empty, or ending in a slash."""
        inner = "/".join(filter(None, urlsplit(self.path).path.split("/")))
        return f"{inner}/" if inner else ""

    @property
    def url(self) -> str:
        """The address in one spelling."""
        return f"{self.protocol}://{self.bucket}/{self.prefix}"


class NfsPlace(Part):
    """A folder of an NFS server. Only root can mount it; where it is mounted already, that folder is used."""

    server: str
    path: str = "/"
    read_only: bool = Field(default=False, alias="readOnly")


class LocalPlace(Part):
    """A folder of the machine that the instances run on."""

    path: str
    read_only: bool = Field(default=False, alias="readOnly")

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str) -> str:
        return _absolute(path)


class GitPlace(Part):
    """A repository that is cloned once for each version: `commit` if given, else the head of `branch`."""

    repo: str
    branch: str = ""
    commit: str = ""

    @field_validator("repo", "branch", "commit")
    @classmethod
    def _no_option(cls, text: str) -> str:
        if text.startswith("-") or "\0" in text:
            raise ValueError("may not begin with '-'")
        return text

    @field_validator("repo")
    @classmethod
    def _no_password(cls, repo: str) -> str:
        if re.match(r"\w+://[^/]*:[^/]*@", repo):
            raise ValueError(
                "no password belongs into a description; let git's own credential helper know it"
            )
        return repo


class EmptyDir(Part):
    """A folder that is empty when an instance starts, and goes with it."""


class StorageProperties(Part):
    """`resource_type`: `code` is fetched whole before the first task, `model` and the rest when a task names it."""

    resource_type: str = ""


class Storage(Part):
    """One mount. `mount_path` is the folder that tasks and scripts name; one of the other keys says what it holds.

    `path` alone is the short form: an object store's address, or a folder of the machine.
    """

    mount_path: str
    oss: ObjectPlace | None = None
    s3: ObjectPlace | None = None
    nfs: NfsPlace | None = None
    local: LocalPlace | None = None
    git: GitPlace | None = None
    empty_dir: EmptyDir | None = None
    properties: StorageProperties = StorageProperties()

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        _refuse_secrets(values)
        if not isinstance(path := values.get("path"), str):
            return values
        rest = {name: value for name, value in values.items() if name not in ("path", "readOnly")}
        kind = next((scheme[:-3] for scheme in _OBJECTS if path.startswith(scheme)), "local")
        return rest | {kind: {"path": path, "readOnly": values.get("readOnly", False)}}

    @field_validator("mount_path")
    @classmethod
    def _folder(cls, path: str) -> str:
        plain = _absolute(path)
        if plain == "/":
            raise ValueError("a folder below / is expected")
        return plain

    @model_validator(mode="after")
    def _one_source(self) -> Storage:
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"one of {' and '.join(given)} is expected, not both")
        return self

    @property
    def kind(self) -> StorageKind:
        """What stands behind it; `none` when it is something that only EAS has."""
        if self.object is not None:
            return "object"
        for name, kind in _SOURCES.items():
            if getattr(self, name) is not None:
                return kind
        return "none"

    @property
    def object(self) -> ObjectPlace | None:
        """The object store behind it, None for anything else."""
        return self.oss or self.s3

    @property
    def read_only(self) -> bool:
        """Whether nothing may be written there."""
        place = self.object or self.nfs or self.local
        return place.read_only if place is not None else self.kind == "git"


_SOURCES: dict[str, StorageKind] = {
    "oss": "object",
    "s3": "object",
    "nfs": "nfs",
    "local": "local",
    "git": "git",
    "empty_dir": "empty",
}


def _absolute(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/") or any(sign in path for sign in "\0\n"):
        raise ValueError("an absolute path without '..' is expected")
    return "/" + str(PurePosixPath(path)).lstrip("/")


def _refuse_secrets(values: Mapping[Any, Any]) -> None:
    """A description is shown to everybody who may see its service."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            _refuse_secrets(value)
        elif isinstance(name, str) and _SECRET.search(name):
            raise ValueError(f"{name}: no credentials belong into a description; see docs/how-to/s3.md")
