"""The audit as one HTML page: findings, the overlap matrix, shortcuts, and the pairs as pictures.

The page holds everything it shows and loads nothing. The pictures are scans of the audited set:
share the page as you may share the set.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.data.audit import Audit
from tumorlens.data.copies import Copy
from tumorlens.data.findings import Finding
from tumorlens.data.looks import Look
from tumorlens.data.shortcuts import Shortcut
from tumorlens.errors import InputError
from tumorlens.imaging.decode import decode, to_grey

MOST_PAIRS = 200
_SIDE = 160
_MOST_ITEMS = 50

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --error: #b3261e; --warning: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --error: #ff8a80; --warning: #ffc46b; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
.error { color: var(--error); } .warning { color: var(--warning); }
details { margin: .5rem 0; } summary { cursor: pointer; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid var(--line); padding: .5rem; }
figure div { display: flex; gap: .25rem; }
img { width: 10rem; height: 10rem; object-fit: contain; background: #000; }
figcaption { font-size: .8rem; overflow-wrap: anywhere; }
"""


def gallery(audit: Audit, title: str) -> str:
    """Return the page as text.

    Of many pairs at most 200 are drawn: conflicting labels first, then pairs across sources, then
    the least alike, which are the ones worth a look.
    """
    pairs = sorted(audit.copies, key=lambda copy: _interest(copy, audit.looks))[:MOST_PAIRS]
    verdict = "errors found" if audit.failed else "no errors"
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Audit of {escape(title)}</title><style>{_STYLE}</style></head><body><main>",
            f"<h1>Audit of {escape(title)}</h1>",
            f"<p>{len(audit.looks)} images read, {len(audit.unreadable)} not; {verdict}.</p>",
            _sources(audit),
            "<h2>Findings</h2>",
            *(_finding(finding) for finding in audit.findings),
            _overlap(audit),
            _shortcuts(audit.shortcuts),
            f"<h2>Pairs</h2><p>{len(pairs)} of {len(audit.copies)} pairs of copies.</p>",
            '<div class="pairs">',
            *(_pair(copy, audit.looks) for copy in pairs),
            "</div></main></body></html>\n",
        ]
    )


def _interest(copy: Copy, looks: Sequence[Look]) -> tuple[bool, bool, float]:
    first, second = looks[copy.first].record, looks[copy.second].record
    conflict = {first.label, second.label} == {0, 1}
    return not conflict, first.source == second.source, copy.agreement


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    heads = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = (
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _sources(audit: Audit) -> str:
    columns = ("images", "tumor", "healthy", "unlabelled", "groups", "licence")
    rows = [[name, *(held[column] for column in columns)] for name, held in audit.sources().items()]
    return "<h2>Sources</h2>" + _table(["source", *columns], rows)


def _finding(finding: Finding) -> str:
    items = "".join(f"<li>{escape(item)}</li>" for item in finding.items[:_MOST_ITEMS])
    rest = len(finding.items) - _MOST_ITEMS
    more = f"<p>… and {rest} more; the JSON report has all.</p>" if rest > 0 else ""
    return (
        f'<details><summary><strong class="{finding.severity}">{finding.severity}: '
        f"{finding.count} {escape(finding.kind)}</strong>. {escape(finding.message)}</summary>"
        f"<ul>{items}</ul>{more}</details>"
    )


def _overlap(audit: Audit) -> str:
    names = sorted({look.record.source for look in audit.looks})
    rows = [[name, *(audit.overlap[name, other] for other in names)] for name in names]
    return (
        "<h2>Overlap</h2><p>Images of the row's source that have a copy in the column's.</p>"
        + _table(["source", *names], rows)
    )


def _shortcuts(shortcuts: Sequence[Shortcut]) -> str:
    if not shortcuts:
        return ""
    rows = [
        [s.clue, s.within, s.target, str(s.auc), "yes" if s.suspicious else ""] for s in shortcuts
    ]
    return (
        "<h2>Shortcuts</h2><p>ROC-AUC of a random forest that sees the clue alone, "
        "cross-validated by groups, with its 95 % interval.</p>"
        + _table(["clue", "within", "target", "ROC-AUC", "suspicious"], rows)
    )


def _pair(copy: Copy, looks: Sequence[Look]) -> str:
    records = [looks[index].record for index in (copy.first, copy.second)]
    pictures = "".join(
        f'<img alt="{escape(record.key, quote=True)}" src="{_data_url(looks[index])}">'
        for record, index in zip(records, (copy.first, copy.second), strict=True)
    )
    words = {0: "healthy", 1: "tumor", None: "unlabelled"}
    named = "<br>".join(f"{escape(r.key)} ({words[r.label]})" for r in records)
    how = "equal bytes" if copy.exact else f"{copy.distance} bits, r {copy.agreement:.2f}"
    return f"<figure><div>{pictures}</div><figcaption>{named}<br>{how}</figcaption></figure>"


def _data_url(look: Look) -> str:
    try:
        pixels = decode(look.record.file).pixels
    except InputError:  # the file was taken away since it was audited
        pixels = look.head
    done, data = cv2.imencode(".jpg", _shrunk(pixels))
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode() if done else ""


def _shrunk(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    grey = to_grey(pixels.astype(np.float32))
    scale = _SIDE / max(grey.shape)
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    low, high = float(small.min()), float(small.max())
    return np.asarray((small - low) * (255 / max(high - low, 1e-6)), np.float32).astype(np.uint8)
