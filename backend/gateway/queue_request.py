"""Reading a request of the queue protocol: path, reserved parameters, tags, headers.

Reserved names start and end with an underscore; every other query parameter is a tag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

from backend.errors import InvalidArgument
from backend.queue import frames
from backend.queue.contract import HEADER_GROUP, HEADER_PRIORITY, HEADER_USER

PREFIX = "/api/predict/"
DEFAULT_GROUP = "eas"
MOST_INDEXES = 10_000
MOST_ITEMS = 10_000
LONGEST_NAME = 256
LONGEST_WAIT = 3600.0

_LARGEST = (1 << 52) - 1  # the store orders by doubles, less 2^52 for high priority
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+", re.ASCII)
_CODE = re.compile(r"([A-Z][a-z]*)+(.[A-Z][a-z]*)?|[0-9]+")


@dataclass(frozen=True, slots=True)
class QueueRequest:
    """One request: which service, the path behind it, the reserved parameters, the tags, the headers.

    `app_path` is the path behind the service as it came, for the app: encoded, with every slash.
    """

    method: str
    path: str
    service: str
    sub_path: str
    app_path: str
    reserved: Mapping[str, str]
    tags: dict[str, str]
    headers: Mapping[str, str]

    @property
    def protobuf(self) -> bool:
        """Whether the client wants protobuf. Official clients that want JSON send no Accept at all."""
        return frames.PROTOBUF in self.headers.get("accept", "")

    @property
    def group(self) -> str:
        return _name(self.headers, HEADER_GROUP) or DEFAULT_GROUP

    @property
    def user(self) -> str:
        """The consumer's name, '' when it gave none."""
        return _name(self.headers, HEADER_USER)

    def asks(self, name: str) -> bool:
        """Whether an operation or option is asked for."""
        return self.flag(name, default=False)

    def flag(self, name: str, *, default: bool) -> bool:
        text = self.reserved.get(name)
        if text is None:
            return default
        if text.lower() in ("true", "1", "t"):
            return True
        if text.lower() in ("false", "0", "f", ""):
            return False
        raise InvalidArgument(name, f"is {text!r}; true or false is expected. Nothing was changed.")

    def number(self, name: str, *, default: int | None, least: int) -> int:
        """A whole number; with `default` None it must be there."""
        text = self.reserved.get(name)
        if text is None or text == "":
            if default is None:
                raise InvalidArgument(name, "is missing. Nothing was changed.")
            return default
        return whole(name, text, least)

    def indexes(self) -> list[int]:
        """`_indexes_`: one or more, separated by commas."""
        words = [word.strip() for word in self.reserved.get("_indexes_", "").split(",") if word.strip()]
        if not words or len(words) > MOST_INDEXES:
            raise InvalidArgument(
                "_indexes_", f"1 to {MOST_INDEXES} indexes are expected. Nothing was changed."
            )
        return [whole("_indexes_", word, 1) for word in words]

    def timeout(self) -> float:
        """`_timeout_` in seconds: a Go duration (`1m30s`, `500ms`) or a bare number; 0 when absent."""
        return duration("_timeout_", self.reserved.get("_timeout_", "0"))

    def priority(self) -> int:
        text = self.reserved.get("_priority_") or self.headers.get(HEADER_PRIORITY.lower()) or "0"
        return whole("_priority_", text, -1000, most=1000)


def parse(
    method: str, path: str, query: bytes, headers: Mapping[str, str], *, raw_path: str = ""
) -> QueueRequest:
    """Take a request apart; nothing is checked yet.

    Args:
        path: decoded, starting with `PREFIX`.
        raw_path: as it came, before it was decoded, where that is known.
        query: as it came.
        headers: names in lower case.
    """
    service, _, sub_path = path.removeprefix(PREFIX).partition("/")
    reserved: dict[str, str] = {}
    tags: dict[str, str] = {}
    for name, value in parse_qsl(_text(query), keep_blank_values=True):
        own = len(name) > 2 and name[0] == "_" and name[-1] == "_"
        (reserved if own else tags)[name] = value
    _, _, as_it_came = raw_path.removeprefix(PREFIX).partition("/")
    if not raw_path.startswith(PREFIX):
        as_it_came = quote(sub_path)
    app_path = f"/{as_it_came}" if sub_path.strip("/") else ""
    return QueueRequest(method, path, service, sub_path.strip("/"), app_path, reserved, tags, headers)


def _text(query: bytes) -> str:
    """A query string: ASCII as it should be, or what a client has not encoded."""
    try:
        return query.decode("utf-8")
    except UnicodeDecodeError:
        return query.decode("latin-1")


def whole(name: str, text: str, least: int, *, most: int = _LARGEST) -> int:
    """A whole number from a query; raises InvalidArgument."""
    sign, digits = (-1, text[1:]) if text[:1] == "-" else (1, text)
    # Not int() alone: it takes underscores, blanks, and digits of every script.
    if digits.isascii() and digits.isdecimal() and len(digits) <= 16:
        value = sign * int(digits)
        if least <= value <= most:
            return value
    raise InvalidArgument(
        name, f"is {text[:40]!r}; a number of at least {least} is expected. Nothing was changed."
    )


def duration(name: str, text: str) -> float:
    """Seconds of a Go duration or of a bare number, at most an hour; raises InvalidArgument."""
    if _NUMBER.fullmatch(text) and len(text) < 20:
        return min(float(text), LONGEST_WAIT)
    parts = _DURATION.findall(text) if len(text) < 40 else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidArgument(name, f"is {text[:40]!r}; a duration like 5s or 500ms is expected.")
    return min(sum(float(number) * _SECONDS[unit] for number, unit in parts), LONGEST_WAIT)


def negative_reason(body: bytes) -> tuple[str, str]:
    """Code and reason of a negative commit, from its form body; raises InvalidArgument."""
    form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    code, reason = form.get("_code_", ""), form.get("_reason_", "")
    if code and (len(code) > 20 or not _CODE.fullmatch(code)):
        raise InvalidArgument(
            "_code_", "is no code: words like Shutdown, or an HTTP status, up to 20 characters"
        )
    return code, reason[:2000]


def _name(headers: Mapping[str, str], header: str) -> str:
    value = headers.get(header.lower(), "")
    if len(value) > LONGEST_NAME:
        raise InvalidArgument(header, f"is longer than {LONGEST_NAME} characters. Nothing was changed.")
    return value
