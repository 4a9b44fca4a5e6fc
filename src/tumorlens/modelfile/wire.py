"""Read and write ONNX ``metadata_props`` without the ``onnx`` package.

An ONNX file is one protobuf message (``ModelProto`` in onnx.proto): at the top level a sequence of
fields, each a tag (field number and wire type) and a value. Metadata entries are the fields 14,
each a ``StringStringEntryProto`` with a key (1) and a value (2). Protobuf allows any order, but
OpenVINO requires the graph before the metadata and Netron detects a model by its first two fields,
so files are written in the order of field numbers, as by the official library.

The reader is strict: unknown fields are refused, so that a flipped bit cannot hide a field.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_VARINT, _BYTES = 0, 2
_METADATA = 14

# Field number -> wire type, from `message ModelProto` in onnx.proto (up to IR version 12).
_MODEL_FIELDS = {
    1: _VARINT,  # ir_version
    2: _BYTES,  # producer_name
    3: _BYTES,  # producer_version
    4: _BYTES,  # domain
    5: _VARINT,  # model_version
    6: _BYTES,  # doc_string
    7: _BYTES,  # graph
    8: _BYTES,  # opset_import
    _METADATA: _BYTES,
    20: _BYTES,  # training_info
    25: _BYTES,  # functions
    26: _BYTES,  # configuration
}
_PRODUCER_NAME, _PRODUCER_VERSION, _GRAPH = 2, 3, 7


class WireError(Exception):
    """The bytes are not a ModelProto; not raised outside the modelfile package."""


@dataclass(frozen=True)
class _Field:
    number: int
    start: int  # of the tag
    value: int  # start of the payload; equals `end` for a varint
    end: int


def split_metadata(data: bytes, keys: frozenset[str]) -> tuple[bytes, dict[str, bytes]]:
    """Return an ONNX file without the metadata entries ``keys``, and their values by key.

    Raises `WireError` for bytes that are not an ONNX model, truncated, without a graph, or with
    one of the keys twice.
    """
    rest: list[bytes] = []
    entries: dict[str, bytes] = {}
    has_graph = False
    for field in _fields(data, _MODEL_FIELDS):
        has_graph = has_graph or field.number == _GRAPH
        if field.number == _METADATA:
            key, value = _entry(data[field.value : field.end])
            if key in keys:
                if key in entries:
                    raise WireError(f"the metadata entry {key} occurs twice")
                entries[key] = value
                continue
        rest.append(data[field.start : field.end])
    if not has_graph:
        raise WireError("it has no graph")
    return b"".join(rest), entries


def with_producer(model: bytes, name: str, version: str) -> bytes:
    """Return an ONNX model with this producer name and version, in the order of field numbers.

    Raises `WireError` for bytes that are not an ONNX model.
    """
    producer = {_PRODUCER_NAME: name, _PRODUCER_VERSION: version}
    others = [
        model[field.start : field.end]
        for field in _fields(model, _MODEL_FIELDS)
        if field.number not in producer
    ]
    fields = [_text_field(number, text.encode()) for number, text in producer.items()]
    return in_field_order(b"".join([*fields, *others]))


def in_field_order(model: bytes) -> bytes:
    """Return an ONNX model with its top-level fields (stably) sorted by number."""
    fields = sorted(_fields(model, _MODEL_FIELDS), key=lambda field: field.number)
    return b"".join(model[field.start : field.end] for field in fields)


def metadata_entry(key: str, value: bytes) -> bytes:
    """Return one encoded ``metadata_props`` field."""
    return _text_field(_METADATA, _text_field(1, key.encode()) + _text_field(2, value))


def _text_field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _entry(body: bytes) -> tuple[str, bytes]:
    parts = {
        field.number: body[field.value : field.end]
        for field in _fields(body, {1: _BYTES, 2: _BYTES})
    }
    try:
        return parts.get(1, b"").decode(), parts.get(2, b"")
    except UnicodeDecodeError as error:
        raise WireError("a metadata key is not text") from error


def _fields(data: bytes, wire_types: dict[int, int]) -> Iterator[_Field]:
    at = 0
    while at < len(data):
        start = at
        tag, at = _read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire_types.get(number) != wire:
            raise WireError(f"unknown field {number} (wire type {wire}) at byte {start}")
        size, at = _read_varint(data, at)
        end = at if wire == _VARINT else at + size
        if end > len(data):
            raise WireError(
                f"field {number} at byte {start} exceeds the file by {end - len(data)} bytes"
            )
        yield _Field(number, start, at, end)
        at = end


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):  # a 64-bit varint has at most ten bytes
        if at >= len(data):
            raise WireError("it ends in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise WireError(f"a number before byte {at} is longer than 64 bits")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
