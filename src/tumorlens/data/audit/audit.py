"""The audit of a data set: problems that would bias metrics measured on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from tumorlens.data.audit.duplicates import (
    NearDuplicate,
    duplicate_groups,
    find_near_duplicates,
)
from tumorlens.data.audit.findings import (
    Finding,
    file_findings,
    label_issue_findings,
    pair_findings,
    shortcut_findings,
)
from tumorlens.data.audit.image_summary import ImageSummary, Unreadable, summarize_all
from tumorlens.data.audit.shortcuts import Shortcut, check_installed, find_shortcuts
from tumorlens.data.catalogue import source_info
from tumorlens.data.manifest import MANIFEST_NAME, Record, check_unique
from tumorlens.data.sources import load_source
from tumorlens.errors import SourceNotFoundError


@dataclass(frozen=True)
class Audit:
    """The results of an audit.

    Attributes:
        images: the readable images, in order.
        unreadable: images that could not be read.
        near_duplicates: pairs of indices into ``images``.
        overlap: for sources A and B, how many images of A have a near-duplicate in B (other than
            themselves); keys are ``(A, B)``.
        shortcuts: every feature that was tested.
        findings: worst first.
    """

    images: tuple[ImageSummary, ...]
    unreadable: tuple[Unreadable, ...]
    near_duplicates: tuple[NearDuplicate, ...]
    overlap: dict[tuple[str, str], int]
    shortcuts: tuple[Shortcut, ...]
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        """Whether a finding is an error."""
        return any(finding.severity == "error" for finding in self.findings)

    def sources(self) -> dict[str, dict[str, Any]]:
        """Counts, groups and licence by source."""
        groups = duplicate_groups(len(self.images), self.near_duplicates)
        by_source: dict[str, list[int]] = defaultdict(list)
        for index, image in enumerate(self.images):
            by_source[image.record.source].append(index)
        return {
            name: {
                "images": len(indices),
                "tumor": sum(self.images[i].record.label == 1 for i in indices),
                "healthy": sum(self.images[i].record.label == 0 for i in indices),
                "unlabelled": sum(self.images[i].record.label is None for i in indices),
                "groups": len({int(groups[i]) for i in indices}),
                "licence": source_info(name).licence,
                "citation": source_info(name).citation,
            }
            for name, indices in sorted(by_source.items())
        }

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form; pairs name files by key."""
        keys = [image.record.key for image in self.images]
        return {
            "format": 2,
            "sources": self.sources(),
            "findings": [asdict(finding) for finding in self.findings],
            "overlap": [
                {"of": a, "in": b, "images": n} for (a, b), n in sorted(self.overlap.items())
            ],
            "shortcuts": [shortcut.to_dict() for shortcut in self.shortcuts],
            "pairs": [
                {**asdict(pair), "first": keys[pair.first], "second": keys[pair.second]}
                for pair in self.near_duplicates
            ],
        }


def audit(
    folder: str | Path,
    against: Sequence[str | Path] = (),
    *,
    shortcuts: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Audit a data set, on its own and against others.

    Args:
        folder: what `load_source` reads. Slices of volumes are skipped.
        against: data sets that must share no scan with it, such as an external test set.
        shortcuts: whether to test for shortcuts (needs scikit-learn).
        progress: called with the number of images read and their total.

    Raises:
        SourceNotFoundError: no images.
        ManifestError: invalid manifest.
        MissingExtraError: shortcuts are requested, and scikit-learn is not installed.
    """
    if shortcuts:
        check_installed()  # before a long reading of files
    audited, others = _load(folder), [record for path in against for record in _load(path)]
    # A set contained in the one audited against is compared with the rest of that one.
    keys = {record.key for record in audited}
    paths = {record.file.resolve() for record in audited}
    others = [r for r in others if r.file.resolve() not in paths and r.key not in keys]
    records = [*audited, *others]
    check_unique(records)
    images, unreadable = _summarize(records, progress)
    pairs = find_near_duplicates(images)
    tested = _shortcuts(images, pairs) if shortcuts else []
    other_keys = {record.key for record in others}
    stray = _stray_files(folder, audited)
    findings = [
        *file_findings(images, unreadable, stray),
        *label_issue_findings(images),
        *pair_findings(images, pairs, other_keys),
        *shortcut_findings(tested),
    ]
    findings.sort(key=lambda finding: finding.severity)
    return Audit(
        tuple(images),
        tuple(unreadable),
        tuple(pairs),
        _overlap(images, pairs),
        tuple(tested),
        tuple(findings),
    )


def _overlap(
    images: Sequence[ImageSummary], pairs: Iterable[NearDuplicate]
) -> dict[tuple[str, str], int]:
    sources = [image.record.source for image in images]
    overlapping: dict[tuple[str, str], set[int]] = {
        between: set() for between in product({*sources}, {*sources})
    }
    for pair in pairs:
        for i, j in ((pair.first, pair.second), (pair.second, pair.first)):
            overlapping[sources[i], sources[j]].add(i)
    return {between: len(indices) for between, indices in overlapping.items()}


def _load(folder: str | Path) -> list[Record]:
    records = [record for record in load_source(folder) if not record.is_slice]
    if not records:
        raise SourceNotFoundError(f"{folder}: contains only volumes; the audit compares images")
    return records


def _summarize(
    records: Sequence[Record], progress: Callable[[int, int], None] | None
) -> tuple[list[ImageSummary], list[Unreadable]]:
    images: list[ImageSummary] = []
    unreadable: list[Unreadable] = []
    for done, result in enumerate(summarize_all(records), start=1):
        if isinstance(result, ImageSummary):
            images.append(result)
        else:
            unreadable.append(result)
        if progress is not None:
            progress(done, len(records))
    return images, unreadable


def _shortcuts(images: Sequence[ImageSummary], pairs: Sequence[NearDuplicate]) -> list[Shortcut]:
    if not images:
        return []
    groups = duplicate_groups(len(images), pairs)
    # Images of one patient, if the manifest states patients, also form one group.
    first: dict[tuple[str, str], int] = {}
    for index, image in enumerate(images):
        record = image.record
        if record.patient is not None:
            same = first.setdefault((record.source, record.patient), index)
            groups[groups == groups[index]] = groups[same]
    return find_shortcuts(images, groups)


def _stray_files(folder: str | Path, records: Sequence[Record]) -> list[str]:
    """Return the files in the folder that are neither images nor a manifest."""
    root = Path(folder)
    if not root.is_dir():
        return []
    if (root / MANIFEST_NAME).is_file():
        return []  # files not in a manifest are excluded on purpose
    image_files = {record.file for record in records}
    files = sorted(path for path in root.rglob("*") if path.is_file() and path not in image_files)
    return [f"{path.relative_to(root).as_posix()}: not read as an image" for path in files]
