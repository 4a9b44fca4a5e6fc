"""How many scans a calibration needs, and the refusal of fewer.

The figures are those of `python -m benchmarks.site_calibration`: the share of repetitions in which
the fit has a lower log loss than the shipped calibration, at the site where it is lowest. From the
last number on, it is at least 0.95 and the mean calibration error below 0.05 at every site.
"""

from __future__ import annotations

import numpy as np

from tumorlens.calibration.scans import SiteScans
from tumorlens.errors import DataError

# Groups of the rarer class, or of unlabelled scans → share of repetitions.
LABELLED = {5: 0.46, 10: 0.76, 15: 0.87, 20: 0.90, 30: 0.95}
UNLABELLED = {10: 0.70, 20: 0.80, 30: 0.89, 40: 0.94, 60: 0.98}
FEWEST_OF_A_CLASS, FEWEST_UNLABELLED = max(LABELLED), max(UNLABELLED)


def check_labelled(scans: SiteScans) -> None:
    """Raise `DataError` for fewer than 30 groups of either class."""
    assert scans.labels is not None
    tumours = int(scans.labels.sum())
    positive, negative = (len(np.unique(scans.groups[scans.labels == label])) for label in (1, 0))
    if min(positive, negative) < FEWEST_OF_A_CLASS:
        raise DataError(
            f"too few scans: {tumours} tumours in {positive} groups and "
            f"{len(scans.labels) - tumours} healthy in {negative}{_left_out(scans)}; a calibration "
            f"needs {FEWEST_OF_A_CLASS} groups of each class{_of_whom(scans)}. {_told(LABELLED)} "
            "of the rarer class. Add scans, or state the share of tumours with --prior"
        )


def check_unlabelled(scans: SiteScans) -> None:
    """Raise `DataError` for fewer than 60 groups."""
    if scans.n_groups < FEWEST_UNLABELLED:
        raise DataError(
            f"too few scans: {len(scans.logits)} in {scans.n_groups} groups{_left_out(scans)}; "
            f"--unlabelled needs {FEWEST_UNLABELLED} groups{_of_whom(scans)}. {_told(UNLABELLED)}. "
            "Add scans, or state the share of tumours with --prior"
        )


def _left_out(scans: SiteScans) -> str:
    return f" ({len(scans.left_out)} more were left out)" if scans.left_out else ""


def _of_whom(scans: SiteScans) -> str:
    if scans.n_groups == len(scans.logits):
        return ""
    return ", and near-duplicates or slices of one person are one group"


def _told(shares: dict[int, float]) -> str:
    parts = ", ".join(f"{share:.0%} with {number}" for number, share in shares.items())
    return f"In simulations the fit was better than the model as shipped in {parts} groups"
