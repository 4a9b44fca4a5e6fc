"""What the multi-frame results share: places of frames, and the images each is derived from.

highdicom takes both from source images of one kind. Here sources may be single images, frames of
one file or tiles of a mosaic, so that places are given, and references are written afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import MRImageStorage

import tumorlens.dicom.codes as codes
from tumorlens.dicom.sources import SourceSeries, SourceSlice


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames that lie on source slices.

    Attributes:
        slices: the source slice of each, by rising place along the stack.
        pixels: uint16 ``[n, rows, columns]``, as the source images are stored.
    """

    slices: tuple[SourceSlice, ...]
    pixels: NDArray[np.uint16]


def frames_of(sources: SourceSeries, values: NDArray[np.uint8], *, empty: bool) -> Frames | None:
    """Return ``values`` ``[X, Y, Z]`` on the source's slices; None where there are none.

    Args:
        sources: the source series.
        values: on the voxels of its volume.
        empty: whether slices without a value above 0 count.
    """
    along = np.moveaxis(values, sources.order.normal, 0)
    kept = [
        (index, source)
        for index, source in enumerate(sources.slices)
        if source is not None and (empty or along[index].any())
    ]
    if not kept:
        return None
    first = kept[0][1].frame
    pixels = np.empty((len(kept), first.rows, first.columns), np.uint16)
    for at, (index, _) in enumerate(kept):
        pixels[at] = sources.order.image(values, index)
    return Frames(tuple(source for _, source in kept), pixels)


def placed(sources: SourceSeries, frames: Frames) -> dict[str, Any]:
    """Return the arguments that place frames: source, measures, orientation, positions."""
    scan = frames.slices[0].frame.scan
    assert scan.spacing_mm is not None
    assert scan.orientation is not None
    # The distance of slices; a header's thickness may leave gaps, or overlap.
    distance = sources.volume.spacing_mm[sources.order.normal]
    return {
        "source_images": [_stand_in(sources, frames)],
        "pixel_array": frames.pixels,
        "pixel_measures": PixelMeasuresSequence(
            pixel_spacing=scan.spacing_mm,
            slice_thickness=distance,
            spacing_between_slices=distance,
        ),
        "plane_orientation": PlaneOrientationSequence("PATIENT", scan.orientation),
        "plane_positions": [
            PlanePositionSequence("PATIENT", _position(each)) for each in frames.slices
        ],
    }


def refer(
    made: Dataset, sources: SourceSeries, kind: str, frames: Frames, derivation: Code
) -> None:
    """Write the source image of each frame of a result, and of the result as a whole."""
    _name_dimensions(made, sources, kind)
    places = np.array([_position(each) for each in frames.slices])
    for item in made.PerFrameFunctionalGroupsSequence:
        at = np.array(item.PlanePositionSequence[0].ImagePositionPatient, np.float64)
        source = frames.slices[int(np.linalg.norm(places - at, axis=1).argmin())]
        image = _derivation(derivation)
        image.SourceImageSequence = [_source(source)]
        item.DerivationImageSequence = [image]
    headers = {id(each.header): each.header for each in frames.slices}.values()
    series = Dataset()
    series.SeriesInstanceUID = sources.first.SeriesInstanceUID
    series.ReferencedInstanceSequence = list(_instances(headers))
    made.ReferencedSeriesSequence = [series]
    made.SourceImageSequence = list(_instances(headers))


def _name_dimensions(made: Dataset, sources: SourceSeries, kind: str) -> None:
    """Replace the random identifier of the dimensions by one that a rerun repeats."""
    uid = sources.uids.uid(kind, "dimensions")
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def _instances(headers: Iterable[Dataset]) -> Iterator[Dataset]:
    for header in headers:
        item = Dataset()
        item.ReferencedSOPClassUID = header.SOPClassUID
        item.ReferencedSOPInstanceUID = header.SOPInstanceUID
        yield item


def _derivation(code: Code) -> Dataset:
    item = Dataset()
    item.DerivationCodeSequence = [CodedConcept.from_code(code)]
    return item


def _source(source: SourceSlice) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.header.SOPClassUID
    item.ReferencedSOPInstanceUID = source.header.SOPInstanceUID
    if source.frame_numbers is not None:
        item.ReferencedFrameNumber = source.frame_numbers
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.SOURCE_IMAGE)]
    # Of a mosaic, the frame is a part only.
    item.SpatialLocationsPreserved = "YES" if source.frame.tiles == 1 else "NO"
    return item


def _position(source: SourceSlice) -> tuple[float, float, float]:
    place = source.frame.scan.position_mm
    assert place is not None  # stacks are made of placed frames
    return place


def _stand_in(sources: SourceSeries, frames: Frames) -> Dataset:
    """Return a header as of one image of the source, whatever its files are."""
    first = frames.slices[0]
    scan = first.frame.scan
    header = deepcopy(first.header)  # not `update`, which shares the elements
    if "NumberOfFrames" in header:
        del header.NumberOfFrames
    header.SOPClassUID = MRImageStorage
    header.Rows, header.Columns = first.frame.rows, first.frame.columns
    header.FrameOfReferenceUID = sources.frame_of_reference()
    header.ImagePositionPatient = list(_position(first))
    header.ImageOrientationPatient = list(scan.orientation or ())
    header.PixelSpacing = list(scan.spacing_mm or ())
    header.SliceThickness = float(sources.volume.spacing_mm[sources.order.normal])
    return header
