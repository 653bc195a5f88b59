"""The JSON schema of a description (draft 2020-12), for editors: completion, help, and marks under what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from backend.scaling.autoscaler import Autoscaler
from backend.scaling.cron import CronScaler
from backend.service.description import Description
from backend.service.effects import EFFECTS

_IN_METADATA = ("name", "type", "instance", "cpu", "gpu", "memory")
_DOTTED = ("rpc",)


def schema() -> dict[str, Any]:
    """The schema. Keys that it does not name are allowed, as EAS has many more; their dotted forms too."""
    whole = Description.model_json_schema()
    parts, definitions = whole["properties"], whole["$defs"]
    scaling = Autoscaler.model_json_schema(by_alias=True)
    calendar = CronScaler.model_json_schema(by_alias=True)
    definitions |= scaling.pop("$defs", {}) | calendar.pop("$defs", {})
    metadata = {name: parts[name] for name in (*_IN_METADATA, *_DOTTED)}
    for part in _DOTTED:
        fields = definitions[parts[part]["$ref"].rpartition("/")[2]]["properties"]
        metadata |= {f"{part}.{name}": value for name, value in fields.items()}
    whole_schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lorapool service description",
        "description": "A Scalable Job service as PAI-EAS describes it.",
        "type": "object",
        "required": ["metadata"],
        "properties": {
            "metadata": {"type": "object", "required": ["name", "type"], "properties": metadata},
            "containers": parts["containers"],
            "queue": parts["queue"],
            "rpc": parts["rpc"],
            "front_end": parts["front_end"],
            "storage": parts["storage"],
            "kubernetes": parts["kubernetes"],
            "ray": parts["ray"],
            "autoscaler": scaling | {"additionalProperties": True},
            "cronscaler": calendar,
            "scalable_job": {
                "type": "object",
                "properties": {
                    "enable_write_log_to_queue": {
                        "type": "boolean",
                        "description": "Whether logs go to the output queue (default: of commands yes, of queries no).",
                    }
                },
            },
            "token": parts["token"],
        },
        "$defs": definitions,
    }
    _tell_editors(whole_schema)
    return whole_schema


def _tell_editors(whole: dict[str, Any]) -> None:
    """Write the effect of each key beside it, in its definition or in its dotted spelling."""
    for path, node in _leaves(whole, whole["$defs"], "", plain=False):
        if path in EFFECTS:
            node["description"] = EFFECTS[path]
    for name, node in whole["properties"]["metadata"]["properties"].items():
        if name in EFFECTS:
            node["description"] = EFFECTS[name]


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a description: its dotted path (`[]` for each entry of a list), type, default and effect."""

    path: str
    type: str
    default: Any
    effect: str


def keys() -> list[Key]:
    """Every key that the schema names, in its order, with its effect here."""
    whole = schema()
    return [
        Key(path, _type_of(node), node.get("default"), EFFECTS.get(path, ""))
        for path, node in _leaves(whole, whole["$defs"], "")
    ]


def _plain(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A part of the schema without references, and without the alternative that it is null."""
    while "$ref" in node:
        node = {
            **definitions[node["$ref"].rpartition("/")[2]],
            **{k: v for k, v in node.items() if k != "$ref"},
        }
    others = [part for part in node.get("anyOf", ()) if part.get("type") != "null"]
    return {**node, **_plain(others[0], definitions)} if len(others) == 1 else node


def _leaves(
    written: dict[str, Any], definitions: dict[str, Any], path: str, *, plain: bool = True
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and part of each key: without references, or as it is written."""
    node = _plain(written, definitions)
    if "properties" in node:
        for name, inner in node["properties"].items():
            if "." not in name:  # the dotted spelling of what stands there nested, too
                yield from _leaves(inner, definitions, f"{path}.{name}" if path else name, plain=plain)
    elif node.get("type") == "array" and "$ref" in node.get("items", {}):
        yield from _leaves(node["items"], definitions, f"{path}[]", plain=plain)
    else:
        yield path, node if plain else written


def _type_of(node: dict[str, Any]) -> str:
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"] if value)
    return {"array": "list", "object": "object"}.get(str(node.get("type")), str(node.get("type", "any")))
