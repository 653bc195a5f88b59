"""Frames against the real protobuf runtime, and against bytes recorded from the official client's server."""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from backend.queue import frames
from backend.store.streams import Item

_TYPES = descriptor_pb2.FieldDescriptorProto


def _messages() -> dict[str, Any]:
    """The protocol's three messages, as protoc would have made them."""
    file = descriptor_pb2.FileDescriptorProto(name="queueservice.proto", package="streaming", syntax="proto3")

    def message(name: str, *fields: tuple[str, int, int, str, bool], tags: str = "") -> None:
        made = file.message_type.add(name=name)
        if tags:
            entry = made.nested_type.add(name=f"{tags.capitalize()}Entry")
            entry.options.map_entry = True
            for number, half in ((1, "key"), (2, "value")):
                entry.field.add(
                    name=half, number=number, type=_TYPES.TYPE_STRING, label=_TYPES.LABEL_OPTIONAL
                )
        for field, number, kind, of, many in fields:
            label = _TYPES.LABEL_REPEATED if many else _TYPES.LABEL_OPTIONAL
            made.field.add(name=field, number=number, type=kind, label=label, type_name=of or None)

    entry = (".streaming.DataFrameProto.TagsEntry", ".streaming.AttributesProto.AttributesEntry")
    message(
        "DataFrameProto",
        ("index", 1, _TYPES.TYPE_UINT64, "", False),
        ("tags", 2, _TYPES.TYPE_MESSAGE, entry[0], True),
        ("data", 3, _TYPES.TYPE_BYTES, "", False),
        ("message", 4, _TYPES.TYPE_STRING, "", False),
        tags="tags",
    )
    message("DataFrameListProto", ("index", 1, _TYPES.TYPE_MESSAGE, ".streaming.DataFrameProto", True))
    message("AttributesProto", ("attributes", 1, _TYPES.TYPE_MESSAGE, entry[1], True), tags="attributes")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = ("DataFrameProto", "DataFrameListProto", "AttributesProto")
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"streaming.{name}"))
        for name in names
    }


MESSAGES = _messages()
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ITEMS = st.builds(
    Item,
    index=st.integers(0, 2**64 - 1),
    tags=st.dictionaries(TEXT, TEXT, max_size=4),
    data=st.binary(max_size=400),
)


def _read(name: str, data: bytes) -> Any:
    message = MESSAGES[name]()
    message.ParseFromString(data)
    return message


@given(ITEMS, TEXT)
def test_a_frame_is_what_protobuf_reads(item: Item, message: str) -> None:
    read = _read("DataFrameProto", frames.frame(item, message))

    assert (read.index, dict(read.tags), read.data, read.message) == (
        item.index,
        item.tags,
        item.data,
        message,
    )


@given(st.lists(ITEMS, max_size=5))
def test_a_list_is_what_protobuf_reads(items: list[Item]) -> None:
    read = _read("DataFrameListProto", frames.frame_list(items))

    assert [(f.index, dict(f.tags), f.data) for f in read.index] == [(i.index, i.tags, i.data) for i in items]


@given(st.dictionaries(TEXT, TEXT, max_size=5))
def test_attributes_are_what_protobuf_reads(values: dict[str, str]) -> None:
    assert dict(_read("AttributesProto", frames.attributes(values)).attributes) == values


def test_the_recorded_bytes_of_a_get_by_request_id() -> None:
    item = Item(1, {"taskType": "query", "requestId": "985d9457-9dc8-48ec-9e8d-5a1e1de3bcc9"}, b"result")

    encoded = frames.frame_list([item])

    assert len(encoded) == 82
    assert encoded.startswith(
        b"\x0a\x50\x08\x01\x12\x11\x0a\x08taskType\x12\x05query\x12\x31\x0a\x09requestId\x12\x24"
    )
    assert encoded.endswith(b"\x1a\x06result")


@given(ITEMS)
def test_the_json_form_holds_the_same(item: Item) -> None:
    (read,) = json.loads(frames.json_list([item]))

    assert read == {"index": item.index, "tags": item.tags, "data": base64.b64encode(item.data).decode()}
    assert json.loads(frames.json_frame(item, "why"))["message"] == "why"


def test_a_lone_surrogate_spoils_no_message() -> None:
    item = Item(1, {"k": "\ud800"}, b"")

    assert _read("DataFrameProto", frames.frame(item)).tags["k"] == "?"
    json.loads(frames.json_frame(item))


def test_a_streamed_frame_stands_behind_its_length() -> None:
    assert frames.delimited(b"abc") == b"\x00\x00\x00\x03abc"
