"""`Finding`: one kind of trouble in a data set, and how files, pairs and clues become findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tumorlens.data.copies import Copy
from tumorlens.data.doubts import DOUBTS, known_doubt
from tumorlens.data.looks import Look, Unreadable
from tumorlens.data.shortcuts import Shortcut

# Neighbouring slices of one person may differ in truth; pictures as alike as this may not.
_SAME_PICTURE = 0.9
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One kind of trouble and where it shows.

    Attributes:
        kind: ``unreadable``, ``odd-file``, ``doubtful``, ``exact-copies``, ``near-duplicates``,
            ``label-conflict``, ``overlap`` or ``shortcut``.
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
    looks: Sequence[Look], unreadable: Sequence[Unreadable], stray: Sequence[str]
) -> list[Finding]:
    """Tell which files cannot be read, and which are odd (``stray``: not images at all)."""
    findings = []
    if unreadable:
        items = tuple(f"{seen.record.key}: {seen.reason}" for seen in unreadable)
        message = "Files that cannot be read; repair them or take them out."
        findings.append(Finding("unreadable", "error", len(items), message, items))
    odd = [f"{look.record.key}: {remark}" for look in looks for remark in look.remarks]
    odd += stray
    if odd:
        message = "Files that are not what one expects of a slice; look at them."
        findings.append(Finding("odd-file", "warning", len(odd), message, tuple(odd)))
    return findings


def doubt_findings(looks: Sequence[Look]) -> list[Finding]:
    """Tell which files are known to be no MRI, mislabelled, or annotated beside the tumour."""
    found = [
        f"{look.record.key}: {DOUBTS[doubt]}"
        for look in looks
        if (doubt := known_doubt(replace(look.record, sha256=look.sha256))) is not None
    ]
    if not found:
        return []
    message = (
        "Scans of public sets that are not what their folder says, by a table that comes with "
        "the package; data.doubtful=leave_out learns nothing from them."
    )
    return [Finding("doubtful", "warning", len(found), message, tuple(found))]


def pair_findings(
    looks: Sequence[Look], copies: Sequence[Copy], foreign: set[str]
) -> list[Finding]:
    """Tell what the pairs mean; ``foreign`` holds the keys of the sets audited against."""
    inside = [copy for copy in copies if not _touches(copy, looks, foreign)]
    across = [copy for copy in copies if _between(copy, looks, foreign)]
    conflicts = [copy for copy in copies if _conflict(copy, looks)]
    kinds: list[tuple[str, Severity, list[Copy], str]] = [
        (
            "label-conflict",
            "error",
            conflicts,
            "One scan bears both labels; one of them is wrong.",
        ),
        (
            "overlap",
            "error",
            across,
            "Scans that also stand in the set audited against; as a test it is not external "
            "until they are taken out.",
        ),
        (
            "exact-copies",
            "warning",
            [copy for copy in inside if copy.exact],
            "Equal files; keep one, or keep them on one side of every split.",
        ),
        (
            "near-duplicates",
            "warning",
            [copy for copy in inside if not copy.exact],
            "One scan altered, or two slices next to each other; split by group, not at random "
            "(tumorlens split).",
        ),
    ]
    return [
        Finding(kind, severity, len(pairs), message, tuple(_line(p, looks) for p in pairs))
        for kind, severity, pairs, message in kinds
        if pairs
    ]


def shortcut_findings(tried: Sequence[Shortcut]) -> list[Finding]:
    """Tell which of the clues that were tried are suspicious."""
    items = tuple(
        f"{s.clue} tells {s.target} in {s.within}: ROC-AUC {s.auc}" for s in tried if s.suspicious
    )
    message = (
        "Clues that give the answer away without the lesion; a network may learn them. Balance "
        "them, augment against them, and test where they do not hold."
    )
    return [Finding("shortcut", "warning", len(items), message, items)] if items else []


def _touches(copy: Copy, looks: Sequence[Look], foreign: set[str]) -> bool:
    return looks[copy.first].record.key in foreign or looks[copy.second].record.key in foreign


def _between(copy: Copy, looks: Sequence[Look], foreign: set[str]) -> bool:
    return (looks[copy.first].record.key in foreign) != (looks[copy.second].record.key in foreign)


def _conflict(copy: Copy, looks: Sequence[Look]) -> bool:
    labels = {looks[copy.first].record.label, looks[copy.second].record.label}
    return labels == {0, 1} and copy.agreement >= _SAME_PICTURE


def _line(copy: Copy, looks: Sequence[Look]) -> str:
    first, second = looks[copy.first].record, looks[copy.second].record
    how = "equal bytes" if copy.exact else f"{copy.distance} bits, r {copy.agreement:.2f}"
    return f"{first.key} = {second.key} ({how})"
