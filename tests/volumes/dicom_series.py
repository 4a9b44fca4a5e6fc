"""A drawn head as DICOM: classic files, Enhanced MR, classic multi-frame, and Siemens mosaics."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, generate_uid

from tests.imaging.dicoms import dataset, encode

SERIES = "1.2.826.0.1.3680043.8.498.7"
# Directions of rows and columns, LPS, and of the slices, for the planes as scanners write them.
AXES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    # As few do, though they may.
    "turned": ((-1, 0, 0), (0, -1, 0)),
    "transposed": ((0, -1, 0), (1, 0, 0)),
}


class Scan:
    """A head cut into slices as a scanner stores them.

    ``data`` is ``[X, Y, Z]`` in RAS order; ``slices[k]``, ``[rows, columns]``, is at
    ``positions[k]``.
    """

    def __init__(
        self, data: NDArray[Any], spacing: tuple[float, float, float], plane: str = "axial"
    ) -> None:
        self.axes = tuple(np.array(each, float) for each in AXES[plane])
        normal = np.cross(*self.axes)
        lps = data[::-1, ::-1]
        order = [int(np.abs(each).argmax()) for each in (normal, self.axes[1], self.axes[0])]
        signs = [each[np.abs(each).argmax()] for each in (normal, self.axes[1], self.axes[0])]
        steps = tuple(slice(None, None, -1 if sign < 0 else 1) for sign in signs)
        self.slices = np.ascontiguousarray(lps.transpose(order)[steps]).astype(np.uint16)
        sizes = [spacing[axis] for axis in order]
        self.distance, self.spacing = sizes[0], (sizes[1], sizes[2])
        self.positions = [
            np.array([-80.0, -90.0, -70.0]) + k * self.distance * normal
            for k in range(len(self.slices))
        ]

    @property
    def orientation(self) -> list[float]:
        return [float(each) for axis in self.axes for each in axis]


def one_slice(scan: Scan, k: int, **elements: Any) -> Dataset:
    """Return the data set of one slice."""
    standard: dict[str, Any] = {
        "Modality": "MR", "SeriesInstanceUID": SERIES, "SOPInstanceUID": f"{SERIES}.{k + 1}",
        "SeriesNumber": 4, "InstanceNumber": k + 1, "BodyPartExamined": "HEAD",
        "ImageType": ["ORIGINAL", "PRIMARY", "M"], "PixelSpacing": list(scan.spacing),
        "ImageOrientationPatient": scan.orientation,
        "ImagePositionPatient": [float(each) for each in scan.positions[k]],
        "EchoTime": 3.0, "RepetitionTime": 500.0, "ScanningSequence": "SE",
    }  # fmt: skip
    return dataset(scan.slices[k], **{**standard, **elements})


def write_slices(
    folder: Path, scan: Scan, prefix: str = "", skip: tuple[int, ...] = (), **elements: Any
) -> list[Path]:
    """Write one file a slice, in an order of names that is not the order in space."""
    folder.mkdir(parents=True, exist_ok=True)
    names = np.random.default_rng(0).permutation(len(scan.slices))
    paths = []
    for k in range(len(scan.slices)):
        if k in skip:
            continue
        paths.append(folder / f"{prefix}{names[k]:03}.dcm")
        paths[-1].write_bytes(encode(one_slice(scan, k, **elements)))
    return paths


def multi_frame(scan: Scan, **elements: Any) -> Dataset:
    """Return a data set with all slices as frames, and no positions."""
    made = one_slice(scan, 0, **elements)
    made.NumberOfFrames = len(scan.slices)
    made.PixelData = scan.slices.tobytes()
    return made


def _item(**elements: Any) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, Sequence([value]) if isinstance(value, Dataset) else value)
    return made


def enhanced(scan: Scan, order: list[int] | None = None, slopes: Any = None) -> Dataset:
    """Return Enhanced MR, its frames in any ``order``; ``slopes`` of each frame if it has one."""
    order = order or list(range(len(scan.slices)))
    made = multi_frame(scan, SOPClassUID=EnhancedMRImageStorage)
    made.PixelData = scan.slices[order].tobytes()
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "EchoTime",
                    "RepetitionTime", "ScanningSequence"):  # fmt: skip
        delattr(made, keyword)
    made.SharedFunctionalGroupsSequence = Sequence([_item(
        PlaneOrientationSequence=_item(ImageOrientationPatient=scan.orientation),
        PixelMeasuresSequence=_item(PixelSpacing=list(scan.spacing), SliceThickness=scan.distance),
        MREchoSequence=_item(EffectiveEchoTime=3.0),
        MRTimingAndRelatedParametersSequence=_item(RepetitionTime=500.0),
    )])  # fmt: skip
    frames = []
    for number, k in enumerate(order):
        groups = _item(
            PlanePositionSequence=_item(
                ImagePositionPatient=[float(each) for each in scan.positions[k]]
            ),
            FrameContentSequence=_item(StackID="1", InStackPositionNumber=k + 1),
        )
        if slopes is not None:
            groups.PixelValueTransformationSequence = Sequence([_item(
                RescaleSlope=float(slopes[number]), RescaleIntercept=0.0)])  # fmt: skip
        frames.append(groups)
    made.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return made


def csa_header(count: int, normal: NDArray[np.float64]) -> bytes:
    """Return a CSA2 image header with the two tags that a mosaic needs."""

    def tag(name: bytes, vr: bytes, values: list[str]) -> bytes:
        items = b""
        for value in [*values, *[""] * (6 - len(values))]:
            text = value.encode() + b"\0" if value else b""
            items += struct.pack("<4i", len(text), len(text), 77, len(text))
            items += text + bytes(-len(text) % 4)
        head = struct.pack("<64si4s3i", name, len(values), vr + b"\0\0", 0, 6, 77)
        return head + items

    tags = [tag(b"NumberOfImagesInMosaic", b"US", [str(count)]),
            tag(b"SliceNormalVector", b"FD", [f"{each:.8f}" for each in normal])]  # fmt: skip
    return b"SV10\4\3\2\1" + struct.pack("<2I", len(tags), 77) + b"".join(tags)


def mosaic(scan: Scan, *, descending: bool = False, csa: bool = True) -> Dataset:
    """Return a mosaic: tiles row by row, and the position of the whole as Siemens writes it."""
    order = list(range(len(scan.slices)))[:: -1 if descending else 1]
    count, (rows, columns) = len(order), scan.slices[0].shape
    tiles = int(np.ceil(np.sqrt(count)))
    picture = np.zeros((tiles * rows, tiles * columns), np.uint16)
    for at, k in enumerate(order):
        down, across = divmod(at, tiles)
        picture[down * rows : (down + 1) * rows, across * columns : (across + 1) * columns] = (
            scan.slices[k]
        )
    normal = np.cross(*scan.axes) * (-1 if descending else 1)
    shift = (
        scan.axes[0] * scan.spacing[1] * (tiles - 1) * columns / 2
        + scan.axes[1] * scan.spacing[0] * (tiles - 1) * rows / 2
    )
    whole = Scan.__new__(Scan)
    whole.__dict__.update(scan.__dict__)
    whole.slices = picture[None]
    whole.positions = [scan.positions[order[0]] - shift]
    made = one_slice(whole, 0, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"],
                     SOPInstanceUID=generate_uid(), SpacingBetweenSlices=scan.distance)  # fmt: skip
    if csa:
        block = made.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", csa_header(count, normal))
    else:
        block = made.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0A, "US", count)
    return made
