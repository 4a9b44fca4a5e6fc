"""Grey levels of the slices of a stack: stored values, rescaled, without any viewer's window.

A window would differ from slice to slice; the range of the whole stack decides instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import DecodeError
from tumorlens.imaging.dicom import elements
from tumorlens.imaging.dicom.frames import read_frame, read_layout
from tumorlens.imaging.dicom.lookup import read_table
from tumorlens.imaging.dicom.reading import read_elements
from tumorlens.imaging.foreign import foreign
from tumorlens.imaging.image import Limits, to_grey
from tumorlens.volumes.dicom.frames import DAMAGED, Frame
from tumorlens.volumes.layout import grey_levels

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


class SliceReader:
    """Reads slices one by one; keeps the last file, whose frames usually follow each other."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._name = ""
        self._dataset: Dataset | None = None
        self._mosaic: NDArray[Any] | None = None

    def read(self, frame: Frame) -> NDArray[Any]:
        """Return ``[rows, columns]``: uint8, int16 or uint16 as stored, or float32, finite.

        Raises `InputError`: see `tumorlens.imaging.dicom.frames`; and `DecodeError` where the
        slice has another size than its header said.
        """
        name = frame.source.name
        with foreign(name, DAMAGED):
            if self._dataset is None or self._name != name:
                data = frame.source.read(self._limits)
                self._dataset = read_elements(data, name, self._limits)
                self._name, self._mosaic = name, None
            dataset = self._dataset
            if frame.tiles > 1:
                if self._mosaic is None:
                    self._mosaic = _values(dataset, frame, self._limits)
                across, down = frame.number % frame.tiles, frame.number // frame.tiles
                values = self._mosaic[
                    down * frame.rows : (down + 1) * frame.rows,
                    across * frame.columns : (across + 1) * frame.columns,
                ]
            elif frame.n_frames > 1:
                values = _values(_single(dataset, frame), frame, self._limits)
            else:
                values = _values(dataset, frame, self._limits)
        if values.shape != (frame.rows, frame.columns):
            raise DecodeError(f"{frame.name}: the size of the slice differs from its header")
        return values


def _single(dataset: Dataset, frame: Frame) -> Dataset:
    """Return the data set that a file of this frame alone would have."""
    from pydicom.dataset import Dataset as NewDataset
    from pydicom.encaps import encapsulate, get_frame

    single = NewDataset()
    single.update({tag: dataset.get_item(tag) for tag in dataset.keys()})  # noqa: SIM118
    single.file_meta = dataset.file_meta
    single.set_original_encoding(*dataset.original_encoding)
    single.NumberOfFrames = 1
    element = next(
        key for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if key in dataset
    )
    content = elements.content(dataset, element) or b""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        one = encapsulate([get_frame(content, frame.number, number_of_frames=frame.n_frames)])
    else:
        samples = elements.integer(dataset, "SamplesPerPixel") or 1
        bits = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(element)
        bits = bits or elements.integer(dataset, "BitsAllocated") or 8
        size = frame.rows * frame.columns * samples * bits // 8
        one = content[frame.number * size : (frame.number + 1) * size]
    vr = {"FloatPixelData": "OF", "DoubleFloatPixelData": "OD"}.get(element, "OW")
    single.add_new(element, vr, one)
    return single


def _values(dataset: Dataset, frame: Frame, limits: Limits) -> NDArray[Any]:
    layout = read_layout(dataset, frame.source.name, limits)
    stored = read_frame(dataset, layout, frame.source.name, limits)
    if layout.photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        stored = np.asarray(apply_color_lut(stored, dataset))
    if stored.ndim == 3:
        return np.asarray(to_grey(stored))
    padding = elements.number(dataset, "PixelPaddingValue")
    padded = stored == padding if padding is not None else None
    table = read_table(dataset, "ModalityLUTSequence", signed=stored.dtype.kind == "i")
    if table is not None:
        values = grey_levels(table.apply(stored))
    else:
        values = grey_levels(stored, frame.slope or 1.0, frame.intercept or 0.0)
    shape = elements.text(dataset, "PresentationLUTShape").upper()
    if layout.photometric == "MONOCHROME1" or shape == "INVERSE":
        values = _inverted(values)
    if padded is not None and padded.any() and not padded.all():
        values[padded] = values[~padded].min()
    return values


def _inverted(values: NDArray[Any]) -> NDArray[Any]:
    """Turn white into black, by a rule that is the same for all slices of a stack."""
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        return np.asarray(limits.max - (values - limits.min), dtype=values.dtype)
    return -values
