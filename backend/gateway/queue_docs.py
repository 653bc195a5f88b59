"""The queue protocol's part of the OpenAPI document: it is served beside FastAPI, which so cannot describe it."""

from __future__ import annotations

from typing import Any


def _parameter(name: str, where: str, kind: str, text: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": text,
        "schema": {"type": kind},
    }


_SERVICE = _parameter("service", "path", "string", "name of the service")
_TAGS = {
    "name": "tags",
    "in": "query",
    "description": "every parameter without underscores around it is a tag",
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    "style": "form",
    "explode": True,
}
_INDEXES = _parameter("_indexes_", "query", "string", "indexes, separated by commas")
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_JSON: dict[str, Any] = {"application/json": {"schema": {}}}
_PROTOBUF = {"application/vnd.google.protobuf": {"schema": {"type": "string", "format": "binary"}}}
_ERROR = {"$ref": "#/components/schemas/ErrorView"}


def _answers(content: dict[str, Any], **more: str) -> dict[str, Any]:
    answers: dict[str, Any] = {"200": {"description": "done", "content": content}}
    answers |= {status[1:]: {"description": text} for status, text in more.items()}
    refused = {
        "description": "refused; nothing was changed",
        "content": {"application/json": {"schema": _ERROR}},
    }
    return answers | {"4XX": refused, "503": refused}


def _text() -> dict[str, Any]:
    return {"text/plain": {"schema": {"type": "string"}}}


_GET = {
    "summary": "Read, count, search, watch",
    "description": "Items as a list; with `_attrs_`, `_search_`, `_count_` or `_watch_` what these say. `_watch_` "
    "takes a websocket upgrade, or streams frames behind their length in 4 bytes.",
    "parameters": [
        _SERVICE,
        _parameter("_index_", "query", "integer", "first index; 0 the head, -1 the newest"),
        _parameter("_length_", "query", "integer", "how many"),
        _parameter("_timeout_", "query", "string", "how long to wait for them, like 5s"),
        _parameter("_raw_", "query", "boolean", "the data of one item alone (default true)"),
        _parameter("_auto_delete_", "query", "boolean", "take out what was read (default false)"),
        _parameter("_attrs_", "query", "boolean", "attributes of the queue"),
        _parameter("_search_", "query", "boolean", "where item `_index_` stands"),
        _parameter("_count_", "query", "boolean", "how many items there are"),
        _parameter("_watch_", "query", "boolean", "be sent items as they come"),
        _parameter("_window_", "query", "integer", "watch: most items that are not committed"),
        _parameter("_index_only_", "query", "boolean", "watch: without data"),
        _parameter("_auto_commit_", "query", "boolean", "watch: commit what was sent"),
        _TAGS,
    ],
    "responses": _answers({**_JSON, **_PROTOBUF, **_BYTES, **_text()}, _204="nothing matched"),
}
_POST = {
    "summary": "Put an item, or end the queue",
    "parameters": [
        _SERVICE,
        _parameter("_priority_", "query", "integer", "0 normal, 1 high"),
        _parameter("_eos_", "query", "boolean", "end the queue; false opens it again"),
        _parameter("_force_", "query", "boolean", "with _eos_: throw away what is in it"),
        _parameter("requestId", "query", "string", "a repeated put with it is stored once"),
        _TAGS,
    ],
    "requestBody": {"content": _BYTES},
    "responses": _answers(_text()),
}
_PUT = {
    "summary": "Commit, or commit negatively",
    "parameters": [
        _SERVICE,
        _INDEXES,
        _parameter("_negative_", "query", "boolean", "they were not consumed"),
    ],
    "requestBody": {
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "properties": {"_code_": {"type": "string"}, "_reason_": {"type": "string"}},
                }
            }
        }
    },
    "responses": _answers(_text()),
}
_DELETE = {
    "summary": "Delete items, or truncate the queue",
    "parameters": [
        _SERVICE,
        _INDEXES,
        _parameter("_trunc_", "query", "boolean", "remove everything below _index_"),
        _parameter("_index_", "query", "integer", "with _trunc_"),
    ],
    "responses": _answers(_text()),
}


def describe(schema: dict[str, Any]) -> None:
    """Add the paths of the queue protocol, and how to say who one is, to an OpenAPI document."""
    operations = {"get": _GET, "post": _POST, "put": _PUT, "delete": _DELETE}
    for path, queue in (
        ("/api/predict/{service}", "input"),
        ("/api/predict/{service}/sink", "sink"),
        ("/api/predict/{service}/dead", "dead"),
    ):
        schema["paths"][path] = {
            method: {**operation, "tags": ["queue"], "operationId": f"{method}_{queue}"}
            for method, operation in operations.items()
            if not (queue == "dead" and method == "post")
        }
    scheme = {"type": "apiKey", "in": "header", "name": "Authorization"}
    schema.setdefault("components", {}).setdefault("securitySchemes", {})["token"] = scheme
    schema["security"] = [{"token": []}]
