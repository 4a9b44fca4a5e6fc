"""Schemas of the answers for series and their slices."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.header import SequenceName
from tumorlens.inference.series.answer import SeriesPrediction
from tumorlens.serving.api.schemas import PREDICTION_EXAMPLE, Problem, example_config

_SERIES: dict[str, Any] = {
    **{key: value for key, value in PREDICTION_EXAMPLE.items() if key != "request_id"},
    "threshold_origin": "by the mean of the most suspicious run of 3 neighbouring slices; "
    "threshold: at most 5% of healthy series called tumour",
    "plane": "axial",
    "geometry": {
        "shape": [192, 224, 80],
        "spacing_mm": [1.0, 1.0, 2.0],
        "slice_mm": 2.0,
        "oriented": True,
    },
    "slices": [
        {"index": 0, "position_mm": -78.0, "prob": None, "decision": None,
         "set_aside": "too little of the head"},
        {"index": 1, "position_mm": -76.0, "prob": 0.98, "decision": "tumor", "set_aside": None},
    ],
    "findings": [
        {
            "first": 1, "last": 1, "peak": 1, "prob": 0.98, "area_mm2": 512.0, "volume_ml": 1.02,
            "diameter_mm": 27.4, "laterality": "left",
            "outlines": [{"index": 1, "polygons": [[[0.6, 0.4], [0.7, 0.4], [0.65, 0.5]]],
                          "area_mm2": 512.0}],
        }
    ],
    "remarks": [],
    "request_id": PREDICTION_EXAMPLE["request_id"],
}  # fmt: skip


class SeriesAnswer(SeriesPrediction):
    """The answer for one series."""

    model_config = example_config(_SERIES)

    request_id: str = Field(description="Id of this request in the service's logs.")


class SeriesProgress(BaseModel):
    """A line while a series is read: slices done, and of how many."""

    model_config = example_config({"index": 0, "done": 12, "of": 150})

    index: int = Field(ge=0, description="Position of the series in the request, from 0.")
    done: int = Field(ge=0)
    of: int = Field(ge=1)


_VIEW: dict[str, Any] = {
    "plane": "axial", "slices": 150, "width": 256, "height": 256, "pixel_mm": 0.9,
    "slice_mm": 1.0, "oriented": True, "sequence": "T1C", "slope": 1.0, "intercept": 0.0,
    "window": [12.0, 840.0], "slice_threshold": 0.42,
}  # fmt: skip


class SeriesView(BaseModel):
    """What a viewer needs to know of a series before its slices."""

    model_config = example_config(_VIEW)

    plane: Plane
    slices: int = Field(ge=1, description="Number of slices.")
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    pixel_mm: float = Field(gt=0, description="Side of a pixel of the pictures in millimetres.")
    slice_mm: float = Field(gt=0, description="Distance of slices.")
    oriented: bool = Field(description="Whether the file tells right from left.")
    sequence: SequenceName
    slope: float = Field(description="Value of the scan = intercept + slope * pixel.")
    intercept: float
    window: tuple[float, float] = Field(
        description="Values of the scan to show as black and as white at first."
    )
    slice_threshold: float = Field(
        ge=0, le=1, description="Probability from which a slice of this series is 'tumor'."
    )


class SeriesViewLine(BaseModel):
    """The first line of a series of ``/explain/series``."""

    model_config = example_config({"index": 0, "view": _VIEW})

    index: int = Field(ge=0, description="Position of the series in the request, from 0.")
    view: SeriesView


class SliceImages(BaseModel):
    """One slice, upright, with the patient's right on the left."""

    model_config = example_config({"index": 12, "scan": "iVBORw0KGgo=", "evidence": "iVBORw0KGgo="})

    index: int = Field(ge=0, description="The slice, as in the prediction.")
    scan: str = Field(
        description="Grey PNG of 8 or 16 bits; the scale is the view's.",
        json_schema_extra={"contentEncoding": "base64"},
    )
    evidence: str | None = Field(
        description="Grey PNG of 8 bits, 255 is 1 on the heat map's scale; null when set aside.",
        json_schema_extra={"contentEncoding": "base64"},
    )


class SliceLine(BaseModel):
    """A line of ``/explain/series`` with the pictures of one slice."""

    model_config = example_config(
        {"index": 0, "slice": {"index": 12, "scan": "iVBORw0KGgo=", "evidence": "iVBORw0KGgo="}}
    )

    index: int = Field(ge=0, description="Position of the series in the request, from 0.")
    slice: SliceImages


class SeriesLine(BaseModel):
    """The last line of a series: its prediction, or a problem."""

    model_config = example_config({"index": 0, "prediction": _SERIES, "problem": None})

    index: int = Field(ge=0, description="Position of the series in the request, from 0.")
    prediction: SeriesAnswer | None
    problem: Problem | None


SERIES_ANSWERS: tuple[type[BaseModel], ...] = (
    SeriesAnswer,
    SeriesProgress,
    SeriesLine,
    SeriesView,
    SeriesViewLine,
    SliceImages,
    SliceLine,
)
