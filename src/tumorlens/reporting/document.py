"""`Report`: the measurements of one model, as JSON and as one self-contained page.

The JSON, schema ``tumorlens-report/1``::

    schema       "tumorlens-report/1"
    title        text; created: ISO date; part: the part of the split that was measured
    facts        name → text, such as the model, its threshold and the machine
    notes        warnings, such as a leaky split
    metrics      metric → {value, low, high, n}; low..high is the 95 % interval, n counts scans,
                 null for metrics that the scans do not define
    parts        part (or repeat, or fold) → metric → {value, low, high, n}
    sources      data set → metric → {…};  views: view → metric → {…}, where views are known
    settings     the run's configuration
    data         [{source, n, sha256, licence, citation}] the model was trained on
    limitations  texts
    plots        [{title, caption}]; the images themselves are in the page only
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tumorlens.metrics.intervals import Estimate, to_dicts

SCHEMA = "tumorlens-report/1"
Metrics = Mapping[str, Estimate]


@dataclass(frozen=True)
class Plot:
    """A plot or sheet of images: title, caption, content as SVG or PNG; full width if wide."""

    title: str
    caption: str
    content: bytes
    kind: Literal["svg", "png"] = "svg"
    wide: bool = False


@dataclass(frozen=True)
class Report:
    """The fields of the JSON schema in the module's docstring."""

    title: str
    created: str
    part: str
    metrics: Metrics
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    parts: Mapping[str, Metrics] = field(default_factory=dict)
    sources: Mapping[str, Metrics] = field(default_factory=dict)
    views: Mapping[str, Metrics] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: tuple[Mapping[str, Any], ...] = ()
    limitations: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()


def to_json(report: Report) -> str:
    """Return the report as JSON text; values that are not finite become null."""
    content = {
        "schema": SCHEMA,
        "title": report.title,
        "created": report.created,
        "part": report.part,
        "facts": dict(report.facts),
        "notes": list(report.notes),
        "metrics": to_dicts(report.metrics),
        **{
            table: {name: to_dicts(values) for name, values in getattr(report, table).items()}
            for table in ("parts", "sources", "views")
        },
        "settings": dict(report.settings),
        "data": [dict(row) for row in report.data],
        "limitations": list(report.limitations),
        "plots": [{"title": p.title, "caption": p.caption} for p in report.plots],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
