"""Which models a query needs, so that it meets an instance that has them."""

from __future__ import annotations

from backend.inference import request
from backend.service import Description


def models_of(service: Description, kind: str, body: bytes) -> list[str]:
    """The model and the LoRAs that a query to the built-in app names; [] for any other app."""
    app = service.app
    return request.models_of(body) if kind == "query" and app is not None and app.built_in else []
