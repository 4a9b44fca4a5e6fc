"""The card's figures by source and by view: a mean over all can hide where a model fails."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.summary import Predictions, summarize, summarize_by
from tumorlens.modelfile.markdown import HEADLINE

METRICS = (*HEADLINE, "ece_width")
"""The few that a card shows of a source or a view; the report and `evaluate` show all."""


def breakdown(
    answers: Mapping[str, Predictions],
    *,
    leave_out: Collection[str | None] = ("train",),
    n_boot: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, Estimate]]:
    """Return ``part/name`` → metric → estimate, for each source and each known view of a part.

    Args:
        answers: By part.
        leave_out: Parts that are no measure of the model, as it was trained or calibrated on them.
        n_boot, seed: Of the grouped bootstrap.

    Returns:
        Names such as ``test/br35h`` and ``test/axial``, those of one part together. A part of one
        source has no figures by source, and one of which no view is known none by view. What a
        subset of one class cannot define is NaN.
    """

    def summary(rows: Predictions) -> dict[str, Estimate]:
        found = summarize(rows, n_boot=n_boot, seed=seed)
        return {name: found[name] for name in METRICS}

    return {
        f"{part}/{name}": figures
        for part, table in answers.items()
        if part not in leave_out
        for names in (table.sources, table.views)
        if len(set(names)) > 1
        for name, figures in summarize_by(table, names, summary).items()
    }
