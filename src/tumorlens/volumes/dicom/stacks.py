"""Frames → stacks: slices of one series that lie behind each other, in their order in space."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from tumorlens.volumes.dicom.frames import Frame

MIN_SLICES = 3
"""Fewer slices are no stack: single images, or slices that do not fit the others."""
_SAME_AXES = 0.02  # difference of direction cosines, about 1 degree
_SAME_SIZE = 0.01  # ratio of pixel sizes
_SAME_PLACE_MM = 0.01
_MAX_MISSING = 5  # in one gap; a larger one parts two stacks
_MAX_GROUPS = 64  # the latest that a slice is compared with; turned slices have one each
_REGULAR = 0.15  # deviation from a whole number of distances


@dataclass(frozen=True)
class SetAside:
    """A slice that is not part of the volume.

    Attributes:
        name: its file, with the number of the frame if the file has several.
        reason: why, in plain words.
    """

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in the order of their positions along the normal.

    Attributes:
        frames: the slices; None where one is missing between two others.
        set_aside: slices of the same series that do not fit.
        remarks: gaps and uneven distances, in plain words.
    """

    frames: tuple[Frame | None, ...]
    set_aside: tuple[SetAside, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def present(self) -> tuple[Frame, ...]:
        """The slices that are there."""
        return tuple(each for each in self.frames if each is not None)


@dataclass
class Series:
    """What one series was sorted into."""

    stacks: list[Stack] = field(default_factory=list)
    singles: list[Frame] = field(default_factory=list)


def sort_series(frames: Sequence[Frame]) -> list[Series]:
    """Sort frames of any files into series and stacks, in the order of their first frames.

    A series is what shares a Series Instance UID (a folder where there is none). It is parted by
    size, orientation, pixel size, echo and inversion time and kind of image; and where positions
    repeat, by b value, temporal position and acquisition, then by instance number. Never by name.
    """
    by_series: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        folder = str(PurePath(frame.source.name).parent)
        by_series[frame.scan.series_uid or f"folder {folder}"].append(frame)
    return [_sorted(each) for each in by_series.values()]


def _sorted(frames: Sequence[Frame]) -> Series:
    kept, set_aside = _without_copies(frames)
    groups = _alike(each for each in kept if _has_geometry(each))
    found = Series(singles=[each for each in kept if not _has_geometry(each)])
    parts: list[list[Frame | None]] = []
    remarks: list[tuple[str, ...]] = []
    for group in groups:
        for moment in _moments(group):
            for part, said in _runs(moment):
                parts.append(part)
                remarks.append(said)
    order = sorted(range(len(parts)), key=lambda at: -len(parts[at]))
    if not order or len(parts[order[0]]) < MIN_SLICES:
        # No stack to set anything aside from: nothing is left out.
        return Series(singles=list(frames))
    largest = next(each for each in parts[order[0]] if each is not None)
    for at, part in enumerate(parts):
        present = [each for each in part if each is not None]
        if len(part) < MIN_SLICES:
            set_aside += [SetAside(each.name, _difference(each, largest)) for each in present]
        else:
            found.stacks.append(Stack(tuple(part), remarks=remarks[at]))
    set_aside += [SetAside(each.name, "no position in the header") for each in found.singles]
    found.singles = []
    first = found.stacks[0]
    found.stacks[0] = Stack(first.frames, tuple(set_aside), first.remarks)
    return found


def _without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], list[SetAside]]:
    # The identifier alone is not enough: badly anonymised files share one.
    seen: dict[tuple[object, ...], Frame] = {}
    kept, copies = [], []
    for frame in frames:
        key = (frame.uid, frame.number, frame.source.size, frame.scan.position_mm)
        before = seen.setdefault(key, frame)
        if frame.uid and before is not frame:
            copies.append(SetAside(frame.name, f"the same image as {before.name}"))
        else:
            kept.append(frame)
    return kept, copies


def _has_geometry(frame: Frame) -> bool:
    scan = frame.scan
    if scan.position_mm is None or scan.spacing_mm is None or scan.orientation is None:
        return False
    axes = np.array(scan.orientation).reshape(2, 3)
    norms = np.linalg.norm(axes, axis=1)
    return bool(np.abs(norms - 1).max() < 0.05 and abs(axes[0] @ axes[1]) < 0.05)


def _alike(frames: Iterable[Frame]) -> list[list[Frame]]:
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups[-_MAX_GROUPS:]:
            if _fits(frame, group[0]):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return groups


def _fits(frame: Frame, other: Frame) -> bool:
    return _kind(frame) == _kind(other) and _same_geometry(frame, other)


def _kind(frame: Frame) -> tuple[object, ...]:
    return (frame.scan.image_type, frame.scan.modality, _tenths(frame.echo_ms),
            _tenths(frame.inversion_ms))  # fmt: skip


def _tenths(value: float | None) -> int | None:
    return None if value is None else round(10 * value)


def _same_geometry(frame: Frame, other: Frame) -> bool:
    if (frame.rows, frame.columns) != (other.rows, other.columns):
        return False
    axes, size = _geometry(frame)
    other_axes, other_size = _geometry(other)
    return bool(
        np.abs(axes - other_axes).max() < _SAME_AXES
        and np.abs(size / other_size - 1).max() < _SAME_SIZE
    )


def _geometry(frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array(frame.scan.orientation), np.array(frame.scan.spacing_mm)


def _difference(frame: Frame, other: Frame) -> str:
    if frame.scan.refusal and not other.scan.refusal:
        return frame.scan.refusal
    if (frame.rows, frame.columns) != (other.rows, other.columns):
        return (f"{frame.columns} × {frame.rows} pixels, where the series has "
                f"{other.columns} × {other.rows}")  # fmt: skip
    if not _same_geometry(frame, other):
        return "another orientation or pixel size than the series"
    if _kind(frame) != _kind(other):
        return "another kind of image or echo than the series"
    return "too far from the other slices of the series"


def place(frame: Frame) -> float:
    """Return the position of a frame along the normal of its rows and columns, in millimetres."""
    axes = np.array(frame.scan.orientation)
    return float(np.cross(axes[:3], axes[3:]) @ np.array(frame.scan.position_mm))


def _moments(group: Sequence[Frame]) -> list[list[Frame]]:
    """Part frames that repeat positions: by moment, then the n-th of each position together."""
    if not _repeats(group):
        return [list(group)]
    by_moment: dict[tuple[float, float], list[Frame]] = defaultdict(list)
    for frame in group:
        by_moment[frame.moment[:2]].append(frame)
    if min(map(len, by_moment.values())) < MIN_SLICES:
        by_moment = {(0.0, 0.0): list(group)}  # no moments: each slice has a number of its own
    found = []
    for _, frames in sorted(by_moment.items()):
        ordered = sorted(frames, key=_when)
        rounds: dict[int, list[Frame]] = defaultdict(list)
        counted: dict[int, int] = defaultdict(int)
        for frame in ordered:
            at = round(place(frame) / _SAME_PLACE_MM / 2)
            rounds[counted[at]].append(frame)
            counted[at] += 1
        found += [rounds[number] for number in sorted(rounds)]
    return found


def _when(frame: Frame) -> tuple[float, int, int]:
    return frame.moment[2], frame.scan.instance_number or 0, frame.number


def _repeats(frames: Sequence[Frame]) -> bool:
    places = np.sort([place(each) for each in frames])
    return len(places) > 1 and bool(np.diff(places).min() < _SAME_PLACE_MM)


def _runs(frames: Sequence[Frame]) -> list[tuple[list[Frame | None], tuple[str, ...]]]:
    """Order frames in space, part them at large gaps and leave room for single missing slices."""
    ordered = sorted(frames, key=place)
    if len(ordered) < MIN_SLICES:
        return [([*ordered], ())]
    gaps = np.diff([place(each) for each in ordered])
    distance = float(np.median(gaps))
    ratios = gaps / distance
    small = ratios[ratios < _MAX_MISSING + 1.5]
    if len(small) and np.mean(np.abs(small - np.rint(small)) > _REGULAR) > 0.2:
        # No distance that fits: slices picked from a series, or turned about an axis.
        return [([each], ()) for each in ordered]
    runs: list[tuple[list[Frame | None], list[str]]] = [([ordered[0]], [])]
    for frame, ratio in zip(ordered[1:], ratios, strict=True):
        missing = round(float(ratio)) - 1
        if missing > _MAX_MISSING:
            runs.append(([frame], []))
            continue
        run, said = runs[-1]
        if missing > 0:
            first = len(run)
            run += [None] * missing
            said.append(f"{missing} missing after slice {first - 1}: left blank")
        run.append(frame)
    uneven = float(np.abs(small - np.rint(small)).max()) if len(small) else 0.0
    if uneven > _REGULAR:
        runs[0][1].append(
            f"distances of slices vary from {gaps.min():.2f} to {gaps.max():.2f} mm: "
            f"taken as {distance:.2f} mm"
        )
    return [(run, tuple(said)) for run, said in runs]
