"""The API's response schemas, for the OpenAPI document and the client."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tumorlens.inference.prediction import DISCLAIMER, SHA256, Label, ModelRef, Prediction

MODEL_EXAMPLE = {"name": "tumorlens-evidence", "version": "1.0.0", "sha256": "5e" * 32}
PREDICTION_EXAMPLE: dict[str, Any] = {
    "label": "tumor",
    "prob": 0.93,
    "decision": "tumor",
    "prediction_set": ["tumor"],
    "threshold": 0.42,
    "threshold_origin": "sensitivity at least 0.95 on the calibration split",
    "in_domain": True,
    "in_domain_reason": None,
    "sequence": "unknown",
    "latency_ms": 7.4,
    "model": MODEL_EXAMPLE,
    "disclaimer": DISCLAIMER,
    "request_id": "0192f0c1a2b34c5d8e9f00112233aabb",
}


def example_config(value: dict[str, Any]) -> ConfigDict:
    """Return the configuration of a schema with its example, which may hold nulls."""
    return ConfigDict(
        json_schema_extra={"examples": [value]}, json_schema_serialization_defaults_required=True
    )


class PredictionAnswer(Prediction):
    """The answer for one image."""

    model_config = example_config(PREDICTION_EXAMPLE)

    request_id: str = Field(description="Id of this request in the service's logs.")


class Picture(BaseModel):
    """A PNG in base64, in the size of the scan; at most 2048 pixels on the longer side."""

    model_config = example_config({"png": "iVBORw0KGgo=", "width": 256, "height": 256})

    png: str = Field(json_schema_extra={"contentEncoding": "base64"})
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class ExplanationAnswer(PredictionAnswer):
    """The answer for one image with its heat map."""

    model_config = example_config(
        {
            **PREDICTION_EXAMPLE,
            "scan": {"png": "iVBORw0KGgo=", "width": 256, "height": 256},
            "heatmap": {"png": "iVBORw0KGgo=", "width": 256, "height": 256},
            "evidence": {"png": "iVBORw0KGgo=", "width": 256, "height": 256},
            "pixel_mm": 0.9,
        }
    )

    scan: Picture = Field(description="The scan as the model received it, grey.")
    heatmap: Picture = Field(
        description="Colours with transparency (a palette) on a fixed scale; transparent is no "
        "evidence."
    )
    evidence: Picture = Field(
        description="The heat map's values, 8-bit grey: 0 is no evidence, 255 is 1."
    )
    pixel_mm: float | None = Field(
        description="Side of a pixel of these pictures in millimetres by the DICOM header, or null."
    )


class Limits(BaseModel):
    """The limits of one request."""

    max_upload_bytes: int
    max_pixels: int
    batch_max_files: int
    batch_max_bytes: int
    series_max_files: int
    series_max_voxels: int


class ModelAnswer(BaseModel):
    """The model's card, the hash of its file, and the limits of this service."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    **MODEL_EXAMPLE,
                    "labels": ["healthy", "tumor"],
                    "has_map": True,
                    "intended_use": "Research and teaching.",
                    "limits": {
                        "max_upload_bytes": 33554432,
                        "max_pixels": 16777216,
                        "batch_max_files": 64,
                        "batch_max_bytes": 67108864,
                        "series_max_files": 1024,
                        "series_max_voxels": 33554432,
                    },
                }
            ]
        },
    )

    name: str
    version: str
    sha256: str = Field(pattern=SHA256)
    labels: list[Label]
    has_map: bool
    intended_use: str
    limits: Limits


class Health(BaseModel):
    """The process is alive."""

    model_config = example_config({"status": "ok"})

    status: Literal["ok"]


class Readiness(BaseModel):
    """The service is ready; ``model_refused`` names the error of a refused new model file."""

    model_config = example_config(
        {"status": "ready", "model": MODEL_EXAMPLE, "model_refused": None}
    )

    status: Literal["ready"]
    model: ModelRef
    model_refused: str | None = Field(
        description="The error of a changed model file that was refused."
    )


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = Field(description="Relative reference to the explanation of this kind of problem.")
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    instance: str
    request_id: str


class ProblemKind(BaseModel):
    """One kind of problem and what to do about it."""

    model_config = example_config(
        {
            "type": "/problems/empty-file",
            "title": "The file is empty",
            "status": 422,
            "advice": "Send a file that holds an image.",
        }
    )

    type: str
    title: str
    status: int
    advice: str


class BatchLine(BaseModel):
    """One line of a batch answer: a prediction or a problem for the file at ``index``."""

    model_config = example_config({"index": 0, "prediction": PREDICTION_EXAMPLE, "problem": None})

    index: int = Field(ge=0, description="Position of the image in the request, from 0.")
    prediction: PredictionAnswer | None
    problem: Problem | None


ANSWERS: tuple[type[BaseModel], ...] = (
    PredictionAnswer,
    Picture,
    ExplanationAnswer,
    ModelAnswer,
    Health,
    Readiness,
    ProblemKind,
    BatchLine,
)
