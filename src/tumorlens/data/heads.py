"""Whole heads: a table of volumes, with lesion masks where there are any, as labelled slices.

The table has one row a volume: ``file``, ``source``, ``person``, ``sequence``, ``contrast``,
``status`` (``healthy``, ``tumour`` or ``other_lesion``), ``stripped_defaced_whole`` and
``mask_file``. A volume is cut in its acquisition plane and, where its voxels are nearly cubes, in
all three planes, from the neck to the vertex.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.data.extents import enough_brain, tumour_extent
from tumorlens.data.manifest import FINDINGS, SEQUENCES, Finding, Plane, Polygon, Record, person_of
from tumorlens.errors import ManifestError
from tumorlens.volumes.discover import load_volume
from tumorlens.volumes.slices import take_slice
from tumorlens.volumes.volume import Volume

_COLUMNS = ("file", "source", "person", "sequence", "status")
_STATUS: dict[str, Finding] = {
    "healthy": "healthy", "tumour": "tumor", "other_lesion": "other_lesion",
}  # fmt: skip
_AXES: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
# Voxels with sides that differ by more than this factor are cut in the acquisition plane only.
_NEARLY_CUBES = 1.8
# A slice shows the tumour from this area on. In T1 the oedema around it (label 2 of BraTS) hardly
# shows and does not count.
_MIN_LESION_MM2 = 60.0
_OEDEMA = 2
_OEDEMA_SHOWS = ("T2", "FLAIR")
# A slice is clear of the tumour at both these distances from its last slice.
_CLEAR_MM, _CLEAR_SLICES = 8.0, 3
# Of a skull-stripped volume: shares of the largest cross-section.
_ENOUGH_BRAIN, _TOO_LITTLE_BRAIN = 0.15, 0.06
_EMPTY = 0.01  # slices with a smaller share of voxels above zero show nothing


def head_records(table: str | Path, *, every_mm: float = 4.0) -> list[Record]:
    """Return slices of the table's volumes as records.

    Of each volume and plane a slice is taken about every ``every_mm`` millimetres; 0 takes all.
    Slices between the tumour and the `clear` ones, and those of tumours without a mask that
    `tumour_extent.csv` does not list, are left out: nobody knows what they show.

    Raises:
        ManifestError: The table cannot be read, or names a missing file or an unknown status.
        InputError: A volume cannot be read.
    """
    table = Path(table)
    return [
        record
        for number, row in enumerate(_rows(table), start=2)
        for record in _of_volume(row, table, f"{table}, line {number}", every_mm)
    ]


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{table}: cannot be read as a CSV table ({error})") from error
    missing = [name for name in _COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise ManifestError(f"{table}: has no rows, or no column {', '.join(missing)}")
    return rows


def _of_volume(row: Mapping[str, str], table: Path, where: str, every_mm: float) -> list[Record]:
    finding = _STATUS.get(row["status"])
    if finding is None:
        raise ManifestError(f"{where}: status {row['status']!r} is not {', '.join(_STATUS)}")
    folder = table.parent / "heads"
    path, name = folder / row["file"], row["file"]
    if not path.is_file():
        raise ManifestError(f"{where}: {path} is missing")
    volume = load_volume(path)
    mask = load_volume(folder / row["mask_file"]) if row.get("mask_file") else None
    stripped = row.get("stripped_defaced_whole", "").startswith("stripped")
    sequence = sequence_of(row["sequence"], row.get("contrast", ""))
    source = source_of(row["source"])
    records = []
    for plane in planes_of(volume):
        axis = _AXES[plane]
        content = _content(volume, axis)
        shows = _Shown(name, plane, finding, sequence, mask, volume.spacing_mm[axis])
        spacing = volume.spacing_mm[axis]
        step = max(1, round(every_mm / spacing)) if every_mm > 0 else 1
        for index in range((len(content) // 2) % step, len(content), step):
            found = shows.at(index)
            if found is None or content[index] < _EMPTY:
                continue
            records.append(
                Record(
                    key=f"{source}:{name}#{plane}:{index}",
                    path=path.with_name(f"{name}#{plane}:{index}"),
                    source=source,
                    label=FINDINGS[found],
                    finding=found,
                    view=plane,
                    sequence=sequence,
                    skull_stripped=stripped,
                    enough_brain=(
                        _stripped_enough(content[index] / content.max())
                        if stripped
                        else enough_brain(name, plane, index)
                    ),
                    polygons=shows.outlines(index) if found == "tumor" else None,
                    person=person_of(row["person"]),
                )
            )
    return records


def planes_of(volume: Volume) -> tuple[Plane, ...]:
    """Return the planes a volume is cut in, the acquisition plane first.

    That is the plane across the longest side of a voxel; the axial plane for cubes.
    """
    sides = volume.spacing_mm
    acquired = max(_AXES, key=lambda plane: (round(sides[_AXES[plane]], 2), _AXES[plane]))
    if max(sides) > _NEARLY_CUBES * min(sides):
        return (acquired,)
    return (acquired, *(plane for plane in get_args(Plane) if plane != acquired))


def sequence_of(text: str, contrast: str = "") -> str | None:
    """Return one of `SEQUENCES` for a free description such as ``T1 MPRAGE 1 mm axial``, or None.

    ``contrast`` is ``yes`` after contrast medium.
    """
    word = re.split(r"[\s(_-]", text.strip().upper())[0]
    if word == "T1" and contrast.strip().lower() == "yes":
        word = "T1C"
    return word if word in SEQUENCES else None


def source_of(text: str) -> str:
    """Return the name of a volume's source in lower case, such as ``openneuro_ds002748``."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") + "_heads"


def _content(volume: Volume, axis: int) -> NDArray[np.float64]:
    """Return the share of voxels above zero of each slice along an axis, float64 ``[n]``."""
    others = tuple(each for each in range(3) if each != axis)
    return np.asarray((volume.data > 0).mean(axis=others), dtype=np.float64)


class _Shown:
    """What each slice of one volume and plane shows."""

    def __init__(
        self,
        name: str,
        plane: Plane,
        finding: Finding,
        sequence: str | None,
        mask: Volume | None,
        spacing_mm: float,
    ) -> None:
        self.name, self.plane, self.finding = name, plane, finding
        self.lesion: Volume | None = None
        if finding != "tumor" or mask is None:
            return
        others = tuple(each for each in range(3) if each != _AXES[plane])
        lesion = _visible(mask.data, sequence)
        self.lesion = replace(mask, data=lesion.astype(np.float32))
        pixel = float(np.prod([mask.spacing_mm[each] for each in others]))
        self._area_mm2 = lesion.sum(axis=others) * pixel
        self._any = np.asarray((mask.data > 0).any(axis=others))
        self._gap = max(_CLEAR_SLICES, round(_CLEAR_MM / spacing_mm))

    def at(self, index: int) -> Finding | None:
        """Return the finding of a slice, None where it is unknown."""
        if self.finding != "tumor":
            return self.finding
        if self.lesion is None:
            return tumour_extent(self.name, self.plane, index)
        if self._area_mm2[index] >= _MIN_LESION_MM2:
            return "tumor"
        near = self._any[max(0, index - self._gap + 1) : index + self._gap]
        return None if near.any() else "clear"

    def outlines(self, index: int) -> tuple[Polygon, ...] | None:
        """Return the outlines of the lesion in a slice as fractions of its sides."""
        if self.lesion is None:
            return None
        drawn = (take_slice(self.lesion, self.plane, index) > 0.5).astype(np.uint8)
        found, _ = cv2.findContours(drawn, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        size = np.array([drawn.shape[1], drawn.shape[0]], dtype=np.float64)
        shapes = [(outline[:, 0, :] + 0.5) / size for outline in found if len(outline) > 2]
        return tuple(tuple((float(x), float(y)) for x, y in shape) for shape in shapes) or None


def _visible(mask: NDArray[np.float32], sequence: str | None) -> NDArray[np.bool_]:
    """Return the part of a mask that shows in the sequence."""
    lesion = mask > 0
    whole = sequence in _OEDEMA_SHOWS or not (lesion & (mask != _OEDEMA)).any()
    return np.asarray(lesion if whole else lesion & (mask != _OEDEMA))


def _stripped_enough(share: float) -> bool | None:
    """Tell whether a skull-stripped slice shows enough brain, by its share of the largest one."""
    return True if share >= _ENOUGH_BRAIN else False if share < _TOO_LITTLE_BRAIN else None
