"""From what was written to a `Description`, with a word about everything in it that has no effect.

Keys may be dotted (`"rpc.worker_threads": 4`) or nested, in `metadata` or at the top. What has no meaning here is
said in a warning, never dropped in silence; what is wrong is refused with its line, its key and what was expected.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from backend.errors import InvalidArgument
from backend.service.description import Description
from backend.service.meaning import RECORDED
from backend.service.text import Document, read
from backend.service.version import version_of


@dataclass(frozen=True, slots=True)
class Parsed:
    """A description and what was said in it that means nothing here."""

    description: Description
    warnings: tuple[str, ...]


_OPAQUE = {"autoscaler", "cronscaler", "raw"}
"""Parts that are read, and checked key by key, elsewhere."""
_LITERAL = {"node_selector", "labels", "annotations", "resources"}
"""Parts whose keys may hold dots of their own."""
_JOB = {"enable_write_log_to_queue"}
_IN_METADATA = {"name", "type", "instance", "cpu", "gpu", "memory", "token", "rpc"}
_MOVED = (
    "containers",
    "queue",
    "front_end",
    "autoscaler",
    "cronscaler",
    "rpc",
    "storage",
    "kubernetes",
    "ray",
)
_AT_THE_TOP = {"metadata", "scalable_job", *_MOVED} | _IN_METADATA


def parse(text: str | bytes | Mapping[str, Any]) -> Parsed:
    """Read a description.

    Raises:
        InvalidArgument: it is neither JSON nor YAML (with the line), a key is missing, or a value is wrong (with
            its line and key).
    """
    document = Document(dict(text)) if isinstance(text, Mapping) else read(text)
    tree = _nested(document.value)
    metadata = tree.get("metadata", {})
    if not isinstance(metadata, dict):
        raise InvalidArgument("metadata", "an object with `name` and `type` is expected")
    fields = _fields(tree, metadata)
    for needed in ("name", "type"):
        if needed not in fields:
            raise InvalidArgument(f"metadata.{needed}", "is missing; nothing was deployed")
    try:
        description = Description(**fields, version=version_of(tree), raw=document.value)
    except ValidationError as error:
        raise _refused(error, document) from None
    return Parsed(description, tuple(_warnings(tree, metadata, description, document)))


def _fields(tree: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {k: v for k, v in {**tree, **metadata}.items() if k in _IN_METADATA}
    for part in _MOVED:
        value = tree.get(part, metadata.get(part))
        if isinstance(value, dict) and isinstance(metadata.get(part), dict):
            value = {**metadata[part], **value}
        if value is not None:
            fields[part] = value
    job = tree.get("scalable_job", metadata.get("scalable_job", {}))
    fields["write_log_to_queue"] = job.get("enable_write_log_to_queue") if isinstance(job, dict) else None
    return fields


def _refused(error: ValidationError, document: Document) -> InvalidArgument:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return InvalidArgument(
        where, f"{document.place(where)}{message} (it is {first['input']!r}); nothing was deployed"
    )


def _warnings(
    tree: dict[str, Any], metadata: dict[str, Any], description: Description, document: Document
) -> Iterator[str]:
    for path in document.twice:
        yield f"{document.place(path)}{path}: stands twice; the last one counts"
    for path, near in _without_effect(tree, metadata, description):
        said = _recorded(path)
        if said is None:
            guess = difflib.get_close_matches(path.rpartition(".")[2], near, n=1)
            hint = f"; did you mean {guess[0]!r}?" if guess else ""
            said = f"has no meaning here and is kept as it is{hint}"
        yield f"{document.place(path)}{path}: {said}"


def _recorded(path: str) -> str | None:
    """What is said of a key that EAS knows, or of the part that it stands in."""
    words = ["*" if word.isdigit() else word for word in path.split(".")]
    found = (RECORDED.get(".".join(words[:length])) for length in range(len(words), 0, -1))
    return next((said for said in found if said is not None), None)


def _without_effect(
    tree: dict[str, Any], metadata: dict[str, Any], description: Description
) -> Iterator[tuple[str, list[str]]]:
    """Paths of keys that nothing reads, each with the names that would have been read in its place."""
    for key in tree:
        if key not in _AT_THE_TOP:
            yield key, sorted(_AT_THE_TOP)
    for key in metadata:
        if key not in _IN_METADATA | {*_MOVED, "scalable_job"}:
            yield f"metadata.{key}", sorted(_IN_METADATA)
    for size in ("cpu", "gpu", "memory"):
        if size in {**tree, **metadata}:
            yield f"metadata.{size}", []
    job = tree.get("scalable_job", metadata.get("scalable_job", {}))
    for key in job if isinstance(job, dict) else ():
        if key not in _JOB:
            yield f"scalable_job.{key}", sorted(_JOB)
    for index, container in enumerate(description.containers):
        if container.image:
            yield f"containers.{index}.image", []
    if description.front_end is not None and description.front_end.image:
        yield "front_end.image", []
    for index, storage in enumerate(description.storage):
        if storage.kind == "none":
            yield f"storage.{index}", []
    yield from _extra(description, "")


def _extra(part: BaseModel, path: str) -> Iterator[tuple[str, list[str]]]:
    """Keys within the typed parts that their types do not have."""
    known = sorted(type(part).model_fields)
    for key in part.model_extra or {}:
        yield f"{path}{key}", known
    for name in type(part).model_fields:
        value = getattr(part, name)
        if name in _OPAQUE:
            continue
        if isinstance(value, BaseModel):
            yield from _extra(value, f"{path}{name}.")
        elif isinstance(value, tuple):
            for number, each in enumerate(value):
                if isinstance(each, BaseModel):
                    yield from _extra(each, f"{path}{name}.{number}.")


def _nested(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys spelled out: `{"rpc.keepalive": 1}` becomes `{"rpc": {"keepalive": 1}}`."""
    tree: dict[str, Any] = {}
    for name, value in raw.items():
        literal = name.rpartition(".")[2] in _LITERAL
        value = _nested(value) if isinstance(value, Mapping) and not literal else value
        head, _, rest = name.partition(".")
        if not rest:
            old = tree.get(name)
            tree[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
            continue
        inner = _nested({rest: value})
        old = tree.get(head)
        tree[head] = {**old, **inner} if isinstance(old, dict) else inner
    return tree


def with_part(raw: Mapping[str, Any], part: str, value: Any) -> dict[str, Any]:
    """The description with one of its parts (`autoscaler`) replaced, or removed by None, however it was spelled."""

    def without(level: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in level.items() if k != part and not k.startswith(f"{part}.")}

    changed = without({k: v for k, v in raw.items() if not k.startswith(f"metadata.{part}")})
    if isinstance(changed.get("metadata"), Mapping):
        changed["metadata"] = without(changed["metadata"])
    return changed if value is None else changed | {part: value}
