"""Spacing, position and orientation of the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tumorlens.imaging.dicom import elements

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# In the patient first; at the detector or the scanned film where that is all there is.
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


def spacing_mm(dataset: Dataset) -> tuple[float, float] | None:
    """Return the distance of rows and of columns in millimetres (PS3.3, 10.7.1.3), or None."""
    for keyword in _SPACINGS:
        found = elements.numbers(dataset, keyword)[:2]
        if len(found) == 2 and min(found) > 0:
            return found[0], found[1]
    return None


def pixel_ratio(dataset: Dataset) -> float | None:
    """Return the height of a pixel over its width, or None if the header does not say.

    From Pixel Spacing, else from Pixel Aspect Ratio (vertical over horizontal, PS3.3, C.7.6.3.1.7),
    else from the spacing at the detector.
    """
    if "PixelSpacing" not in dataset:
        ratio = elements.numbers(dataset, "PixelAspectRatio")[:2]
        if len(ratio) == 2 and min(ratio) > 0:
            return ratio[0] / ratio[1]
    spacing = spacing_mm(dataset)
    return None if spacing is None else spacing[0] / spacing[1]


def position_mm(dataset: Dataset) -> tuple[float, float, float] | None:
    """Return Image Position (Patient): the centre of the first pixel, or None."""
    found = elements.numbers(dataset, "ImagePositionPatient")
    return (found[0], found[1], found[2]) if len(found) == 3 else None


def orientation(dataset: Dataset) -> tuple[float, float, float, float, float, float] | None:
    """Return Image Orientation (Patient): the directions of a row and of a column, or None."""
    found = elements.numbers(dataset, "ImageOrientationPatient")
    if len(found) != 6:
        return None
    return found[0], found[1], found[2], found[3], found[4], found[5]
