"""Display names of metrics in reports and model cards."""

from __future__ import annotations

METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "f1": "F1",
    "mcc": "MCC",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC (average precision)",
    "brier": "Brier score",
    "nll": "negative log-likelihood",
    "ece_width": "ECE, equal width",
    "ece_mass": "ECE, equal mass",
    "pointing": "peak in the box",
    "pointing_15px": "peak within 15 px of the box",
    "energy_in_box": "map energy in the box",
    "iou_at_area": "IoU at the box's area",
}


def metric_name(key: str) -> str:
    """Return a metric's display name; by default its key with spaces for underscores."""
    return METRIC_NAMES.get(key, key.replace("_", " "))
