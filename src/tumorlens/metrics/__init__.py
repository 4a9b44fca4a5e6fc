"""What an answer is worth: metrics with intervals, calibration, decisions, localisation."""

from tumorlens.metrics.binary import evaluate
from tumorlens.metrics.calibration import ece, fit_temperature, reliability, sigmoid
from tumorlens.metrics.decision import (
    Conformal,
    Threshold,
    decide,
    fit_conformal,
    prediction_set,
    threshold_for_sensitivity,
)
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.localization import (
    box_from_map,
    energy_in_box,
    iou_at_area,
    pointing_hit,
)

__all__ = [
    "Conformal",
    "Estimate",
    "Threshold",
    "box_from_map",
    "decide",
    "ece",
    "energy_in_box",
    "evaluate",
    "fit_conformal",
    "fit_temperature",
    "iou_at_area",
    "pointing_hit",
    "prediction_set",
    "reliability",
    "sigmoid",
    "threshold_for_sensitivity",
]
