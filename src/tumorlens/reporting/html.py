"""A `Report` as one printable HTML page, light and dark, without scripts or requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tumorlens.metrics.names import metric_name
from tumorlens.pages.render import data_uri, render
from tumorlens.reporting.document import Report

# Columns of the tables by source and view; the first table shows every metric.
KEY_METRICS = ("roc_auc", "sensitivity", "specificity", "balanced_accuracy", "brier", "ece_mass")
SECTIONS = {
    "summary": "Summary",
    "sources": "By source",
    "views": "By view",
    "parts": "All parts",
    "plots": "Plots",
    "data": "Data",
    "limitations": "Limitations",
    "settings": "Settings",
}


def to_html(report: Report) -> str:
    """Return the page; all text is escaped."""
    tables = {"sources": report.sources, "views": report.views, "parts": report.parts}
    tables = {name: table for name, table in tables.items() if table}
    settings = list(_flat(report.settings, ""))
    shown = {"summary": True, **dict.fromkeys(tables, True), "plots": report.plots,
             "data": report.data, "limitations": report.limitations,
             "settings": settings}  # fmt: skip
    return render(
        "report.html",
        title=report.title,
        report=report,
        sections=[(name, title) for name, title in SECTIONS.items() if shown.get(name)],
        tables=tables,
        metric_name=metric_name,
        key_metrics=KEY_METRICS,
        data_uri=data_uri,
        data=[
            [row.get(key) or "–" for key in ("source", "n", "licence", "citation")]
            for row in report.data
        ],
        settings=settings,
    )


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "null" if value is None else str(value)
