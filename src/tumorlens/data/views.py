"""The view (axial, coronal, sagittal) of scans of public data sets, looked up by a file's hash.

The public sources do not state it. The table beside this module holds it for 5,923 images of
navoneel, br35h, cheng2017 and sartaj_extra, by the first 16 hex digits of the file's SHA-256, and
holds nothing of an image. A classifier on histograms of gradients (trained on slices of volumes,
whose planes are known, then on its own corrected predictions) proposed each view, and every image
was inspected; docs/data-audit.md describes how, and how often the table is wrong. A file that is
not in the table has no known view, even if it differs in a single pixel.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

from tumorlens.data.manifest import Plane

DIGITS = 16
"""Hex digits of a SHA-256 that name a file in the table: 64 bits."""

_TABLE = "views.csv"


def known_view(sha256: str) -> Plane | None:
    """Return the view of a file of a public source, or None for any other file.

    Args:
        sha256: hex digest of the file's bytes, lower case.
    """
    return _views().get(sha256[:DIGITS])


@cache
def _views() -> dict[str, Plane]:
    planes: dict[str, Plane] = {"axial": "axial", "coronal": "coronal", "sagittal": "sagittal"}
    with files("tumorlens.data").joinpath(_TABLE).open(encoding="ascii") as table:
        return {row["sha256"]: planes[row["view"]] for row in csv.DictReader(table)}
