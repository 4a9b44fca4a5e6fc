"""Metrics by source and by view for the model card, since an overall mean can hide failures."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.summary import Predictions, summarize, summarize_by
from tumorlens.modelfile.markdown import HEADLINE

METRICS = (*HEADLINE, "ece_width")
"""The metrics shown on a card by source and view; the report and `evaluate` show all."""


def breakdown(
    predictions: Mapping[str, Predictions],
    *,
    leave_out: Collection[str | None] = ("train",),
    n_boot: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, Estimate]]:
    """Return ``part/name`` → metric → estimate, for each source and each known view of a part.

    Args:
        predictions: Part → predictions.
        leave_out: Parts that the model was trained or calibrated on.
        n_boot, seed: Of the grouped bootstrap.

    Returns:
        Names such as ``test/br35h`` and ``test/axial``, those of one part together. A part with one
        source has no entries by source, and one without known views none by view. Metrics that a
        subset of one class does not define are NaN.
    """

    def summary(rows: Predictions) -> dict[str, Estimate]:
        found = summarize(rows, n_boot=n_boot, seed=seed)
        return {name: found[name] for name in METRICS}

    return {
        f"{part}/{name}": figures
        for part, table in predictions.items()
        if part not in leave_out
        for names in (table.sources, table.views)
        if len(set(names)) > 1
        for name, figures in summarize_by(table, names, summary).items()
    }
