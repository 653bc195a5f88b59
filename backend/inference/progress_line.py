"""Where the app tells how far a query is: one connection to the progress URL, kept open while the query is drawn."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_SECONDS = 5.0
_GONE = 410


class NotWanted(Exception):
    """Whoever listens says that nobody wants the query any more."""


class ProgressLine:
    """For one thread. A listener that is away is not waited for: the pictures are still wanted."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._path = parts.path or "/"
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_SECONDS)

    def say(self, record: Mapping[str, Any]) -> None:
        """POST a record; one that nobody takes is lost.

        Raises:
            NotWanted: the query may be given up.
        """
        kept = self._connection.sock is not None
        try:
            status = self._post(record)
        except (OSError, http.client.HTTPException):
            self._connection.close()
            if not kept:
                return
            try:  # the listener may just have closed what was quiet for long
                status = self._post(record)
            except (OSError, http.client.HTTPException):
                self._connection.close()
                return
        if status == _GONE:
            raise NotWanted

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _post(self, record: Mapping[str, Any]) -> int:
        self._connection.request("POST", self._path, json.dumps(record).encode())
        with self._connection.getresponse() as response:
            response.read()
            return response.status
