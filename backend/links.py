"""Signed links to files of `outputs/` in the data folder: who has one needs no token, until it expires.

The key lies in the data folder for this user alone, so that the app that makes links and the gateway that serves them
agree without either being given a secret of the other.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path
from urllib.parse import quote

from backend import paths
from backend.errors import Forbidden

OUTPUTS = "outputs"
PREFIX = "/api/v1/outputs/"
DAY = 86400.0


def key(data_dir: Path) -> bytes:
    """The deployment's key, made at its first use."""
    path = data_dir / paths.STORE / "link-key"
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(new, path)  # unless another process was faster: then its key counts
        except OSError:
            if not path.exists():
                new.replace(path)
        new.unlink(missing_ok=True)
    return path.read_bytes()


def adopt(data_dir: Path, secret: bytes) -> None:
    """Have the key of another folder, for one that stands for it on a box: links that are made there are good here."""
    path = data_dir / paths.STORE / "link-key"
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
    new.replace(path)


def link(secret: bytes, path: str, *, now: float | None = None, seconds: float = DAY) -> str:
    """The link to a file, `path` relative to `outputs/`; to be put behind the gateway's address."""
    expires = int((time.time() if now is None else now) + seconds)
    return f"{PREFIX}{quote(path)}?expires={expires}&signature={_signature(secret, path, expires)}"


def check(secret: bytes, path: str, expires: str, signature: str, *, now: float | None = None) -> None:
    """Raises Forbidden unless the link is one of ours and has not expired."""
    known = expires.isdecimal() and len(expires) < 16
    expected = _signature(secret, path, int(expires)) if known else ""
    if not expected or not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
        raise Forbidden("this link is not one of ours; ask for a fresh one at /api/v1/tasks/<id>/images")
    if int(expires) < (time.time() if now is None else now):
        raise Forbidden("this link has expired; ask for a fresh one at /api/v1/tasks/<id>/images")


def _signature(secret: bytes, path: str, expires: int) -> str:
    return hmac.new(secret, f"{expires}\n{path}".encode(), hashlib.sha256).hexdigest()
