"""The JSON schema of a description (draft 2020-12), for editors: completion, help, and marks under what is wrong."""

from __future__ import annotations

from typing import Any

from backend.scaling.autoscaler import Autoscaler
from backend.scaling.cron import CronScaler
from backend.service.description import Description

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
    return {
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
