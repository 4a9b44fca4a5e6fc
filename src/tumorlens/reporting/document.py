"""`Report`: all that was measured of one model, as JSON and as one self-contained page.

The JSON, schema ``tumorlens-report/1``::

    schema       "tumorlens-report/1"
    title        text; created: ISO date; part: the part of the split the figures are of
    facts        name → text, such as the model, its threshold and the machine
    notes        warnings to read before the figures, such as a leaking split
    metrics      metric → {value, low, high, n}; low..high is the 95 % interval, n counts scans,
                 null stands for what the scans cannot define
    parts        part (or repeat, or fold) → metric → {value, low, high, n}
    sources      data set → metric → {…};  views: view → metric → {…}, where views are known
    settings     the run's configuration
    data         [{source, n, sha256, licence, citation}] the model learned from
    limitations  texts
    pictures     [{title, caption}]; the pictures themselves are in the page only
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tumorlens.errors import DataError
from tumorlens.metrics.intervals import Estimate, to_dicts

SCHEMA = "tumorlens-report/1"
Metrics = Mapping[str, Estimate]


@dataclass(frozen=True)
class Picture:
    """One plot: its words, its bytes as SVG or PNG (none in a report read from JSON), its width."""

    title: str
    caption: str
    content: bytes = b""
    kind: Literal["svg", "png"] = "svg"
    wide: bool = False


@dataclass(frozen=True)
class Report:
    """What the module's docstring lists, field by field."""

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
    pictures: tuple[Picture, ...] = ()


def to_json(report: Report) -> str:
    """Return the report as JSON text; figures that are not finite become null."""
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
        "pictures": [{"title": p.title, "caption": p.caption} for p in report.pictures],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str) -> Report:
    """Return the report that `to_json` wrote, without its pictures' bytes.

    Raises:
        DataError: not a report, or of another schema.
    """
    try:
        content = json.loads(text)
        if content.pop("schema") != SCHEMA:
            raise DataError(f"not a report of schema {SCHEMA}; write it again with this version")
        fields: dict[str, Any] = {
            **content,
            "metrics": _metrics_in(content["metrics"]),
            "pictures": tuple(Picture(**entry) for entry in content["pictures"]),
        }
        for table in ("parts", "sources", "views"):
            fields[table] = {name: _metrics_in(row) for name, row in content[table].items()}
        for texts in ("notes", "data", "limitations"):
            fields[texts] = tuple(content[texts])
        return Report(**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"not a report of schema {SCHEMA} ({error})") from error


def _metrics_in(values: Mapping[str, Mapping[str, float | None]]) -> dict[str, Estimate]:
    def number(value: float | None) -> float:
        return math.nan if value is None else value

    return {
        name: Estimate(
            number(found["value"]),
            number(found["low"]),
            number(found["high"]),
            int(found["n"] or 0),
        )
        for name, found in values.items()
    }
