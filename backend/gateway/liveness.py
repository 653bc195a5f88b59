"""Whether a websocket client is still there.

A client may be busy with an item for minutes without reading, so an unanswered ping says nothing: the official
client answers pings only while it reads, and sends its own every two seconds from a thread. So any bytes from it
count, and a client that has sent none at all for long is gone, whatever TCP believes.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

EXTENSION = "lorapool.liveness"


@dataclass(slots=True)
class Liveness:
    """When the client was last heard, and the way to cut it off."""

    transport: asyncio.Transport
    heard: float

    def silent_for(self) -> float:
        """Seconds since anything came from the client."""
        return time.monotonic() - self.heard

    def cut(self) -> None:
        """Drop the connection without waiting for a client that does not read."""
        self.transport.abort()


class WatchedWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's websocket protocol, which notes when it was last heard from."""

    liveness: Liveness | None = None

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.handshake_initiated and hasattr(self, "scope"):
            self.liveness = Liveness(self.transport, time.monotonic())
            extensions = self.scope.get("extensions")
            assert extensions is not None
            extensions[EXTENSION] = self.liveness  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.liveness is not None:
            self.liveness.heard = time.monotonic()
        super().data_received(data)
