"""`Record`: one image with its metadata; and manifests, CSV tables of records."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import ManifestError

Box = tuple[float, float, float, float]
Polygon = tuple[tuple[float, float], ...]
Plane = Literal["axial", "coronal", "sagittal"]
VIEWS: tuple[str | None, ...] = ("axial", "coronal", "sagittal", None)
"""Every view a record can have; a batch holds the index into this tuple."""

MANIFEST_NAME = "manifest.csv"
_TOLERANCE = 0.25  # coordinates further outside than this have a wrong unit
Finding = Literal["tumor", "healthy", "clear", "other_lesion", "not_mri"]
FINDINGS: dict[Finding, int | None] = {
    "tumor": 1,
    "healthy": 0,
    "clear": 0,
    "other_lesion": 0,
    "not_mri": None,
}
"""What an image shows, with its label: ``clear`` is a slice of a tumour patient away from the
tumour, ``other_lesion`` one with a lesion that is no tumour (multiple sclerosis, stroke),
``not_mri`` no brain MRI at all."""
SEQUENCES = ("T1", "T1C", "T2", "FLAIR", "PD", "DWI")
"""MRI sequences by name; T1C is T1 with contrast medium."""


@dataclass(frozen=True)
class Record:
    """One image, or one slice of a volume. Unknown metadata is None.

    Attributes:
        key: unique name used in splits, ``source:path inside the source``.
        path: the file; a slice of a volume is ``healthy_01_T1.nii.gz#axial:45``, and
            ``…#axial:45:12:-7`` if tilted (degrees, see ``volumes.slices.take_slice``).
        source: the data set's short name; see ``sources.source_info``.
        label: 1 tumour, 0 no tumour.
        finding: what the image shows, see `FINDINGS`; None is what the label says.
        tumour_type: ``glioma``, ``meningioma``, ``pituitary`` …
        view: ``axial``, ``coronal`` or ``sagittal``.
        boxes: tumour boxes ``(x0, y0, x1, y1)`` as fractions of width and height; None means
            not annotated, which may still be a tumour.
        polygons: tumour outlines ``((x, y), …)`` in the same unit.
        sequence: one of `SEQUENCES`.
        skull_stripped: whether everything but the brain was removed.
        enough_brain: False where the slice lies below, above or beside the brain (neck, skull
            base, vertex, scalp).
        patient: an id, unique within the source.
        person: an id, unique over all sources.
        group: records of one group are near-duplicates of one scan or slices of one patient.
        sha256: hex digest of the file's bytes.
    """

    key: str
    path: Path
    source: str
    label: int | None = None
    tumour_type: str | None = None
    view: str | None = None
    boxes: tuple[Box, ...] | None = None
    polygons: tuple[Polygon, ...] | None = None
    finding: Finding | None = None
    sequence: str | None = None
    skull_stripped: bool | None = None
    enough_brain: bool | None = None
    patient: str | None = None
    person: str | None = None
    group: int | None = None
    sha256: str | None = None

    @property
    def shows(self) -> Finding | None:
        """What the image shows: its finding, else what its label says."""
        if self.finding is not None or self.label is None:
            return self.finding
        return "tumor" if self.label else "healthy"

    @property
    def is_slice(self) -> bool:
        """Whether the record is one slice of a volume."""
        return "#" in self.path.name

    @property
    def file(self) -> Path:
        """The file on disk: the path without ``#plane:index`` and a tilt."""
        return self.path.with_name(self.path.name.partition("#")[0]) if self.is_slice else self.path


def group_numbers(records: Sequence[Record]) -> NDArray[np.int64]:
    """Return each record's group, int64 ``[N]``; records without get unique negative numbers."""
    return np.array(
        [-1 - at if record.group is None else record.group for at, record in enumerate(records)],
        dtype=np.int64,
    )


def read_manifest(path: str | Path) -> list[Record]:
    """Read a manifest; columns ``path`` and ``label`` are required, others optional.

    Paths are relative to the manifest's folder. ``label`` is one of `FINDINGS` or empty;
    empty cells, ``[]`` as boxes or polygons, and a view or sequence that is not exactly one of
    `VIEWS` or `SEQUENCES` (``axial (some coronal)``) mean unknown.

    Raises:
        ManifestError: unreadable table, missing column or file, or invalid value.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as table:
            rows = list(csv.DictReader(table))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: cannot be read as a CSV table ({error})") from error
    if not rows:
        raise ManifestError(f"{path}: no rows; a manifest has one row per image")
    missing = {"path", "label"} - set(rows[0])
    if missing:
        raise ManifestError(f"{path}: has no column {', '.join(sorted(missing))}")
    records = [_record(row, path, number) for number, row in enumerate(rows, start=2)]
    check_unique(records)
    absent = sorted({str(r.path) for r in records if not r.path.is_file()})
    if absent:
        shown = ", ".join(absent[:3]) + (" …" if len(absent) > 3 else "")
        raise ManifestError(f"{path}: {len(absent)} of its files are missing: {shown}")
    return records


def check_unique(records: Iterable[Record]) -> None:
    """Raise `ManifestError` if two records have the same key."""
    seen: set[str] = set()
    for record in records:
        if record.key in seen:
            raise ManifestError(f"{record.key}: duplicate record; remove one of the rows")
        seen.add(record.key)


def person_of(name: str | None) -> str | None:
    """Return a person's id in one spelling: tables write ``sub:01`` and ``sub-01``.

    `same_persons.csv` lists public volumes that were seen to show one person under two names.
    """
    if name is None:
        return None
    spelt = name.replace(":", "-")
    return _same_persons().get(spelt, spelt)


@cache
def _same_persons() -> dict[str, str]:
    with files("tumorlens.data").joinpath("same_persons.csv").open(encoding="utf-8") as table:
        return {row["person"]: row["same_as"] for row in csv.DictReader(table)}


def _record(row: dict[str, str | None], manifest: Path, number: int) -> Record:
    where = f"{manifest}, line {number}"

    def cell(column: str) -> str | None:
        return (row.get(column) or "").strip() or None

    relative, label, group = cell("path"), cell("label"), cell("group")
    if relative is None:
        raise ManifestError(f"{where}: the path is empty")
    if Path(relative).is_absolute() or ".." in Path(relative).parts:
        raise ManifestError(f"{where}: path {relative!r} is outside the manifest's folder")
    if label is not None and label not in FINDINGS:
        raise ManifestError(f"{where}: label {label!r} is not {', '.join(FINDINGS)} or empty")
    finding = label
    stripped = cell("skull_stripped")
    if stripped not in (None, "0", "1"):
        raise ManifestError(f"{where}: skull_stripped {stripped!r} is not 0, 1 or empty")
    view, sequence = cell("view"), cell("sequence")
    if group is not None and not group.isdecimal():
        raise ManifestError(f"{where}: group {group!r} is not an integer")
    source = cell("source") or manifest.parent.resolve().name
    boxes = _shapes(cell("boxes"), f"{where}: boxes")
    if any(len(box) != 4 or box[0] > box[2] or box[1] > box[3] for box in boxes):
        raise ManifestError(f"{where}: a box is four fractions x0 ≤ x1, y0 ≤ y1 (x0, y0, x1, y1)")
    polygons = _shapes(cell("polygons"), f"{where}: polygons")
    return Record(
        key=f"{source}:{Path(relative).as_posix()}",
        path=manifest.parent / relative,
        source=source,
        label=None if finding is None else FINDINGS[finding],
        tumour_type=cell("tumour_type"),
        view=view if view in VIEWS else None,
        boxes=cast("tuple[Box, ...]", boxes) or None,
        polygons=cast("tuple[Polygon, ...]", polygons) or None,
        finding=finding,
        sequence=sequence if sequence in SEQUENCES else None,
        skull_stripped=None if stripped is None else stripped == "1",
        patient=cell("patient"),
        person=person_of(cell("person")),
        group=None if group is None else int(group),
        sha256=cell("sha256"),
    )


def _shapes(cell: str | None, where: str) -> tuple[Any, ...]:
    """Parse JSON lists of fractions, nested to any depth, into tuples of floats in 0..1.

    Coordinates slightly outside the image are clipped to it.
    """

    def convert(value: object) -> float | tuple[Any, ...]:
        if isinstance(value, list):
            return tuple(convert(inner) for inner in value)
        if not isinstance(value, int | float) or not -_TOLERANCE <= value <= 1 + _TOLERANCE:
            raise ManifestError(f"{where}: {value!r} is not a fraction of width or height")
        return min(1.0, max(0.0, float(value)))

    try:
        parsed = json.loads(cell or "[]")
    except json.JSONDecodeError as error:
        raise ManifestError(f"{where}: not a JSON list ({error})") from error
    if not isinstance(parsed, list) or not all(isinstance(shape, list) for shape in parsed):
        raise ManifestError(f"{where}: not a list of lists of fractions")
    shapes = convert(parsed)
    return shapes if isinstance(shapes, tuple) else ()
