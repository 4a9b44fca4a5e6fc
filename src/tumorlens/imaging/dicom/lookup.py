"""Lookup tables of the sequences Modality LUT and VOI LUT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.dicom import elements

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True, eq=False)
class Table:
    """A lookup table (PS3.3, C.11.1.1.1).

    Attributes:
        first: the value that the first entry stands for; lower values have it too, and values
            beyond the last entry have the last.
        entries: uint8 or uint16 ``[N]``.
    """

    first: int
    entries: NDArray[np.unsignedinteger[Any]]

    def apply(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Look up ``values``, any shape; fractions are rounded, NaN stands for the first."""
        places = np.rint(np.nan_to_num(values.astype(np.float64), nan=self.first)) - self.first
        last = len(self.entries) - 1
        found = self.entries[np.clip(places, 0, last).astype(np.intp)]
        return np.asarray(found, dtype=np.float64)


def read_table(dataset: Dataset, sequence: str, *, signed: bool) -> Table | None:
    """Return the first table of ``sequence``, or None.

    Unlike pydicom's, 8-bit entries may be packed in bytes or in words, and the first value may be
    written as the other signedness.

    Args:
        dataset: the elements of the file.
        sequence: ``ModalityLUTSequence`` or ``VOILUTSequence``.
        signed: whether the values looked up may be negative.

    Raises:
        ValueError: the descriptor is damaged, or there are fewer entries than it says.
    """
    found = elements.items(dataset, sequence)
    if not found:
        return None
    descriptor = elements.numbers(found[0], "LUTDescriptor")
    data = elements.content(found[0], "LUTData")
    if len(descriptor) != 3 or data is None:
        raise ValueError("a damaged lookup table")
    count, first, bits = (int(value) for value in descriptor)
    count = count % 2**16 or 2**16
    first = first - 2**16 if signed and first >= 2**15 else first
    little = bool(dataset.original_encoding[1])
    if bits == 8 and len(data) in (count, count + 1):
        return Table(first, np.frombuffer(data, np.uint8, count))
    words = np.frombuffer(data, "<u2" if little else ">u2", count)
    return Table(first, words.astype(np.uint16))
