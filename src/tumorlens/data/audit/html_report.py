"""The audit as one HTML page: findings, overlap matrix, shortcuts and images of the pairs.

The page is self-contained. It shows scans of the audited set: whoever shares the page shares them.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.data.audit.audit import Audit
from tumorlens.data.audit.duplicates import NearDuplicate
from tumorlens.data.audit.findings import Finding
from tumorlens.data.audit.image_summary import ImageSummary
from tumorlens.data.audit.shortcuts import Shortcut
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


def html_report(audit: Audit, title: str) -> str:
    """Return the page as HTML text.

    At most `MOST_PAIRS` pairs are shown: conflicting labels first, then pairs across sources, then
    the least similar, which are the ones worth inspecting.
    """
    pairs = sorted(audit.near_duplicates, key=lambda pair: _interest(pair, audit.images))[
        :MOST_PAIRS
    ]
    verdict = "errors found" if audit.failed else "no errors"
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Audit of {escape(title)}</title><style>{_STYLE}</style></head><body><main>",
            f"<h1>Audit of {escape(title)}</h1>",
            f"<p>{len(audit.images)} images read, "
            f"{len(audit.unreadable)} unreadable; {verdict}.</p>",
            _sources(audit),
            "<h2>Findings</h2>",
            *(_finding(finding) for finding in audit.findings),
            _overlap(audit),
            _shortcuts(audit.shortcuts),
            f"<h2>Near-duplicates</h2><p>{len(pairs)} of "
            f"{len(audit.near_duplicates)} pairs are shown.</p>",
            '<div class="pairs">',
            *(_pair(pair, audit.images) for pair in pairs),
            "</div></main></body></html>\n",
        ]
    )


def _interest(pair: NearDuplicate, images: Sequence[ImageSummary]) -> tuple[bool, bool, float]:
    first, second = images[pair.first].record, images[pair.second].record
    conflict = {first.label, second.label} == {0, 1}
    return not conflict, first.source == second.source, pair.agreement


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
    more = f"<p>… and {rest} more; the JSON report lists all.</p>" if rest > 0 else ""
    return (
        f'<details><summary><strong class="{finding.severity}">{finding.severity}: '
        f"{finding.count} {escape(finding.kind)}</strong>. {escape(finding.message)}</summary>"
        f"<ul>{items}</ul>{more}</details>"
    )


def _overlap(audit: Audit) -> str:
    names = sorted({image.record.source for image in audit.images})
    rows = [[name, *(audit.overlap[name, other] for other in names)] for name in names]
    return (
        "<h2>Overlap</h2><p>Images of the row's source with a near-duplicate in the column's "
        "source.</p>" + _table(["source", *names], rows)
    )


def _shortcuts(shortcuts: Sequence[Shortcut]) -> str:
    if not shortcuts:
        return ""
    rows = [
        [s.feature, s.within, s.target, str(s.auc), "yes" if s.suspicious else ""]
        for s in shortcuts
    ]
    return (
        "<h2>Shortcuts</h2><p>ROC-AUC of a random forest given this feature alone, "
        "cross-validated by group, with 95 % interval.</p>"
        + _table(["feature", "within", "target", "ROC-AUC", "suspicious"], rows)
    )


def _pair(pair: NearDuplicate, images: Sequence[ImageSummary]) -> str:
    records = [images[index].record for index in (pair.first, pair.second)]
    shown = "".join(
        f'<img alt="{escape(record.key, quote=True)}" src="{_data_url(images[index])}">'
        for record, index in zip(records, (pair.first, pair.second), strict=True)
    )
    words = {0: "healthy", 1: "tumor", None: "unlabelled"}
    named = "<br>".join(f"{escape(r.key)} ({words[r.label]})" for r in records)
    how = "identical files" if pair.exact else f"{pair.distance} bits, r {pair.agreement:.2f}"
    return f"<figure><div>{shown}</div><figcaption>{named}<br>{how}</figcaption></figure>"


def _data_url(image: ImageSummary) -> str:
    try:
        pixels = decode(image.record.file).pixels
    except InputError:  # the file was removed after the audit
        pixels = image.head
    done, data = cv2.imencode(".jpg", _shrunk(pixels))
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode() if done else ""


def _shrunk(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    grey = to_grey(pixels.astype(np.float32))
    scale = _SIDE / max(grey.shape)
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    low, high = float(small.min()), float(small.max())
    return np.asarray((small - low) * (255 / max(high - low, 1e-6)), np.float32).astype(np.uint8)
