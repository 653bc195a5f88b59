"""Items and attributes on the wire: the three protobuf messages of the queue protocol, and their JSON form.

    message DataFrameProto     { uint64 index = 1; map<string,string> tags = 2; bytes data = 3; string message = 4; }
    message DataFrameListProto { repeated DataFrameProto index = 1; }
    message AttributesProto    { map<string,string> attributes = 1; }

Encoded by hand: the official client pins a protobuf runtime that the rest of this project cannot live with.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping

from backend.store.streams import Item

PROTOBUF = "application/vnd.google.protobuf"
JSON = "application/json"


def _varint(value: int) -> bytes:
    if value < 0x80:
        return _ONE_BYTE[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_ONE_BYTE = [bytes((value,)) for value in range(0x80)]


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field (wire type 2)."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _map(number: int, values: Mapping[str, str]) -> bytes:
    return b"".join([_field(number, _text(1, key) + _text(2, value)) for key, value in values.items()])


def _text(number: int, text: str) -> bytes:
    # A lone surrogate is no UTF-8: protobuf parsers would refuse the whole message.
    return _field(number, text.encode("utf-8", "replace"))


def frame(item: Item, message: str = "") -> bytes:
    """One DataFrameProto. Fields that hold their default are left out, as proto3 does."""
    parts = [_varint(1 << 3) + _varint(item.index)] if item.index else []
    parts.append(_map(2, item.tags))
    if item.data:
        parts.append(_field(3, item.data))
    if message:
        parts.append(_text(4, message))
    return b"".join(parts)


def frame_list(items: Iterable[Item]) -> bytes:
    """A DataFrameListProto."""
    return b"".join(_field(1, frame(item)) for item in items)


def attributes(values: Mapping[str, str]) -> bytes:
    """An AttributesProto."""
    return _map(1, values)


def delimited(frame_bytes: bytes) -> bytes:
    """A frame of a watch over plain HTTP: its length as 4 bytes, big-endian, then the frame."""
    return len(frame_bytes).to_bytes(4, "big") + frame_bytes


def _json_item(item: Item, message: str = "") -> dict[str, object]:
    values: dict[str, object] = {"index": item.index}
    if message:
        values["message"] = message
    return values | {"tags": item.tags, "data": base64.b64encode(item.data).decode()}


def json_frame(item: Item, message: str = "") -> bytes:
    """The JSON form of one item; data is standard base64."""
    return _dump(_json_item(item, message))


def json_list(items: Iterable[Item]) -> bytes:
    """A JSON array of items."""
    return _dump([_json_item(item) for item in items])


def json_object(values: Mapping[str, object]) -> bytes:
    """Attributes and search results."""
    return _dump(dict(values))


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
