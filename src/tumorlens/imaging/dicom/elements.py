"""Values of a pydicom data set, read leniently.

pydicom converts a value when it is asked for, and raises on what scanners and exports do write:
a decimal comma, a number in an element of text. Here a value that is none is no value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Binary numbers, by value representation (PS3.5, 6.2).
_BINARY = {
    "US": "u2", "SS": "i2", "US or SS": "u2", "UL": "u4", "SL": "i4", "FL": "f4", "FD": "f8",
    "OW": "u2", "US or OW": "u2", "UV": "u8", "SV": "i8",
}  # fmt: skip
_MAX_VALUES = 16  # values of one element that are looked at; the longest used has six


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of an element as texts without padding; none for an absent element."""
    return tuple(str(value).strip(" \0") for value in _values(dataset, keyword))


def text(dataset: Dataset, keyword: str) -> str:
    """Return the first value as text, or an empty text."""
    return next(iter(texts(dataset, keyword)), "")


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the values of an element as finite numbers; none at all if one of them is none."""
    found = [_number(value) for value in _values(dataset, keyword)]
    return tuple(value for value in found if value is not None) if None not in found else ()


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value as a finite number, or None."""
    return next((_number(value) for value in _values(dataset, keyword)), None)


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Return the first value as a whole number, or None."""
    value = number(dataset, keyword)
    return None if value is None else int(value)


def content(dataset: Dataset, keyword: str) -> bytes | None:
    """Return the bytes of an element, as in the file; None if it is absent or has none."""
    value = _stored(dataset, keyword)[1]
    return value if isinstance(value, bytes) and value else None


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence, or none."""
    found = dataset.get(keyword)
    return list(found) if found else []


def _stored(dataset: Dataset, keyword: str) -> tuple[str, Any, bool]:
    """Return value representation, value (bytes if pydicom has not converted it) and whether
    the bytes are little endian."""
    from pydicom.datadict import dictionary_VR
    from pydicom.tag import Tag

    tag = Tag(keyword)
    if tag not in dataset:
        return "", None, True
    element = dataset.get_item(tag)
    vr = str(element.VR or "UN")
    little = bool(getattr(element, "is_little_endian", True))
    return (dictionary_VR(tag) if vr == "UN" else vr), element.value, little


def _values(dataset: Dataset, keyword: str) -> list[Any]:
    vr, value, little = _stored(dataset, keyword)
    if value is None or value == b"" or value == "":
        return []
    if isinstance(value, bytes):
        if vr in _BINARY:
            kind = np.dtype(_BINARY[vr]).newbyteorder("<" if little else ">")
            count = min(len(value) // kind.itemsize, _MAX_VALUES)
            return list(np.frombuffer(value, kind, count).tolist())
        return list(value.decode("latin-1").split("\\")[:_MAX_VALUES])
    if isinstance(value, str):
        return list(value.split("\\")[:_MAX_VALUES])
    try:
        return list(value)[:_MAX_VALUES]
    except TypeError:
        return [value]


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        # A decimal comma is no value of DICOM, but some exports write the local one.
        value = value.strip(" \0").replace(",", ".")
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if np.isfinite(found) else None
