"""The audit as one HTML page: findings, overlap matrix, shortcuts and images of the pairs.

The page is self-contained and includes scans of the audited set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.data.audit.audit import Audit
from tumorlens.data.audit.duplicates import NearDuplicate
from tumorlens.data.audit.image_summary import ImageSummary
from tumorlens.errors import InputError
from tumorlens.imaging.decode import decode
from tumorlens.imaging.image import to_grey
from tumorlens.pages.render import data_uri, render

MAX_PAIRS = 200
_SIDE = 160
_MAX_ITEMS = 50

_LABELS = {0: "healthy", 1: "tumor", None: "unlabelled"}


def html_report(audit: Audit, title: str) -> str:
    """Return the page as HTML text.

    At most `MAX_PAIRS` pairs are shown: conflicting labels first, then pairs across sources, then
    the least similar.
    """
    pairs = sorted(audit.near_duplicates, key=lambda pair: _priority(pair, audit.images))
    names = sorted({image.record.source for image in audit.images})
    columns = ("images", "tumor", "healthy", "unlabelled", "groups", "licence")
    return render(
        "audit.html",
        title=f"Audit of {title}",
        audit=audit,
        source_columns=["source", *columns],
        sources=[
            [name, *(row[column] for column in columns)] for name, row in audit.sources().items()
        ],
        most_items=_MAX_ITEMS,
        overlap_columns=["source", *names],
        overlap=[[name, *(audit.overlap[name, other] for other in names)] for name in names],
        shortcuts=[
            [s.feature, s.within, s.target, str(s.auc), "yes" if s.suspicious else ""]
            for s in audit.shortcuts
        ],
        pairs=[_pair(pair, audit.images) for pair in pairs[:MAX_PAIRS]],
    )


def _priority(pair: NearDuplicate, images: Sequence[ImageSummary]) -> tuple[bool, bool, float]:
    first, second = images[pair.first].record, images[pair.second].record
    conflict = {first.label, second.label} == {0, 1}
    return not conflict, first.source == second.source, pair.agreement


def _pair(pair: NearDuplicate, images: Sequence[ImageSummary]) -> dict[str, Any]:
    both = [images[index] for index in (pair.first, pair.second)]
    how = "identical files" if pair.exact else f"{pair.distance} bits, r {pair.agreement:.2f}"
    return {
        "how": how,
        "images": [
            {"key": each.record.key, "label": _LABELS[each.record.label], "uri": _jpeg(each)}
            for each in both
        ],
    }


def _jpeg(image: ImageSummary) -> str:
    try:
        pixels = decode(image.record.file).pixels
    except InputError:  # the file was removed after the audit
        pixels = image.head
    done, data = cv2.imencode(".jpg", _shrunk(pixels))
    return data_uri(data.tobytes(), "jpeg") if done else ""


def _shrunk(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    grey = to_grey(pixels.astype(np.float32))
    scale = _SIDE / max(grey.shape)
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    low, high = float(small.min()), float(small.max())
    return np.asarray((small - low) * (255 / max(high - low, 1e-6)), np.float32).astype(np.uint8)
