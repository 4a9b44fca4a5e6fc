"""A `Report` as one HTML page: no script, no request, light and dark, and fit to be printed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from tumorlens.metrics.intervals import Estimate
from tumorlens.plots.style import data_uri
from tumorlens.reporting.document import Metrics, Picture, Report

# What a table by source or view shows; the first table shows everything.
KEY_METRICS = ("roc_auc", "sensitivity", "specificity", "balanced_accuracy", "brier", "ece_mass")
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
}
# Nothing may be fetched from anywhere; pictures are in the page itself.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_CSS = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6573; --line: #dfe3e8;
  --paper: #fff; --ground: #f5f6f8; --accent: #0060a0; --warn: #fff4e0; --warn-ink: #7a4300 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a3acb9; --line: #363d48;
  --paper: #1d2128; --ground: #14171c; --accent: #7cc0f5; --warn: #3a2c12; --warn-ink: #ffd591 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif }
main { max-width: 70rem; margin: 0 auto; padding: 2rem 1.25rem 4rem }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .8rem }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem }
.soft { color: var(--soft) } a { color: var(--accent) }
nav { margin: 1rem 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem }
.note { background: var(--warn); color: var(--warn-ink); border-radius: .5rem;
  padding: .7rem 1rem; margin: .8rem 0 }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem }
.tile, figure, .wide { background: var(--paper); border: 1px solid var(--line);
  border-radius: .6rem; padding: .9rem 1rem }
.tile b { display: block; font-size: 1.7rem; line-height: 1.2; font-weight: 650 }
.wide { overflow-x: auto; padding: .3rem 1rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top } tbody tr:last-child > * { border-bottom: 0 }
td.number { white-space: nowrap } td.text { overflow-wrap: anywhere } th { font-weight: 600 }
small { color: var(--soft); font-size: .85em }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr));
  gap: 1rem } figure { margin: 0 } figure.full { grid-column: 1 / -1 }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #fff;
  border-radius: .3rem; padding: .3rem }
figcaption { margin-top: .6rem; font-size: .9rem; color: var(--soft) }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --line: #ccc;
    --paper: #fff; --ground: #fff; --warn: #fff; --warn-ink: #000 }
  nav { display: none } main { max-width: none; padding: 0 }
  .note { border: 1px solid #000 }
  figure, tr, .tile { break-inside: avoid } h2, h3 { break-after: avoid } }
"""


def to_html(report: Report) -> str:
    """Return the page. Every text of the report is escaped."""
    sections = [
        ("summary", "Summary", _summary(report)),
        ("sources", "By source", _breakdown(report.sources, "source")),
        ("views", "By view", _breakdown(report.views, "view")),
        ("parts", "All parts", _breakdown(report.parts, "part")),
        ("plots", "Plots", _plots(report.pictures)),
        ("data", "Data", _data(report.data)),
        ("limitations", "Limitations", _listed(report.limitations)),
        ("settings", "Settings", _settings(report.settings)),
    ]
    sections = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
    body = "".join(
        f'<section id="{name}"><h2>{title}</h2>{content}</section>'
        for name, title, content in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.title)}</title><style>{_CSS}</style></head><body><main>"
        f'<h1>{escape(report.title)}</h1><p class="soft">{escape(report.created)} · figures of the '
        f"{escape(report.part)} scans · research only, not for clinical use</p>"
        f"<nav>{links}</nav>{_notes(report.notes)}{body}</main></body></html>\n"
    )


def _notes(notes: Iterable[str]) -> str:
    return "".join(f'<p class="note">{escape(note)}</p>' for note in notes)


def _summary(report: Report) -> str:
    tiles = "".join(
        f'<div class="tile">{_name(name)}<b>{_value(report.metrics[name])}</b>'
        f"<small>{_interval(report.metrics[name])}<br>n = {report.metrics[name].n}</small></div>"
        for name in ("roc_auc", "sensitivity", "specificity", "balanced_accuracy")
        if name in report.metrics
    )
    rows = [(_name(name), _value(e), _interval(e), str(e.n)) for name, e in report.metrics.items()]
    table = _table(("metric", "value", "95 % interval", "scans"), rows)
    facts = _table((), ((escape(k), escape(v)) for k, v in report.facts.items()))
    return f'<div class="tiles">{tiles}</div><h3>Every metric</h3>{table}<h3>What</h3>{facts}'


def _breakdown(table: Mapping[str, Metrics], kind: str) -> str:
    if not table:
        return ""
    rows = []
    for name, metrics in table.items():
        n = max((e.n for e in metrics.values()), default=0)
        cells = (
            f"{_value(metrics[m])}<br><small>{_interval(metrics[m])}</small>"
            if m in metrics
            else "–"
            for m in KEY_METRICS
        )
        rows.append((escape(name), str(n), *cells))
    return _table((kind, "scans", *(_name(name) for name in KEY_METRICS)), rows)


def _plots(pictures: Iterable[Picture]) -> str:
    figures = "".join(
        f"<figure{' class=full' if picture.wide else ''}>"
        f'<img alt="{escape(picture.title)}" src="{data_uri(picture.content, picture.kind)}">'
        f"<figcaption><b>{escape(picture.title)}.</b> {escape(picture.caption)}</figcaption>"
        "</figure>"
        for picture in pictures
        if picture.content
    )
    return f'<div class="plots">{figures}</div>' if figures else ""


def _data(rows: Iterable[Mapping[str, Any]]) -> str:
    cells = [
        tuple(escape(str(row.get(key) or "–")) for key in ("source", "n", "licence", "citation"))
        for row in rows
    ]
    return _table(("learned from", "scans", "licence", "citation"), cells) if cells else ""


def _listed(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def _settings(settings: Mapping[str, Any]) -> str:
    rows = [(escape(name), escape(value)) for name, value in _flat(settings, "")]
    return _table(("setting", "value"), rows) if rows else ""


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "null" if value is None else str(value)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table of cells that are HTML already."""
    head = "".join(f"<th>{cell}</th>" for cell in heads)
    body = "".join(
        f"<tr><th>{row[0]}</th>" + "".join(_cell(cell) for cell in row[1:]) + "</tr>"
        for row in rows
    )
    head = f"<thead><tr>{head}</tr></thead>" if heads else ""
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def _cell(content: str) -> str:
    short = len(content) < 24 or "<br>" in content
    kind = "number" if short and content[:1] in "-–0123456789" else "text"
    return f'<td class="{kind}">{content}</td>'


def _name(metric: str) -> str:
    return escape(METRIC_NAMES.get(metric, metric.replace("_", " ")))


def _value(estimate: Estimate) -> str:
    return f"{estimate.value:.3f}" if math.isfinite(estimate.value) else "–"


def _interval(estimate: Estimate) -> str:
    if not math.isfinite(estimate.low):
        return "not defined"
    return f"{estimate.low:.3f} to {estimate.high:.3f}"
