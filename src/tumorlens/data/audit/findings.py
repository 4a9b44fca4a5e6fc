"""Findings: the kinds of problems that an audit reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tumorlens.data.audit.duplicates import NearDuplicate
from tumorlens.data.audit.image_summary import ImageSummary, Unreadable
from tumorlens.data.audit.shortcuts import Shortcut
from tumorlens.data.label_issues import LABEL_ISSUES, label_issue_of

# Neighbouring slices may have different labels; pairs with a higher agreement are one image.
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
        items = tuple(f"{each.record.key}: {each.reason}" for each in unreadable)
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
    items = [
        f"{image.record.key}: {LABEL_ISSUES[issue]}"
        for image in images
        if (issue := label_issue_of(replace(image.record, sha256=image.sha256))) is not None
    ]
    if not items:
        return []
    message = (
        "Scans of public data sets whose label is wrong or which are not MRI, from a table in the "
        "package; exclude them from training with data.label_issues=exclude."
    )
    return [Finding("label-issue", "warning", len(items), message, tuple(items))]


def pair_findings(
    images: Sequence[ImageSummary], pairs: Sequence[NearDuplicate], other_keys: set[str]
) -> list[Finding]:
    """Report near-duplicates; ``other_keys`` are the records of the sets audited against."""
    n_other = [
        sum(images[i].record.key in other_keys for i in (pair.first, pair.second)) for pair in pairs
    ]
    inside = [pair for pair, n in zip(pairs, n_other, strict=True) if n == 0]
    across = [pair for pair, n in zip(pairs, n_other, strict=True) if n == 1]
    conflicts = [pair for pair in pairs if _conflict(pair, images)]
    kinds: list[tuple[str, Severity, list[NearDuplicate], str]] = [
        ("label-conflict", "error", conflicts, "One scan with both labels; one of them is wrong."),
        ("overlap", "error", across,
         "Scans that are also in the set audited against; remove them before using one of the two "
         "as an external test set for the other."),
        ("exact-duplicates", "warning", [pair for pair in inside if pair.exact],
         "Identical files; keep one of them, or keep them in one part of every split."),
        ("near-duplicates", "warning", [pair for pair in inside if not pair.exact],
         "Altered versions of one scan, or neighbouring slices; split by group, not at random "
         "(tumorlens split)."),
    ]  # fmt: skip
    return [
        Finding(kind, severity, len(of_kind), message, tuple(_line(p, images) for p in of_kind))
        for kind, severity, of_kind, message in kinds
        if of_kind
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


def _conflict(pair: NearDuplicate, images: Sequence[ImageSummary]) -> bool:
    labels = {images[pair.first].record.label, images[pair.second].record.label}
    return labels == {0, 1} and pair.agreement >= _SAME_IMAGE


def _line(pair: NearDuplicate, images: Sequence[ImageSummary]) -> str:
    first, second = images[pair.first].record, images[pair.second].record
    how = "identical files" if pair.exact else f"{pair.distance} bits, r {pair.agreement:.2f}"
    return f"{first.key} = {second.key} ({how})"
