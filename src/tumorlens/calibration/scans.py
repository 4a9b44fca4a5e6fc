"""A site's scans → the logits that a calibration is fitted on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tumorlens.data.grouping import group_records
from tumorlens.data.manifest import MANIFEST_NAME, Record, group_numbers
from tumorlens.data.pixels import read_pixels
from tumorlens.data.sources import load_source
from tumorlens.drift.statistics import observe
from tumorlens.errors import DataError, InputError
from tumorlens.imaging.decode import decode
from tumorlens.imaging.image import Image
from tumorlens.inference.network_input import NetworkInput
from tumorlens.inference.predictor import Predictor

Progress = Callable[[int, int], None]
Observed = tuple[float, ...]
_BATCH = 8


@dataclass(frozen=True)
class LeftOut:
    """A scan that the calibration does not use, and why; ``unreadable``, or else out of domain."""

    path: str
    reason: str
    unreadable: bool


@dataclass(frozen=True, eq=False)
class SiteScans:
    """The usable scans of a site.

    Attributes:
        logits: float64 ``[N]``, before calibration.
        labels: int64 ``[N]``, 0 healthy or 1 tumour; None without labels.
        groups: int64 ``[N]``; near-duplicates and slices of one person share a number.
        sources: Names of the data sets.
        observed: What `tumorlens.drift.statistics.observe` says of each scan, ``[N, 5]``, at the
            card's calibration.
        left_out: Every other scan.
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.int64] | None
    groups: NDArray[np.int64]
    sources: frozenset[str]
    observed: NDArray[np.float64]
    left_out: tuple[LeftOut, ...]

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(np.unique(self.groups))


def read_site(
    predictor: Predictor, folder: str | Path, *, labelled: bool, progress: Progress | None = None
) -> SiteScans:
    """Run the model on every scan of a folder, a manifest or a source's name.

    Scans that cannot be read, or that the model refuses as out of domain, are left out.

    Args:
        predictor: The model.
        folder: As `load_source` takes it.
        labelled: Whether labels are needed; otherwise they are not looked at.
        progress: Called with the number of scans done and in total.

    Raises:
        DataError: No such folder, a manifest that cannot be used, or labels that are needed and
            missing, of one class only, or of whole volumes with a tumour.
        InputError: A volume cannot be read.
    """
    records = load_source(folder)
    if labelled:
        _check_labels(records, folder)
    kept: list[Record] = []
    logits: list[float] = []
    observed: list[Observed] = []
    left_out: list[LeftOut] = []
    for start in range(0, len(records), _BATCH):
        chunk = records[start : start + _BATCH]
        ready: list[tuple[Record, NetworkInput]] = []
        for record in chunk:
            try:
                ready.append((record, predictor.prepare(_image(record))))
            except InputError as error:
                left_out.append(LeftOut(str(record.path), str(error), unreadable=True))
        for record, logit, seen, reason in _answers(predictor, ready):
            if reason is None:
                kept.append(record)
                logits.append(logit)
                observed.append(seen)
            else:
                left_out.append(LeftOut(str(record.path), reason, unreadable=False))
        if progress is not None:
            progress(start + len(chunk), len(records))
    grouped = group_records(kept) if kept else []
    labels = [record.label for record in grouped] if labelled else None
    return SiteScans(
        np.array(logits, dtype=np.float64),
        None if labels is None else np.array(labels, dtype=np.int64),
        group_numbers(grouped),
        frozenset(record.source for record in grouped),
        np.array(observed, dtype=np.float64),
        tuple(left_out),
    )


def _image(record: Record) -> Image:
    """Return a scan as the service reads it: with its header, which may refuse it."""
    if record.is_slice:
        return Image(read_pixels(record), "array", record.path.name)
    return decode(record.path, name=str(record.path))


def _answers(
    predictor: Predictor, ready: Sequence[tuple[Record, NetworkInput]]
) -> Iterator[tuple[Record, float, Observed, str | None]]:
    """Yield each record, its logit, its statistics and, if out of domain, the reason."""
    if not ready:
        return
    outputs = predictor.infer(np.stack([each.tensor for _, each in ready]))
    for row, (record, each) in enumerate(ready):
        answer = predictor.interpret(outputs, each.quality, 0.0, row)
        domain = None if outputs.in_domain is None else float(outputs.in_domain[row])
        seen = observe(each.tensor, answer.prob, domain)
        yield record, float(outputs.logits[row]), seen, answer.in_domain_reason


def _check_labels(records: Sequence[Record], folder: str | Path) -> None:
    counts = Counter(record.label for record in records)
    if counts[None] == len(records):
        raise DataError(
            f"{folder}: none of the {len(records)} images has a label; put them into folders such "
            "as yes/ and no/ or write a manifest.csv, or calibrate with --unlabelled"
        )
    if counts[None]:
        first = next(record.path for record in records if record.label is None)
        raise DataError(
            f"{folder}: {counts[None]} of {len(records)} images have no label, first {first}; "
            "label them, move them away, or calibrate with --unlabelled"
        )
    if len(counts) == 1:
        only = "tumor" if counts[1] else "healthy"
        raise DataError(
            f"{folder}: all {len(records)} images are labelled {only}; a calibration needs scans "
            "of both classes. Add the other class, calibrate with --unlabelled on scans as they "
            "come, or state the share of tumours with --prior"
        )
    volumes = [r for r in records if r.is_slice and r.label == 1]
    if volumes and not _has_manifest(Path(folder)):
        raise DataError(
            f"{volumes[0].file}: a whole volume labelled as a tumour, though not each of its "
            "slices shows it; give the slices that do as single images"
        )


def _has_manifest(folder: Path) -> bool:
    return folder.suffix == ".csv" or (folder / MANIFEST_NAME).is_file()
