"""Tensors of the protocol ↔ Python: in JSON, and with the binary tensor data extension.

In JSON an encoded image is base64 in a BYTES element, because JSON holds no bytes. In binary each
BYTES element is preceded by its length as a little-endian uint32, and numbers are little-endian,
row by row.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from tumorlens.serving.open_inference.schemas import InferRequest, RequestInput
from tumorlens.serving.problems import ProblemError

BINARY_HEADER = "inference-header-content-length"
JSON_TYPE, BINARY_TYPE = "application/json", "application/octet-stream"
_LENGTH = 4


@dataclass(frozen=True)
class Output:
    """One output tensor: float32 ``[N, …]``, bool ``[N]`` or N texts."""

    name: str
    values: NDArray[np.float32] | NDArray[np.bool_] | list[str]

    @property
    def datatype(self) -> str:
        """The protocol's name of the type."""
        if isinstance(self.values, list):
            return "BYTES"
        return "BOOL" if self.values.dtype == np.bool_ else "FP32"

    @property
    def shape(self) -> list[int]:
        """The number of elements in each dimension."""
        return [len(self.values)] if isinstance(self.values, list) else list(self.values.shape)

    def as_json(self) -> list[Any]:
        """Return the elements row by row."""
        values = self.values
        return values if isinstance(values, list) else values.ravel().tolist()

    def as_bytes(self) -> bytes:
        """Return the elements as the binary extension sends them."""
        if not isinstance(self.values, list):
            kind = "?" if self.values.dtype == np.bool_ else "<f4"
            return self.values.astype(kind).tobytes()
        texts = [text.encode() for text in self.values]
        return b"".join(len(text).to_bytes(_LENGTH, "little") + text for text in texts)


def malformed(detail: str) -> ProblemError:
    """Return the 400 problem of a request that is not the protocol's."""
    return ProblemError("malformed-request", detail)


def read_request(body: bytes, header_length: str | None) -> tuple[InferRequest, list[memoryview]]:
    """Return the JSON object of a body, and each input's binary data (empty where in JSON).

    Args:
        body: The whole body.
        header_length: The field ``Inference-Header-Content-Length``: bytes of JSON, if binary data
            follow it.

    Raises `ProblemError` 400; its message never quotes the body.
    """
    end = len(body)
    if header_length is not None:
        if not header_length.isdigit() or int(header_length) > len(body):
            raise malformed("Inference-Header-Content-Length is not a length within the body.")
        end = int(header_length)
    try:
        request = InferRequest.model_validate_json(body[:end])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise malformed(f"{place or 'body'}: {first['msg']}.") from None
    parts, rest = [], memoryview(body)[end:]
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            parts.append(memoryview(b""))
            continue
        if type(size) is not int or not 0 <= size <= len(rest) or tensor.data is not None:
            raise malformed(f"inputs.{tensor.name[:40]!r}: binary_data_size does not fit the body.")
        parts.append(rest[:size])
        rest = rest[size:]
    if rest:
        raise malformed("The body goes on behind the last input's binary data.")
    return request, parts


def byte_elements(tensor: RequestInput, binary: memoryview, limit: int) -> list[bytes]:
    """Return the elements of a BYTES tensor of any shape, at most ``limit``, base64 undone.

    Raises `ProblemError` 400 for other data, 413 for more elements.
    """
    count = _count(tensor)
    if count > limit:
        raise ProblemError("too-large", f"The request has more than {limit} images.")
    if tensor.data is not None:
        found = [_from_base64(element) for element in _flat(tensor.data)]
    else:
        found = []
        while binary:
            end = _LENGTH + int.from_bytes(binary[:_LENGTH], "little")
            if len(binary) < _LENGTH or end > len(binary):
                raise malformed("image: an element is longer than the binary data.")
            found.append(bytes(binary[_LENGTH:end]))
            binary = binary[end:]
    if len(found) != count:
        raise malformed(f"image: the shape holds {count} elements, the data {len(found)}.")
    return found


def floats(tensor: RequestInput, binary: memoryview, shape: tuple[int, ...], limit: int) -> Any:
    """Return an FP32 tensor as float32 ``[N, *shape]``, N from 1 to ``limit``.

    Raises `ProblemError` 400 for another shape or data that do not fill it, 413 for a larger N.
    """
    expected = f"[N, {', '.join(map(str, shape))}]"
    if tensor.shape[1:] != list(shape) or tensor.shape[0] < 1:
        raise malformed(f"tensor: the shape must be {expected}.")
    if tensor.shape[0] > limit:
        raise ProblemError("too-large", f"The request has more than {limit} images.")
    try:
        if tensor.data is not None:
            values = np.asarray(list(_flat(tensor.data)), dtype=np.float32)
        else:
            values = np.frombuffer(binary, dtype="<f4").astype(np.float32)
        return values.reshape(tensor.shape)
    except (TypeError, ValueError, OverflowError):
        raise malformed(f"tensor: the data are no {expected} of numbers.") from None


def write_answer(
    head: dict[str, Any], outputs: list[Output], binary: set[str]
) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a response; the outputs named in ``binary`` follow it."""
    described, parts = [], []
    for output in outputs:
        entry: dict[str, Any] = {
            "name": output.name,
            "shape": output.shape,
            "datatype": output.datatype,
        }
        if output.name in binary:
            parts.append(output.as_bytes())
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = output.as_json()
        described.append(entry)
    text = json.dumps({**head, "outputs": described}).encode()
    if not parts:
        return text, {"Content-Type": JSON_TYPE}
    headers = {"Content-Type": BINARY_TYPE, "Inference-Header-Content-Length": str(len(text))}
    return text + b"".join(parts), headers


def _count(tensor: RequestInput) -> int:
    if min(tensor.shape) < 1:
        raise malformed("image: a dimension of the shape is below 1.")
    return math.prod(tensor.shape)


def _flat(data: list[Any]) -> Any:
    """Yield the elements of nested lists in row-major order."""
    for element in data:
        if isinstance(element, list):
            yield from _flat(element)
        else:
            yield element


def _from_base64(element: object) -> bytes:
    try:
        if isinstance(element, str):
            return base64.b64decode(element, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise malformed("image: in JSON an element must be the file in base64.")
