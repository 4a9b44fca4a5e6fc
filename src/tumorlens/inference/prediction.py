"""What the predictor answers: the same fields in Python, JSON, CSV and HTTP."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DISCLAIMER = "Research tool, not a medical device: not for clinical use."


@dataclass(frozen=True)
class ModelRef:
    """Which model answered; ``sha256`` is the hex digest of its whole file."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        label: ``tumor`` when ``prob >= threshold``, else ``healthy``.
        prob: Calibrated probability of a tumour, 0..1.
        decision: ``tumor``, ``healthy``, or ``uncertain`` when the model should not decide:
            the prediction set has not exactly one member, or the image is out of domain.
        prediction_set: The labels that cannot be ruled out at the model's error rate; may hold
            both or none. Just ``label`` when the model carries no conformal quantiles.
        threshold: The probability the label changes at.
        threshold_origin: Where the threshold came from, in words.
        in_domain: False when the image is not a usable slice of a head.
        in_domain_reason: Why not, or None.
        latency_ms: Milliseconds from the given source to this answer, with decoding. In a batch
            the network's time is shared evenly.
        model: Which model answered.
        disclaimer: What the answer may not be used for.
    """

    label: str
    prob: float
    decision: str
    prediction_set: tuple[str, ...]
    threshold: float
    threshold_origin: str
    in_domain: bool
    in_domain_reason: str | None
    latency_ms: float
    model: ModelRef
    disclaimer: str = DISCLAIMER

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: tuples as lists, the model as a dict."""
        return asdict(self) | {"prediction_set": list(self.prediction_set)}


@dataclass(frozen=True, eq=False)
class Explanation:
    """The answer and the evidence it was computed from.

    Attributes:
        prediction: The same answer that `Predictor.predict` gives.
        heatmap: float32 ``[H, W]`` on the source image's pixels, 0..1 on a fixed scale:
            ``max(0, 2 sigmoid(map / temperature) - 1)``, bilinear between the map's cells. 0 is
            neutral, evidence against a tumour, or outside what the network saw; never stretched
            per image.
        scan: uint8 ``[H, W]``: the source image in grey, as shown under the heat map.
    """

    prediction: Prediction
    heatmap: NDArray[np.float32]
    scan: NDArray[np.uint8]
