"""The languages of the pages: English, and one for each catalogue, a JSON file that whoever translates can write.

    {"name": "简体中文", "texts": {"Start training": "开始训练", "{n} lines": "{n} 行"},
     "messages": {"there is no {text} in the data folder": "数据目录中没有 {text}"}}

`texts` maps what the pages say in English to how it is said; what it lacks stays English. A `{word}` stands for what is
put there. `messages` does the same for what the server says: problems, reasons, decisions; a page looks for the entry
that fits the sentence, and `{n}` fits one word only.
Catalogues lie beside this module, and in the folder `languages/` of the data folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers

from backend.errors import NotFound

router = APIRouter(prefix="/languages")

COOKIE = "lorapool_language"
ENGLISH = "en"
OURS = Path(__file__).parent
_FOLDER = "languages"
_CODE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_LARGEST = 4 << 20
_LONGEST = 2000
"""Characters: a text that is longer is looked up in no catalogue, for that takes time."""

_PLACE = re.compile(r"\{(\w+)\}")
_SENTENCES = re.compile(r"(?<=[.!?])\s+")
_ROOM = re.compile("(?<=[。！？]) ")
"""After a full stop as Chinese writes it, which has its own room."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One language: `code` as in `lang`, the name that it has itself, and its words by the English ones."""

    code: str
    name: str
    texts: Mapping[str, str] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)

    def say(self, text: str) -> str:
        """A text in this language; as it is where there is no other."""
        return self.texts.get(text, text)

    def said(self, text: str) -> str:
        """What the server has said, as far as `messages` know it: whole, else sentence by sentence."""
        if len(text) > _LONGEST:
            return text
        whole = self._known(text)
        said = whole or " ".join(self._known(part) or part for part in _SENTENCES.split(text))
        return _ROOM.sub("", said)

    def _known(self, text: str) -> str:
        for key, said in self.messages.items():
            found = _pattern(key).fullmatch(text)
            if found is not None:
                places = dict(zip(_PLACE.findall(key), found.groups(), strict=True))
                return _PLACE.sub(_filled_with(places), said)
        return ""


IN_ENGLISH = Catalogue(ENGLISH, "English")


@cache
def _pattern(key: str) -> re.Pattern[str]:
    """What a message is recognised by: its words, with something in each of its places; `{n}` is one word."""
    pieces = _PLACE.split(key)
    pieces[::2] = map(re.escape, pieces[::2])
    pieces[1::2] = (r"([^;,\s]+)" if name == "n" else "(.+?)" for name in pieces[1::2])
    return re.compile("".join(pieces), re.DOTALL)


def _filled_with(places: Mapping[str, str]) -> Callable[[re.Match[str]], str]:
    return lambda place: places.get(place[1], place[0])


class Languages:
    """The languages that there are: ours, and those of a data folder. Files that are added later need a new start."""

    def __init__(self, data_dir: Path | None = None) -> None:
        self.known = {ENGLISH: IN_ENGLISH}
        theirs = sorted((data_dir / _FOLDER).glob("*.json")) if data_dir is not None else []
        for file in (*sorted(OURS.glob("*.json")), *theirs):
            if _CODE.fullmatch(file.stem):
                self._add(file)

    def _add(self, file: Path) -> None:
        try:
            found = _read(file, file.stat().st_mtime)
        except (OSError, ValueError, AttributeError):
            return
        before = self.known.get(found.code, found)
        self.known[found.code] = Catalogue(
            found.code,
            found.name,
            texts={**before.texts, **found.texts},
            messages={**before.messages, **found.messages},
        )

    def wanted(self, headers: Headers) -> Catalogue:
        """The one that a browser has chosen, or else the first that its person reads and that there is."""
        chosen = _cookie(headers.get("cookie", ""))
        for code in (chosen, *accepted(headers.get("accept-language", ""))):
            if code in self.known:
                return self.known[code]
            # zh-CN reads zh, and zh whatever there is of it.
            root = code.partition("-")[0]
            near = next((each for each in self.known if root and each.partition("-")[0] == root), "")
            if near:
                return self.known[near]
        return self.known[ENGLISH]


@cache
def _read(file: Path, _version: float) -> Catalogue:
    if file.stat().st_size > _LARGEST:
        raise ValueError(f"{file} is too large for a catalogue")
    found = json.loads(file.read_text(encoding="utf-8"))
    texts, messages = (
        {str(key): str(value) for key, value in found.get(part, {}).items() if value}
        for part in ("texts", "messages")
    )
    return Catalogue(file.stem, str(found.get("name") or file.stem), texts, messages)


def _cookie(header: str) -> str:
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def accepted(header: str) -> list[str]:
    """The codes of an `Accept-Language` header, the most wanted first."""
    found = []
    for place, part in enumerate(header.split(",")[:20]):
        code, _, weight = part.strip().partition(";q=")
        try:
            found.append((-float(weight or 1), place, code.strip()))
        except ValueError:
            continue
    return [code for _, _, code in sorted(found)]


def of(request: Request) -> Catalogue:
    """The language that a request is to be answered in."""
    languages: Languages = request.app.state.languages
    return languages.wanted(request.headers)


@router.get("/{code}.json")
async def catalogue(request: Request, code: str) -> Response:
    """The texts of a language."""
    languages: Languages = request.app.state.languages
    found = languages.known.get(code)
    if found is None:
        raise NotFound("There is no such language.")
    content: Any = {"texts": dict(found.texts), "messages": dict(found.messages)}
    return JSONResponse(content, headers={"cache-control": "private, max-age=60"})


def install(app: FastAPI) -> None:
    """Add the route; `app.state` must have `languages`."""
    app.include_router(router)
