"""Passwords and tokens, as they are kept.

A password is short, so it is kept as scrypt's output with a salt of its own (RFC 7914; N, r and p as OWASP recommends
them). A token is 256 random bits, which nobody guesses: its SHA-256 is enough, and finds it at once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from backend.errors import InvalidArgument

PREFIX = "lp_"
"""How a token of an account begins, so that scanners for lost secrets can find it."""

FRONT_END_PREFIX = "lpf_"
"""How the credential begins with which a front end says that it has asked somebody who they are."""

SHORTEST, LONGEST = 8, 200
_N, _R, _P = 1 << 15, 8, 2
_MEMORY = 64 << 20
_ID = 12


def new_token() -> str:
    """A token; it is shown once and kept nowhere."""
    return PREFIX + secrets.token_urlsafe(32)


def new_front_end_token() -> str:
    """The credential of a service's front ends."""
    return FRONT_END_PREFIX + secrets.token_urlsafe(32)


def fingerprint(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def token_id(kept: str) -> str:
    """What a token is called by those who list and revoke it."""
    return kept[:_ID]


def check_password(password: str) -> None:
    """Raises InvalidArgument when it cannot be one."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidArgument("password", f"has {SHORTEST} to {LONGEST} characters; nothing was changed")


def hashed(password: str) -> str:
    """What is kept of a password: the parameters, the salt and the key, with `$` between."""
    salt = secrets.token_bytes(16)
    return "$".join(
        ("scrypt", str(_N), str(_R), str(_P), _text(salt), _text(_key(password, salt, _N, _R, _P)))
    )


def fits(password: str, kept: str) -> bool:
    """Whether a password is the one that was kept; takes as long when none was."""
    parts = kept.split("$")
    if len(parts) != 6 or parts[0] != "scrypt":
        _key(password, bytes(16), _N, _R, _P)
        return False
    n, r, p = map(int, parts[1:4])
    return hmac.compare_digest(
        _key(password, base64.b64decode(parts[4]), n, r, p), base64.b64decode(parts[5])
    )


def _key(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    secret = password.encode("utf-8", "replace")
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
