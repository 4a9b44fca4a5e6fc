"""Stacks → series inputs and volumes: names, facts of the header, geometry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import UnsupportedFormatError
from tumorlens.imaging.image import Limits
from tumorlens.volumes.dicom.frames import Frame
from tumorlens.volumes.dicom.pixels import SliceReader
from tumorlens.volumes.dicom.stacks import Series, Stack, place, sort_series
from tumorlens.volumes.entries import Picture, SeriesInput
from tumorlens.volumes.grid import PLANES, Grid, ras_axes, to_volume, usable_affine
from tumorlens.volumes.volume import Volume, check_matrix, check_spacing

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def series_inputs(frames: Sequence[Frame], limits: Limits) -> list[SeriesInput | Picture]:
    """Return the series and single images that the frames of any number of files make up.

    A series is named by the folder of its files, or the one file it is in; where several share
    that, with the series' number or its place in the order found, and of several stacks or
    repetitions with their number: ``study#3``, ``study#3-2``.
    """
    sorted_series = sort_series(frames)
    places = [_common(each) for each in sorted_series]
    shared = Counter(places)
    numbers = [_number(each) for each in sorted_series]
    unique = len(set(numbers)) == len(numbers) and None not in numbers
    found: list[SeriesInput | Picture] = []
    for order, series in enumerate(sorted_series):
        name = places[order]
        if shared[name] > 1:
            name = f"{name}#{numbers[order] if unique else order + 1}"
        for number, stack in enumerate(series.stacks):
            several = len(series.stacks) > 1
            mark = "-" if shared[places[order]] > 1 else "#"
            found.append(_input(stack, f"{name}{mark}{number + 1}" if several else name, limits))
        files = dict.fromkeys(frame.source for frame in series.singles)
        found += [Picture(source) for source in files]
    return found


def _common(series: Series) -> str:
    """Return the file of a series, or the deepest folder with all of its files."""
    names = {each.source.name for stack in series.stacks for each in stack.present}
    if len(names) <= 1:
        return next(iter(names), "")
    first, *others = (PurePath(each).parent.parts for each in names)
    depth = 0
    while all(len(each) > depth and len(first) > depth and each[depth] == first[depth]
              for each in others or [first]) and depth < len(first):  # fmt: skip
        depth += 1
    return str(PurePath(*first[:depth]))


def _number(series: Series) -> int | None:
    return next((each.series_number for stack in series.stacks for each in stack.present), None)


def _input(stack: Stack, name: str, limits: Limits) -> SeriesInput:
    present = stack.present
    scan = present[0].scan
    files = dict.fromkeys(each.source.name for each in present)
    sources = dict.fromkeys(each.source for each in present)
    singles = len(sources) == len(present)
    return SeriesInput(
        name=name,
        load=partial(load_stack, stack, name, limits),
        files=tuple(files),
        header=scan,
        n_slices=len(present),
        set_aside=tuple((each.name, each.reason) for each in stack.set_aside),
        remarks=stack.remarks,
        pictures=tuple(Picture(each) for each in sources) if singles else (),
    )


def load_stack(stack: Stack, name: str, limits: Limits) -> Volume:
    """Read the slices of a stack into a volume; a missing slice is blank.

    Raises `InputError` as reading one slice does, and for sizes out of bounds.
    """
    present = stack.present
    first = present[0]
    shape = (first.columns, first.rows, len(stack.frames))
    check_matrix(shape, name, limits)
    grid = _grid(stack, name)
    check_spacing(shape, grid.spacing_mm, name)
    data = _read(stack, shape, limits)
    normal = ras_axes(grid.affine)
    at = [axis for axis, _ in normal].index(2)
    plane = PLANES[at]
    scan = first.scan
    return to_volume(
        data, grid, name, plane=plane, modality=scan.modality, sequence=scan.sequence,
        body_part=scan.body_part, files=tuple(dict.fromkeys(each.source.name for each in present)),
        frames=stack.frames[::-1] if normal[at][1] else stack.frames,
    )  # fmt: skip


def _grid(stack: Stack, name: str) -> Grid:
    """Return the geometry (PS3.3, C.7.6.2.1.1): columns along a row's direction, rows down."""
    ends = stack.present[0], stack.present[-1]
    scan = ends[0].scan
    axes, spacing = np.array(scan.orientation), np.array(scan.spacing_mm)
    positions = [np.array(each.scan.position_mm, dtype=np.float64) for each in ends]
    steps = len(stack.frames) - 1
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = axes[:3] * spacing[1], axes[3:] * spacing[0]
    affine[:3, 2] = (positions[1] - positions[0]) / steps
    affine[:3, 3] = positions[0]
    if not usable_affine(affine):
        raise UnsupportedFormatError(
            f"{name}: the positions of the slices do not make a stack; export the series again"
        )
    distance = (place(ends[1]) - place(ends[0])) / steps
    sizes = (float(spacing[1]), float(spacing[0]), float(distance))
    return Grid(_LPS_TO_RAS @ affine, sizes, 2, True, stack.remarks)


def _read(stack: Stack, shape: tuple[int, int, int], limits: Limits) -> NDArray[np.generic]:
    reader = SliceReader(limits)
    data: NDArray[np.generic] | None = None
    for index, frame in enumerate(stack.frames):
        if frame is None:
            continue
        values = reader.read(frame)
        if data is None:
            data = np.zeros(shape, values.dtype, order="F")
        elif data.dtype != values.dtype and data.dtype != np.float32:
            data = data.astype(np.float32, order="F")
        data[:, :, index] = values.T
    return data if data is not None else np.zeros(shape, np.uint8)
