"""Stored values → grey levels: the modality's table, the window or table of the viewer, inversion.

A window is a reader's choice for one screen, and files carry windows of other images, of other
units, and none at all. The stored range decides the grey levels; a window or table is used where
it keeps the head's values (docs/adr/0042-header-first.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import DecodeError
from tumorlens.imaging.dicom import elements
from tumorlens.imaging.dicom.lookup import read_table
from tumorlens.imaging.head import find_head
from tumorlens.imaging.image import Pixels

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Values = NDArray[np.float64]

_TOP = np.iinfo(np.uint16).max
_LOST = 0.01  # maximum share of the head that a window may make black or white
_END = 0.002  # grey level from which a pixel counts as black, and from white
_NARROW = 0.05  # minimum share of a window that the head's values take
_SPIKE = 99.9  # percentile above which a pixel is no tissue where the head is looked for
_RESCALE_TYPES = ("CT", "PT", "NM")  # whose units make a window meaningful


@dataclass(frozen=True)
class Window:
    """One window (PS3.3, C.11.2.1.2) in the units of the modality."""

    centre: float
    width: float
    function: str

    def shares(self, values: Values) -> Values:
        """Map values to 0 … 1 over the window (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
        if self.function == "SIGMOID":
            steps = np.clip(-4 * (values - self.centre) / self.width, -700, 700)
            return np.asarray(1 / (1 + np.exp(steps)))
        if self.function == "LINEAR_EXACT":
            return np.asarray(np.clip((values - self.centre) / self.width + 0.5, 0, 1))
        if self.width == 1:
            return (values > self.centre - 0.5).astype(np.float64)
        return np.asarray(np.clip((values - (self.centre - 0.5)) / (self.width - 1) + 0.5, 0, 1))


def read_windows(dataset: Dataset) -> list[Window]:
    """Return the windows of the file that are valid, in order."""
    centres, widths = (elements.numbers(dataset, key) for key in ("WindowCenter", "WindowWidth"))
    function = elements.text(dataset, "VOILUTFunction").upper() or "LINEAR"
    least = 1.0 if function == "LINEAR" else np.nextafter(0, 1)
    return [
        Window(centre, width, function)
        for centre, width in zip(centres, widths, strict=False)
        if width >= least
    ]


def to_grey_levels(
    stored: NDArray[Any], dataset: Dataset, *, inverted: bool, modality: str | None, name: str
) -> Pixels:
    """Turn the stored values of a grey image into what a viewer shows.

    Args:
        stored: ``[H, W]``, integers or floats.
        dataset: the elements of the file.
        inverted: the lowest value is white (MONOCHROME1).
        modality: of the header; a window of CT or PET is used as it is.
        name: name of the input in messages.

    Returns:
        uint8 as stored if it is unsigned 8 bit without any table, window or rescale; otherwise
        uint16, 0 … 65,535 over the window or table, or over the range of the stored values.
        Padding is black.

    Raises:
        DecodeError: no finite value, or a damaged lookup table.
    """
    inverted = inverted or elements.text(dataset, "PresentationLUTShape").upper() == "INVERSE"
    padding = _padding(stored, dataset)
    rescale = _rescale(dataset)
    plain = rescale == (1, 0) and not _has_tables(dataset)
    if stored.dtype == np.uint8 and plain and not read_windows(dataset):
        grey: NDArray[np.uint8] = 255 - stored if inverted else stored.copy()
        if padding is not None:
            grey[padding] = 0
        return grey
    values = _modality_values(stored, dataset, rescale)
    measured = np.isfinite(values) if padding is None else np.isfinite(values) & ~padding
    if not measured.any():
        raise DecodeError(f"{name}: no pixel has a finite value; export the slice again")
    values = np.where(measured, values, values[measured].min())
    shares = _shown(values, dataset, inverted, modality)
    shares = 1 - shares if inverted else shares
    shares[~measured] = 0
    return np.rint(shares * _TOP).astype(np.uint16)


def _has_tables(dataset: Dataset) -> bool:
    return any(key in dataset for key in ("ModalityLUTSequence", "VOILUTSequence"))


def _rescale(dataset: Dataset) -> tuple[float, float]:
    slope = elements.number(dataset, "RescaleSlope")
    # A slope of 0 would leave one grey; no scanner means it.
    if not slope:
        slope = 1.0
    return slope, elements.number(dataset, "RescaleIntercept") or 0.0


def _modality_values(
    stored: NDArray[Any], dataset: Dataset, rescale: tuple[float, float]
) -> Values:
    """Apply the modality's lookup table, or else rescale (PS3.3, C.11.1)."""
    table = read_table(dataset, "ModalityLUTSequence", signed=stored.dtype.kind == "i")
    if table is not None:
        return table.apply(stored)
    slope, intercept = rescale
    with np.errstate(over="ignore", invalid="ignore"):
        return stored.astype(np.float64) * slope + intercept


def _shown(values: Values, dataset: Dataset, inverted: bool, modality: str | None) -> Values:
    """Return 0 … 1: by the table, by the first window that keeps the head, or over the range."""
    for candidate in _candidates(values, dataset):
        if modality in _RESCALE_TYPES or keeps_head(values, candidate, inverted=inverted):
            return candidate
    return _full_range(values)


def _candidates(values: Values, dataset: Dataset) -> list[Values]:
    table = read_table(dataset, "VOILUTSequence", signed=bool(values.min() < 0))
    looked_up = [] if table is None else [_full_range(table.apply(values))]
    return [*looked_up, *(window.shares(values) for window in read_windows(dataset))]


def keeps_head(values: Values, shown: Values, *, inverted: bool = False) -> bool:
    """Return whether ``shown``, 0 … 1, keeps apart the values of the head.

    The head is looked for on ``values`` over their range, in the polarity of ``shown``. Not kept
    is a head of which more than a hundredth becomes black or white that was not among the darkest
    or brightest values, or one squeezed into a twentieth of the grey levels.
    """
    low, high = np.percentile(values, (0, _SPIKE))
    whole = _full_range(np.clip(values, low, high))
    spread = float(shown.std() * whole.std())
    if not spread > 0:
        return False
    covariance = float(((shown - shown.mean()) * (whole - whole.mean())).mean())
    falling = covariance < 0
    upright = 1 - whole if falling != inverted else whole
    grey = (upright * 255).astype(np.uint8)
    _, head = find_head(grey)
    ours, theirs = (1 - whole if falling else whole)[head], shown[head]
    first, last = np.percentile(ours, (1, 99.5))
    inside = (ours > first) & (ours < last)
    lost = float(np.mean(inside & ((theirs <= _END) | (theirs >= 1 - _END))))
    dark, bright = np.percentile(theirs, (1, 99.5))
    return lost <= _LOST and bool(bright - dark >= _NARROW)


def _full_range(values: Values) -> Values:
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return np.zeros_like(values)
    # Halved, because the range of two large values may be more than the largest float.
    return np.asarray((values / 2 - low / 2) / (high / 2 - low / 2))


def _padding(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_] | None:
    """Return where pixels were only added to fill the frame (PS3.3, C.7.5.1.1.2), or None."""
    prefix = {"f4": "Float", "f8": "DoubleFloat"}.get(stored.dtype.str[1:], "")
    ends = [
        elements.number(dataset, f"{prefix}PixelPadding{end}") for end in ("Value", "RangeLimit")
    ]
    if ends[0] is None:
        return None
    low, high = sorted(_as_stored(end, stored) for end in (ends[0], ends[0] if ends[1] is None
                                                           else ends[1]))  # fmt: skip
    padding = (stored >= low) & (stored <= high)
    return padding if padding.any() and not padding.all() else None


def _as_stored(value: float, stored: NDArray[Any]) -> float:
    """Return a padding value in the signedness of the pixels; it is written as either."""
    if stored.dtype.kind == "f":
        return value
    bits = stored.dtype.itemsize * 8
    wrapped = int(value) % 2**bits
    return float(wrapped - 2**bits if stored.dtype.kind == "i" and wrapped >= 2 ** (bits - 1)
                 else wrapped)  # fmt: skip
