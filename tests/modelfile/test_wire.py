"""The protobuf reader, on literal bytes and against the real library."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models_for_tests import tiny_onnx
from tumorlens.modelfile.wire import (
    WireError,
    in_field_order,
    metadata_entry,
    split_metadata,
    with_producer,
)

GRAPH = b"\x08\x08\x3a\x02ab"  # ir_version 8, a graph of two bytes
ENTRY = b"\x72\x06\x0a\x01k\x12\x01v"  # metadata_props: k = v
KEYS = frozenset({"k"})


@pytest.mark.parametrize(
    ("data", "rest", "found"),
    [
        (GRAPH, GRAPH, {}),
        (ENTRY + GRAPH, GRAPH, {"k": b"v"}),
        (GRAPH + ENTRY, GRAPH, {"k": b"v"}),
        (b"\x08\x08" + ENTRY + b"\x3a\x02ab", GRAPH, {"k": b"v"}),
        (GRAPH + b"\x72\x06\x0a\x01x\x12\x01v", GRAPH + b"\x72\x06\x0a\x01x\x12\x01v", {}),
        (GRAPH + b"\x72\x03\x0a\x01k", GRAPH, {"k": b""}),  # protobuf leaves out empty values
    ],
)
def test_entries_are_split_off_by_key(data: bytes, rest: bytes, found: dict[str, bytes]) -> None:
    assert split_metadata(data, KEYS) == (rest, found)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no graph"),
        (b"\x08\x08", "no graph"),
        (GRAPH[:-1], "exceeds the file by 1 bytes"),
        (GRAPH + b"\x80", "middle of a number"),
        (GRAPH + b"\x08" + b"\xff" * 10 + b"\x01", "longer than 64 bits"),
        (GRAPH + b"\x18\x00", "unknown field 3"),
        (GRAPH + b"\x38\x00", "unknown field 7"),  # the graph's number with another wire type
        (b"hello, this is text", "unknown field"),
        (ENTRY + ENTRY + GRAPH, "twice"),
        (GRAPH + b"\x72\x03\x0a\x01\xff", "not text"),
    ],
)
def test_bytes_that_are_not_a_model_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        split_metadata(data, KEYS)


def test_an_entry_is_written_as_protobuf_has_it() -> None:
    assert metadata_entry("k", b"v") == ENTRY


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (GRAPH, GRAPH),
        (ENTRY + GRAPH, GRAPH + ENTRY),
        (b"\x3a\x02ab" + b"\x42\x00" + ENTRY + b"\x42\x01x" + b"\x08\x08",
         GRAPH + b"\x42\x00" + b"\x42\x01x" + ENTRY),
    ],
)  # fmt: skip
def test_fields_are_stably_sorted_by_number(data: bytes, expected: bytes) -> None:
    assert in_field_order(data) == expected


def test_the_producer_is_written_once_at_the_start() -> None:
    named = b"\x08\x08\x12\x01n\x1a\x011\x3a\x02ab"
    assert with_producer(GRAPH, "n", "1") == named
    assert with_producer(named, "n", "1") == named
    assert with_producer(b"\x12\x05other" + GRAPH, "n", "1") == named


def test_a_producer_is_not_added_to_other_bytes() -> None:
    with pytest.raises(WireError, match="unknown field"):
        with_producer(b"hello, this is text", "n", "1")


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 300_000])
def test_the_onnx_library_reads_what_is_written(size: int) -> None:
    value = "ä" * (size // 2) + "x" * (size % 2)
    model = onnx.load_from_string(metadata_entry("key", value.encode()) + tiny_onnx())
    assert {entry.key: entry.value for entry in model.metadata_props} == {"key": value}
    onnx.checker.check_model(model)
    assert model.graph.name == "tiny"
    rest, found = split_metadata(model.SerializeToString(), frozenset({"key"}))
    assert (rest, found) == (tiny_onnx(), {"key": value.encode()})


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: GRAPH + tail))
def test_any_bytes_are_split_or_refused(data: bytes) -> None:
    try:
        rest, found = split_metadata(data, KEYS)
    except WireError:
        return
    # What was read is exactly what was there: nothing is dropped but the named entry.
    assert len(rest) + sum(len(metadata_entry("k", v)) for v in found.values()) <= len(data)
    assert split_metadata(rest, KEYS) == (rest, {})


@given(st.binary(max_size=300), st.integers(0, 2))
def test_an_entry_is_read_at_any_position(value: bytes, place: int) -> None:
    entry = metadata_entry("k", value)
    data = [entry + GRAPH, GRAPH[:2] + entry + GRAPH[2:], GRAPH + entry][place]
    assert split_metadata(data, KEYS) == (GRAPH, {"k": value})
