"""Siemens' mosaics: the slices of a volume side by side in one picture.

The position in the header is that of the mosaic as if it were one slice; how to undo it:
nibabel's documentation, "Siemens mosaic format".
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tumorlens.imaging.dicom import elements
from tumorlens.imaging.dicom.geometry import orientation, position_mm, spacing_mm

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_COUNT = (0x0019, 0x100A)
_MAX_TILES = 1024


@dataclass(frozen=True, eq=False)
class Mosaic:
    """The geometry of a mosaic.

    Attributes:
        count: number of slices.
        tiles: tiles along a side; the last ones may be empty.
        positions: of each slice's first pixel, in the patient's coordinates.
        dataset: the header without the word MOSAIC, as each slice would have it.
    """

    count: int
    tiles: int
    positions: list[tuple[float, float, float]]
    dataset: Dataset


def read_mosaic(dataset: Dataset) -> Mosaic | None:
    """Return the geometry if the header describes a mosaic with positions, else None."""
    kinds = [kind.upper() for kind in elements.texts(dataset, "ImageType")]
    if "MOSAIC" not in kinds:
        return None
    count, sign = _from_csa(dataset)
    place, axes, spacing = position_mm(dataset), orientation(dataset), spacing_mm(dataset)
    distance = elements.number(dataset, "SpacingBetweenSlices")
    distance = distance or elements.number(dataset, "SliceThickness")
    rows, columns = (elements.integer(dataset, key) or 0 for key in ("Rows", "Columns"))
    if count is None or place is None or axes is None or spacing is None or not distance:
        return None
    if not 1 < count <= _MAX_TILES:
        return None
    tiles = int(np.ceil(np.sqrt(count)))
    if rows % tiles or columns % tiles:
        return None
    along, down = np.array(axes[:3]), np.array(axes[3:])
    # Half the difference of the mosaic's and the slice's extent, along both axes.
    across_mm = (columns - columns / tiles) / 2 * spacing[1]
    down_mm = (rows - rows / tiles) / 2 * spacing[0]
    first = np.array(place) + across_mm * along + down_mm * down
    normal = sign * np.cross(along, down)
    places = [first + number * distance * normal for number in range(count)]
    return Mosaic(count, tiles, [(float(x), float(y), float(z)) for x, y, z in places],
                  _without_word(dataset, kinds))  # fmt: skip


def _from_csa(dataset: Dataset) -> tuple[int | None, int]:
    """Return the number of slices and the direction of the slices along the normal, 1 or −1."""
    csareader = _csareader()
    count = dataset.get(_COUNT)
    number = None if count is None else int(np.frombuffer(count.value, "<u2", 1)[0]) if isinstance(
        count.value, bytes) else int(count.value)  # fmt: skip
    header = csareader.get_csa_header(dataset, "image")
    if header is None:
        return number, 1
    normal, axes = csareader.get_slice_normal(header), orientation(dataset)
    sign = 1
    if normal is not None and axes is not None:
        sign = -1 if float(np.dot(normal, np.cross(axes[:3], axes[3:]))) < 0 else 1
    return int(csareader.get_n_mosaic(header) or number or 0) or None, sign


def _csareader() -> Any:
    # Importing it warns on behalf of the importer that the DICOM readers are experimental.
    warnings.filterwarnings("ignore", "The DICOM readers are highly experimental", UserWarning)
    import nibabel.nicom.csareader

    return nibabel.nicom.csareader


def _without_word(dataset: Dataset, kinds: list[str]) -> Dataset:
    from pydicom.dataset import Dataset as NewDataset

    single = NewDataset()
    single.update({tag: dataset.get_item(tag) for tag in dataset.keys()})  # noqa: SIM118
    single.ImageType = [kind for kind in kinds if kind != "MOSAIC"]
    return single
