"""Metrics by source, view, sequence and finding for the model card: a mean can hide failures."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.summary import Predictions, summarize, summarize_by
from tumorlens.modelfile.markdown import HEADLINE

METRICS = (*HEADLINE, "ece_width")
"""The metrics on a card by source, view, sequence and finding; `evaluate` shows all."""


def breakdown(
    predictions: Mapping[str, Predictions],
    *,
    leave_out: Collection[str | None] = ("train",),
    n_boot: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, Estimate]]:
    """Return ``part/name`` → metric → estimate, for each subset of a part.

    Args:
        predictions: Part → predictions.
        leave_out: Parts that the model was trained or calibrated on.
        n_boot, seed: Of the grouped bootstrap.

    Returns:
        Names such as ``test/br35h``, ``test/axial``, ``test/FLAIR`` and ``test/clear``, those of
        one part together, and ``test/SOURCE, tumour against clear`` where a source has both. A part
        with one source has no entries by source, and so on. Metrics that a subset of one class
        does not define are NaN.
    """

    def summary(rows: Predictions) -> dict[str, Estimate]:
        found = summarize(rows, n_boot=n_boot, seed=seed)
        return {name: found[name] for name in METRICS}

    return {
        f"{part}/{name}": figures
        for part, table in predictions.items()
        if part not in leave_out
        for names in (
            table.sources,
            table.views,
            table.sequences,
            _negative(table),
            _against_clear(table),
        )
        if len(set(names)) > 1
        for name, figures in summarize_by(table, names, summary).items()
    }


def _negative(table: Predictions) -> tuple[str | None, ...]:
    """Return the findings of scans without a tumour, where there is more than ``healthy``."""
    return tuple(each if each in ("clear", "other_lesion") else None for each in table.findings)


def _against_clear(table: Predictions) -> tuple[str | None, ...]:
    """Name the scans of each source with tumours and slices clear of them."""
    clear = {s for s, f in zip(table.sources, table.findings, strict=True) if f == "clear"}
    return tuple(
        f"{source}, tumour against clear"
        if source in clear and finding in ("tumor", "clear")
        else None
        for source, finding in zip(table.sources, table.findings, strict=True)
    )
