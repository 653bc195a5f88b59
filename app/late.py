"""The form, made while the front end already answers, once for each language that somebody reads it in.

Importing Gradio takes seconds; the other pages need none of it. Until the form is there, its address shows a page that
waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.languages import ENGLISH, Catalogue, Languages


class Late:
    """An application that `make` builds in a thread once it is begun; `waiting` is shown until then.

    The application's own start-up is not run: Gradio's starts an event queue that looks a thousand times a second
    whether there is work, and our form sends none.
    """

    def __init__(self, make: Callable[[], ASGIApp], waiting: str) -> None:
        self._make = make
        self._waiting = waiting
        self._app: ASGIApp | None = None
        self._failed = ""
        self._building: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Build it, if that has not begun."""
        if self._building is None:
            self._building = asyncio.create_task(self._build())

    async def close(self) -> None:
        """A thread cannot be interrupted; nobody waits for a form at the end."""
        if self._building is not None:
            self._building.cancel()
            await asyncio.gather(self._building, return_exceptions=True)

    async def _build(self) -> None:
        try:
            self._app = await asyncio.to_thread(self._make)
        except Exception as error:
            self._failed = (
                f"The form could not be made: {error}. Jobs and Service work; see the front end's log."
            )
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begin()
        if self._app is not None:
            await self._app(scope, receive, send)
        elif self._failed:
            await PlainTextResponse(self._failed, status_code=500)(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) in ("", "/"):
            answer = HTMLResponse(self._waiting, headers={"cache-control": "no-store"})
            await answer(scope, receive, send)
        else:
            await PlainTextResponse("The form is not ready yet.", status_code=503)(scope, receive, send)


class LateInEach:
    """One late application for each language: the English one is begun at once, others when they are asked for."""

    def __init__(
        self,
        languages: Languages,
        make: Callable[[Catalogue], ASGIApp],
        waiting: Callable[[Catalogue], str],
    ) -> None:
        self._languages = languages
        self._make = make
        self._waiting = waiting
        self._each: dict[str, Late] = {}
        self._making = threading.Lock()

    def _late(self, language: Catalogue) -> Late:
        if language.code not in self._each:
            self._each[language.code] = Late(lambda: self._made(language), self._waiting(language))
        return self._each[language.code]

    def _made(self, language: Catalogue) -> ASGIApp:
        # Gradio knows one form that is being made in a process: parts of a second one would end up in the first.
        with self._making:
            return self._make(language)

    @contextlib.asynccontextmanager
    async def building(self) -> AsyncIterator[None]:
        """While this is entered they are built and then served."""
        self._late(self._languages.known[ENGLISH]).begin()
        try:
            yield
        finally:
            for late in self._each.values():
                await late.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._late(self._languages.wanted(Headers(scope=scope)))(scope, receive, send)
