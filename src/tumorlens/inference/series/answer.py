"""The answer for a series: one schema for Python, HTTP, the client, JSON lines and CSV."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.header import SequenceName
from tumorlens.inference.prediction import DISCLAIMER, Decision, Label, ModelRef, Record

Laterality = Literal["left", "right", "midline", "unknown"]
Point = tuple[float, float]


class SliceAnswer(Record):
    """One slice of a series."""

    index: int = Field(ge=0, description="From 0, from the patient's left, back or lower end.")
    position_mm: float = Field(
        description="Place along the normal of the plane, in the file's coordinates."
    )
    prob: float | None = Field(
        ge=0, le=1, description="Calibrated probability of a tumour; null when set aside."
    )
    decision: Decision | None = Field(
        description="'tumor' when the slice reaches what a run of slices needs for a series to be "
        "'tumor'; otherwise as for one image, but 'uncertain' instead of 'tumor'; null when set "
        "aside."
    )
    set_aside: str | None = Field(description="Why the slice is not answered, else null.")


class SliceOutline(Record):
    """The outline of a finding in one slice."""

    index: int = Field(ge=0, description="The slice.")
    polygons: tuple[tuple[Point, ...], ...] = Field(
        description="Points (x, y) as fractions of the slice's width and height, from the upper "
        "left corner; the patient's right is on the left."
    )
    area_mm2: float = Field(ge=0, description="Area inside.")


class Finding(Record):
    """A region of the class maps that persists over neighbouring slices."""

    first: int = Field(ge=0, description="Index of its first slice.")
    last: int = Field(ge=0, description="Index of its last slice.")
    peak: int = Field(ge=0, description="Index of the slice with the highest probability.")
    prob: float = Field(ge=0, le=1, description="Probability of that slice.")
    area_mm2: float = Field(ge=0, description="Largest area in one slice.")
    volume_ml: float = Field(ge=0, description="Areas times the distance of slices.")
    diameter_mm: float = Field(ge=0, description="Longest diameter within one slice.")
    laterality: Laterality = Field(
        description="Side of the patient; 'unknown' where the file gives no orientation or the "
        "head is not whole from side to side."
    )
    outlines: tuple[SliceOutline, ...]


class Geometry(Record):
    """Size and voxels of the volume, axes in RAS order."""

    shape: tuple[int, int, int] = Field(description="Voxels from left to right, back to front, up.")
    spacing_mm: tuple[float, float, float] = Field(description="Size of a voxel along them.")
    slice_mm: float = Field(gt=0, description="Distance of the slices that were answered.")
    oriented: bool = Field(description="Whether the file tells right from left.")


class SeriesPrediction(Record):
    """The prediction for one volume or series."""

    label: Label | None = Field(
        description="'tumor' when prob is at or above the threshold; null when no slice could be "
        "answered."
    )
    prob: float | None = Field(
        ge=0, le=1, description="Probability that the series shows a tumour, or null."
    )
    decision: Decision = Field(
        description="The label, or 'uncertain' when the prediction set does not have exactly one "
        "member or the series is out of domain."
    )
    prediction_set: tuple[Label, ...] = Field(
        description="Conformal prediction set for series; only the label when the model has no "
        "quantiles for them."
    )
    threshold: float = Field(ge=0, le=1, description="Probability from which the label is 'tumor'.")
    threshold_origin: str = Field(
        description="How slices are combined and the threshold was chosen."
    )
    in_domain: bool = Field(description="False when this is no usable series of a head's MRI.")
    in_domain_reason: str | None = Field(description="Why the series is out of domain, else null.")
    plane: Plane = Field(description="Plane of the slices that were answered.")
    sequence: SequenceName = Field(description="MR sequence by the header, or 'unknown'.")
    geometry: Geometry
    slices: tuple[SliceAnswer, ...]
    findings: tuple[Finding, ...] = Field(description="Largest first; none for a healthy series.")
    remarks: tuple[str, ...] = Field(description="What was unusual about the file, in words.")
    latency_ms: float = Field(ge=0, description="Processing time including reading, milliseconds.")
    model: ModelRef
    disclaimer: str = Field(
        default=DISCLAIMER, description="What the prediction must not be used for."
    )

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Return the column names that `to_row` has beyond those of `Prediction`."""
        return (
            "plane", "n_slices", "n_answered", "n_tumor", "n_findings", "first", "last",
            "area_mm2", "volume_ml", "diameter_mm", "laterality",
        )  # fmt: skip

    def to_row(self) -> dict[str, Any]:
        """Return flat values: the columns of `Prediction`, and those of the largest finding."""
        row = self.to_dict()
        for nested in ("geometry", "slices", "findings", "remarks"):
            row.pop(nested)
        row |= {f"model_{part}": value for part, value in row.pop("model").items()}
        answered = [each for each in self.slices if each.set_aside is None]
        row |= {
            "n_slices": len(self.slices),
            "n_answered": len(answered),
            "n_tumor": sum(each.decision == "tumor" for each in answered),
            "n_findings": len(self.findings),
        }
        largest = ("first", "last", "area_mm2", "volume_ml", "diameter_mm", "laterality")
        finding = self.findings[0] if self.findings else None
        return row | {name: getattr(finding, name) if finding else None for name in largest}

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the curve of the slices and the largest findings."""
        from tumorlens.inference.notebook import series_html

        return series_html(self)
