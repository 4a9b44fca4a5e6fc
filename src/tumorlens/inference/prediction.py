"""Predictions and explanations: one schema for Python, HTTP, the client, JSON lines and CSV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from tumorlens.imaging.header import SequenceName
from tumorlens.metrics.decision import Decision, Label

__all__ = ["DISCLAIMER", "SHA256", "Decision", "Explanation", "Label", "ModelRef", "Prediction"]

DISCLAIMER = "Research tool, not a medical device: not for clinical use."
SHA256 = r"^[0-9a-f]{64}$"


class Record(BaseModel):
    """Part of an answer: frozen, and JSON-ready on request; validators are built on first use."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: tuples as lists, records as dicts."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build it from `to_dict`; raises ``pydantic.ValidationError`` on bad values."""
        return cls.model_validate(values)


class ModelRef(Record):
    """The model that made a prediction."""

    name: str
    version: str
    sha256: str = Field(pattern=SHA256, description="Hash of the whole model file.")


class Prediction(Record):
    """The prediction for one image."""

    label: Label = Field(description="'tumor' when prob is at or above the threshold.")
    prob: float = Field(ge=0, le=1, description="Calibrated probability of a tumour.")
    decision: Decision = Field(
        description="The label, or 'uncertain' when the prediction set does not have exactly one "
        "member or the image is out of domain."
    )
    prediction_set: tuple[Label, ...] = Field(
        description="Conformal prediction set at the model's error rate: none, one or both of the "
        "classes; only the label when the model has no conformal quantiles."
    )
    threshold: float = Field(ge=0, le=1, description="Probability from which the label is 'tumor'.")
    threshold_origin: str = Field(description="How the threshold was chosen.")
    in_domain: bool = Field(description="False when the image is not a usable slice of a head.")
    in_domain_reason: str | None = Field(description="Why the image is out of domain, else null.")
    sequence: SequenceName = Field(
        default="unknown",
        description="MR sequence by the DICOM header: 'unknown' for pictures, and where the header "
        "does not say.",
    )
    latency_ms: float = Field(
        ge=0,
        description="Processing time of this image in milliseconds, including decoding; in a batch "
        "the network's time is divided evenly.",
    )
    model: ModelRef
    disclaimer: str = Field(
        default=DISCLAIMER, description="What the prediction must not be used for."
    )

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Return the column names of `to_row`, in order."""
        return tuple(
            column
            for name in cls.model_fields
            for column in ([f"model_{part}" for part in ModelRef.model_fields]
                           if name == "model" else [name])
        )  # fmt: skip

    def to_row(self) -> dict[str, Any]:
        """Return a flat `to_dict`: the model as ``model_name``, ``model_version``, …."""
        row = self.to_dict()
        row |= {f"model_{part}": value for part, value in row.pop("model").items()}
        return {column: row[column] for column in self.columns()}

    def _repr_html_(self) -> str:
        """Return what a notebook shows: self-contained, every value escaped."""
        from tumorlens.inference.notebook import prediction_html

        return prediction_html(self)


@dataclass(frozen=True, eq=False)
class Explanation:
    """A prediction and the evidence map it was computed from.

    Attributes:
        prediction: As from `Predictor.predict`.
        heatmap: float32 ``[H, W]`` on the source image's pixels, 0..1 on a fixed scale:
            ``max(0, 2 sigmoid(map / temperature + bias) - 1)``, bilinear between the map's cells.
            0 means neutral, evidence against a tumour, or outside the network's input. Never
            rescaled per image.
        scan: uint8 ``[H, W]``: the source image in grey, for display under the heat map.
    """

    prediction: Prediction
    heatmap: NDArray[np.float32]
    scan: NDArray[np.uint8]

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the prediction, the scan and its heat map."""
        from tumorlens.inference.notebook import explanation_html

        return explanation_html(self)
