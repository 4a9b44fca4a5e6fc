"""The audit of a data set: what would make figures measured on it too good to be true."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tumorlens.data.copies import Copy, copy_groups, find_copies
from tumorlens.data.findings import (
    Finding,
    doubt_findings,
    file_findings,
    pair_findings,
    shortcut_findings,
)
from tumorlens.data.looks import Look, Unreadable, look_at_all
from tumorlens.data.manifest import MANIFEST_NAME, Record, check_unique
from tumorlens.data.shortcuts import Shortcut, check_installed, find_shortcuts
from tumorlens.data.sources import load_source, source_info
from tumorlens.errors import SourceNotFoundError


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        looks: the readable images, in order.
        unreadable: the others.
        copies: pairs of indices into ``looks``.
        overlap: for sources A and B, how many images of A have a copy in B (in A itself: another
            one); keys are ``(A, B)``.
        shortcuts: every clue that was tried.
        findings: worst first.
    """

    looks: tuple[Look, ...]
    unreadable: tuple[Unreadable, ...]
    copies: tuple[Copy, ...]
    overlap: dict[tuple[str, str], int]
    shortcuts: tuple[Shortcut, ...]
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        """Whether a finding is an error."""
        return any(finding.severity == "error" for finding in self.findings)

    def sources(self) -> dict[str, dict[str, Any]]:
        """Counts, groups and licence by source."""
        groups = copy_groups(len(self.looks), self.copies)
        by_source: dict[str, list[int]] = defaultdict(list)
        for index, look in enumerate(self.looks):
            by_source[look.record.source].append(index)
        return {
            name: {
                "images": len(held),
                "tumor": sum(self.looks[i].record.label == 1 for i in held),
                "healthy": sum(self.looks[i].record.label == 0 for i in held),
                "unlabelled": sum(self.looks[i].record.label is None for i in held),
                "groups": len({int(groups[i]) for i in held}),
                "licence": source_info(name).licence,
                "citation": source_info(name).citation,
            }
            for name, held in sorted(by_source.items())
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; pairs name files by key."""
        keys = [look.record.key for look in self.looks]
        return {
            "format": 1,
            "sources": self.sources(),
            "findings": [asdict(finding) for finding in self.findings],
            "overlap": [
                {"of": a, "in": b, "images": n} for (a, b), n in sorted(self.overlap.items())
            ],
            "shortcuts": [shortcut.to_dict() for shortcut in self.shortcuts],
            "pairs": [
                {**asdict(copy), "first": keys[copy.first], "second": keys[copy.second]}
                for copy in self.copies
            ],
        }


def audit(
    folder: str | Path,
    against: Sequence[str | Path] = (),
    *,
    shortcuts: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Audit a data set, by itself and against others.

    Args:
        folder: what `load_source` reads. Slices of volumes are left out.
        against: data sets that must share no scan with it, such as an external test.
        shortcuts: whether to look for shortcuts too (needs scikit-learn).
        progress: called with the number of images looked at and their total.

    Raises:
        SourceNotFoundError: there is nothing to audit.
        ManifestError: a manifest is wrong.
        MissingExtraError: shortcuts are asked for, and scikit-learn is not installed.
    """
    if shortcuts:
        check_installed()  # now, not after an hour of reading
    own, others = _load(folder), [record for path in against for record in _load(path)]
    own_keys = {record.key for record in own}
    # A set audited against a larger one that holds it compares with the rest of that one.
    own_files = {record.file.resolve() for record in own}
    others = [r for r in others if r.file.resolve() not in own_files and r.key not in own_keys]
    records = [*own, *others]
    check_unique(records)
    looks, unreadable = _look(records, progress)
    copies = find_copies(looks)
    tried = _shortcuts(looks, copies) if shortcuts else []
    foreign = {record.key for record in others}
    stray = _stray_files(folder, own)
    findings = [
        *file_findings(looks, unreadable, stray),
        *doubt_findings(looks),
        *pair_findings(looks, copies, foreign),
        *shortcut_findings(tried),
    ]
    findings.sort(key=lambda finding: finding.severity)
    return Audit(
        tuple(looks),
        tuple(unreadable),
        tuple(copies),
        overlap_of(looks, copies),
        tuple(tried),
        tuple(findings),
    )


def overlap_of(looks: Sequence[Look], copies: Iterable[Copy]) -> dict[tuple[str, str], int]:
    """How many images of one source have a copy in another (or once more in itself)."""
    having: dict[tuple[str, str], set[int]] = defaultdict(set)
    sources = [look.record.source for look in looks]
    for name in {*sources}:
        for other in {*sources}:
            having[name, other] = set()
    for copy in copies:
        for i, j in ((copy.first, copy.second), (copy.second, copy.first)):
            having[sources[i], sources[j]].add(i)
    return {pair: len(images) for pair, images in having.items()}


def _load(folder: str | Path) -> list[Record]:
    records = [record for record in load_source(folder) if not record.is_slice]
    if not records:
        raise SourceNotFoundError(f"{folder}: holds volumes only; the audit compares images")
    return records


def _look(
    records: Sequence[Record], progress: Callable[[int, int], None] | None
) -> tuple[list[Look], list[Unreadable]]:
    looks: list[Look] = []
    unreadable: list[Unreadable] = []
    for done, seen in enumerate(look_at_all(records), start=1):
        if isinstance(seen, Look):
            looks.append(seen)
        else:
            unreadable.append(seen)
        if progress is not None:
            progress(done, len(records))
    return looks, unreadable


def _shortcuts(looks: Sequence[Look], copies: Sequence[Copy]) -> list[Shortcut]:
    if not looks:
        return []
    groups = copy_groups(len(looks), copies)
    # Groups that the manifest knows (patients) bind as well as copies do.
    known = [(look.record.source, look.record.patient) for look in looks]
    first: dict[tuple[str, str | None], int] = {}
    for index, person in enumerate(known):
        if person[1] is not None:
            groups[groups == groups[index]] = groups[first.setdefault(person, index)]
    return find_shortcuts(looks, groups)


def _stray_files(folder: str | Path, records: Sequence[Record]) -> list[str]:
    """Files in the folder that are neither read as images nor a manifest."""
    root = Path(folder)
    if not root.is_dir():
        return []
    if (root / MANIFEST_NAME).is_file():
        return []  # what a manifest does not list is left out on purpose
    known = {record.file for record in records}
    files = sorted(path for path in root.rglob("*") if path.is_file() and path not in known)
    return [f"{path.relative_to(root).as_posix()}: not read as an image" for path in files]
