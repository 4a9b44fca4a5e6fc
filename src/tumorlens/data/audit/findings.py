"""`Finding`: one kind of problem in a data set, and how the audit's results become findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tumorlens.data.audit.duplicates import NearDuplicate
from tumorlens.data.audit.image_summary import ImageSummary, Unreadable
from tumorlens.data.audit.shortcuts import Shortcut
from tumorlens.data.label_issues import LABEL_ISSUES, label_issue_of

# Neighbouring slices of one patient may differ in label; images as similar as this may not.
_SAME_IMAGE = 0.9
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One kind of problem and where it occurs.

    Attributes:
        kind: ``unreadable``, ``odd-file``, ``label-issue``, ``exact-duplicates``,
            ``near-duplicates``, ``label-conflict``, ``overlap`` or ``shortcut``.
        severity: an ``error`` makes the audit fail.
        count: files or pairs concerned.
        message: what it means and what to do about it.
        items: one line for each file or pair.
    """

    kind: str
    severity: Severity
    count: int
    message: str
    items: tuple[str, ...]


def file_findings(
    images: Sequence[ImageSummary], unreadable: Sequence[Unreadable], stray: Sequence[str]
) -> list[Finding]:
    """Report unreadable files and unexpected ones (``stray``: files that are not images)."""
    findings = []
    if unreadable:
        items = tuple(f"{seen.record.key}: {seen.reason}" for seen in unreadable)
        message = "Files that cannot be read; repair or remove them."
        findings.append(Finding("unreadable", "error", len(items), message, items))
    odd = [f"{image.record.key}: {remark}" for image in images for remark in image.remarks]
    odd += stray
    if odd:
        message = "Files with properties unusual for an MRI slice; inspect them."
        findings.append(Finding("odd-file", "warning", len(odd), message, tuple(odd)))
    return findings


def label_issue_findings(images: Sequence[ImageSummary]) -> list[Finding]:
    """Report files with a known label issue: not MRI, mislabelled, or annotation misplaced."""
    found = [
        f"{image.record.key}: {LABEL_ISSUES[issue]}"
        for image in images
        if (issue := label_issue_of(replace(image.record, sha256=image.sha256))) is not None
    ]
    if not found:
        return []
    message = (
        "Scans of public data sets that are not what their folder says, by a table in the package; "
        "training with data.label_issues=exclude does not use them."
    )
    return [Finding("label-issue", "warning", len(found), message, tuple(found))]


def pair_findings(
    images: Sequence[ImageSummary], pairs: Sequence[NearDuplicate], foreign: set[str]
) -> list[Finding]:
    """Report what the pairs mean; ``foreign`` holds the keys of the sets audited against."""
    inside = [pair for pair in pairs if _n_foreign(pair, images, foreign) == 0]
    across = [pair for pair in pairs if _n_foreign(pair, images, foreign) == 1]
    conflicts = [pair for pair in pairs if _conflict(pair, images)]
    kinds: list[tuple[str, Severity, list[NearDuplicate], str]] = [
        (
            "label-conflict",
            "error",
            conflicts,
            "One scan has both labels; one of them is wrong.",
        ),
        (
            "overlap",
            "error",
            across,
            "Scans that are also in the set audited against; remove them before using one of the "
            "two as an external test set for the other.",
        ),
        (
            "exact-duplicates",
            "warning",
            [pair for pair in inside if pair.exact],
            "Identical files; keep one of them, or keep them in one part of every split.",
        ),
        (
            "near-duplicates",
            "warning",
            [pair for pair in inside if not pair.exact],
            "Altered versions of one scan, or neighbouring slices; split by group, not at random "
            "(tumorlens split).",
        ),
    ]
    return [
        Finding(kind, severity, len(held), message, tuple(_line(pair, images) for pair in held))
        for kind, severity, held, message in kinds
        if held
    ]


def shortcut_findings(tested: Sequence[Shortcut]) -> list[Finding]:
    """Report the tested features that are suspicious."""
    items = tuple(
        f"{s.feature} predicts {s.target} in {s.within}: ROC-AUC {s.auc}"
        for s in tested
        if s.suspicious
    )
    message = (
        "Features that predict the label without the lesion; a network may learn them. Balance "
        "them, augment against them, and test on data in which they do not hold."
    )
    return [Finding("shortcut", "warning", len(items), message, items)] if items else []


def _n_foreign(pair: NearDuplicate, images: Sequence[ImageSummary], foreign: set[str]) -> int:
    return sum(images[index].record.key in foreign for index in (pair.first, pair.second))


def _conflict(pair: NearDuplicate, images: Sequence[ImageSummary]) -> bool:
    labels = {images[pair.first].record.label, images[pair.second].record.label}
    return labels == {0, 1} and pair.agreement >= _SAME_IMAGE


def _line(pair: NearDuplicate, images: Sequence[ImageSummary]) -> str:
    first, second = images[pair.first].record, images[pair.second].record
    how = "identical files" if pair.exact else f"{pair.distance} bits, r {pair.agreement:.2f}"
    return f"{first.key} = {second.key} ({how})"
