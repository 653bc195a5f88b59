"""The form, made while the front end already answers.

Importing Gradio takes seconds; the other pages need none of it. Until the form is there, its address shows a page that
waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Late:
    """An application that `make` builds in a thread once `building` is entered; `waiting` is shown until then.

    The application's own start-up is not run: Gradio's starts an event queue that looks a thousand times a second
    whether there is work, and our form sends none.
    """

    def __init__(self, make: Callable[[], ASGIApp], waiting: str) -> None:
        self._make = make
        self._waiting = waiting
        self._app: ASGIApp | None = None
        self._failed = ""

    @contextlib.asynccontextmanager
    async def building(self) -> AsyncIterator[None]:
        """While this is entered the application is built and then served."""
        building = asyncio.create_task(self._build())
        try:
            yield
        finally:
            # A thread cannot be interrupted; nobody waits for a form at the end.
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)

    async def _build(self) -> None:
        try:
            self._app = await asyncio.to_thread(self._make)
        except Exception as error:
            self._failed = (
                f"The form could not be made: {error}. Jobs and Service work; see the front end's log."
            )
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is not None:
            await self._app(scope, receive, send)
        elif self._failed:
            await PlainTextResponse(self._failed, status_code=500)(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) in ("", "/"):
            answer = HTMLResponse(self._waiting, headers={"cache-control": "no-store"})
            await answer(scope, receive, send)
        else:
            await PlainTextResponse("The form is not ready yet.", status_code=503)(scope, receive, send)
