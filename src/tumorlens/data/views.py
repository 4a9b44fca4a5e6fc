"""The view (axial, coronal, sagittal) of scans of public data sets, by file hash.

The public sources do not state it. `views.csv` lists it for 5,923 images of navoneel, br35h,
cheng2017 and sartaj_extra, by the first 16 hex digits of the file's SHA-256. A classifier on
histograms of oriented gradients proposed each view, and every image was inspected manually;
docs/data-audit.md describes the method and its error rate. Any modified file has no known view.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

from tumorlens.data.manifest import Plane

DIGITS = 16
"""Leading hex digits of a SHA-256 that identify a file in the table: 64 bits."""


def known_view(sha256: str) -> Plane | None:
    """Return the view of a file of a public source, or None for any other file.

    Args:
        sha256: hex digest of the file's bytes, lower case.
    """
    return _views().get(sha256[:DIGITS])


@cache
def _views() -> dict[str, Plane]:
    planes: dict[str, Plane] = {"axial": "axial", "coronal": "coronal", "sagittal": "sagittal"}
    with files("tumorlens.data").joinpath("views.csv").open(encoding="ascii") as table:
        return {row["sha256"]: planes[row["view"]] for row in csv.DictReader(table)}
