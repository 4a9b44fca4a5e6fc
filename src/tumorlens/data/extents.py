"""Which slices of public whole heads show enough brain, or the tumour where no mask tells.

`brain_extent.csv` and `tumour_extent.csv` list them by file name, plane and slice index (RAS order,
counted from 0). A brain mask proposed the first, and every limit was inspected by eye; the second
was read by eye. docs/data-audit.md describes the method. No radiologist has reviewed them.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

from tumorlens.data.manifest import Finding, Plane


def enough_brain(name: str, plane: Plane, index: int) -> bool | None:
    """Tell whether a slice of a listed volume shows enough brain; None where it is not sure.

    Enough is a cross-section of at least 15 % of the largest one in this plane.
    """
    extent = _table("brain_extent.csv").get((name, plane))
    if extent is None:
        return None
    if int(extent["first"]) <= index <= int(extent["last"]):
        return True
    below, above = extent["sure_first_outside"], extent["sure_last_outside"]
    outside = (below and index <= int(below)) or (above and index >= int(above))
    return False if outside else None


def tumour_extent(name: str, plane: Plane, index: int) -> Finding | None:
    """Tell whether a slice of a listed tumour shows it or is clear of it; None: neither is sure."""
    extent = _table("tumour_extent.csv").get((name, plane))
    if extent is None:
        return None
    first, last = extent["tumour_first"], extent["tumour_last"]
    if first and int(first) <= index <= int(last):
        return "tumor"
    below, above = extent["clear_below"], extent["clear_above"]
    clear = (below and index <= int(below)) or (above and index >= int(above))
    return "clear" if clear else None


@cache
def _table(name: str) -> dict[tuple[str, str], dict[str, str]]:
    with files("tumorlens.data").joinpath(name).open(encoding="utf-8") as table:
        return {(row["file"], row["plane"]): row for row in csv.DictReader(table)}
