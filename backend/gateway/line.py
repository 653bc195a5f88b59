"""uvicorn's websocket protocol and what a watcher needs besides: is the client there, and many frames in one write.

A client may be busy with an item for minutes without reading, so an unanswered ping says nothing: the official
client answers pings only while it reads, and sends its own every two seconds from a thread. So any bytes from it
count, and a client that has sent none at all for long is gone, whatever TCP believes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.http11 import Request

EXTENSION = "lorapool.line"


class Line:
    """The client's end of the connection."""

    def __init__(self, protocol: WebSocketsSansIOProtocol) -> None:
        self._protocol = protocol
        self.heard = time.monotonic()

    def silent_for(self) -> float:
        """Seconds since anything came from the client."""
        return time.monotonic() - self.heard

    def cut(self) -> None:
        """Drop the connection without waiting for a client that does not read."""
        self._protocol.transport.abort()

    async def send(self, frames: Sequence[bytes], *, text: bool) -> None:
        """Send messages in one write, once the client has taken most of those before.

        Raises:
            WebSocketDisconnect: the client is gone.
        """
        protocol = self._protocol
        await protocol.writable.wait()
        if protocol.disconnected:
            raise WebSocketDisconnect(1006)
        try:
            for frame in frames:
                if text:
                    protocol.conn.send_text(frame)
                else:
                    protocol.conn.send_binary(frame)
        except InvalidState:
            raise WebSocketDisconnect(1006) from None
        protocol.transport.write(b"".join(protocol.conn.data_to_send()))


class WatchedWebSocket(WebSocketsSansIOProtocol):
    """Notes when the client was last heard, and hands its `Line` to the application."""

    line: Line | None = None

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.handshake_initiated and hasattr(self, "scope"):
            self.line = Line(self)
            extensions = self.scope.get("extensions")
            assert extensions is not None
            extensions[EXTENSION] = self.line  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.line is not None:
            self.line.heard = time.monotonic()
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # A request that cannot be read, such as one with a line that is too long: uvicorn would leave its client
            # waiting for ever.
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()
