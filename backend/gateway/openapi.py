"""The OpenAPI document: what FastAPI makes of the routes, said as it is, with the queue protocol beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from backend.gateway import queue_docs
from backend.views import ErrorView

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorView, "description": "a wrong argument; nothing was changed"},
    401: {"model": ErrorView, "description": "no token, or one that is not known (any more)"},
    403: {"model": ErrorView, "description": "a token that does not cover this; nothing was changed"},
    404: {"model": ErrorView, "description": "there is no such thing"},
    409: {
        "model": ErrorView,
        "description": "it is in a state that does not allow this; nothing was changed",
    },
    413: {"model": ErrorView, "description": "a payload over its limit; nothing was stored"},
    429: {"model": ErrorView, "description": "an account has as much as it may have; nothing was stored"},
    450: {"model": ErrorView, "description": "the queue is full, as EAS says it; nothing was stored"},
    503: {"model": ErrorView, "description": "the store does not answer; what it has acknowledged is safe"},
}
"""What any request of the control API may be answered besides what it asks for."""

_TAGS = [
    {"name": "services", "description": "Services, their instances, and what was decided about them."},
    {"name": "tasks", "description": "Putting tasks, following them, and what they left."},
    {"name": "pictures", "description": "Models and LoRAs, and the pictures of queries."},
    {"name": "users", "description": "Accounts, tokens, sessions, whose files are whose, who did what."},
    {"name": "queue", "description": "The queue protocol of PAI-EAS, for its unchanged clients."},
    {"name": "health", "description": "For those who watch."},
]
_OPEN = frozenset(
    {"/healthz", "/readyz", "/api/v1/servicediscovery/upstreams/{service}", "/api/v1/outputs/{path}"}
)
_METHODS = ("get", "post", "put", "patch", "delete")


def document(app: FastAPI) -> dict[str, Any]:
    """The document; made once."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes, tags=_TAGS)
        queue_docs.describe(schema)
        schema["components"]["securitySchemes"] = {
            "token": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": "the token as it is, or behind `Bearer`; docs/users.md says what each kind may do",
            }
        }
        for path, operation in _operations(schema):
            _mend(path, operation)
        # Readers of the document know plain arrays better than tuples.
        lines = schema["components"]["schemas"]["LogPage"]["properties"]["lines"]
        either = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
        lines["items"] = {"type": "array", "items": either, "minItems": 2, "maxItems": 2}
        for unused in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(unused, None)
        app.openapi_schema = schema
    return app.openapi_schema


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield path, methods[method]


def _mend(path: str, operation: dict[str, Any]) -> None:
    """What does not fit is answered 400 here, errors always as JSON; a summary is a sentence, no function's name."""
    operation["responses"].pop("422", None)
    for status, answer in operation["responses"].items():
        if status[0] in "45":
            answer["content"] = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorView"}}}
    said = operation.get("description", "")
    if said and not path.startswith("/api/predict/"):
        operation["summary"] = said.split("\n")[0].split(". ")[0].split(": ")[0].rstrip(".")
    operation["security"] = [] if path in _OPEN else [{"token": []}]
