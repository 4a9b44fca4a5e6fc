"""Heads made of one half and its mirror image: what a scan would be without its tumour."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

HALVED = (0, 1)
"""Views of two like halves: axial and coronal, by their place in `manifest.VIEWS`."""


# A lesion, or what is unsure beside it, lies to one side when it keeps this far from the axis, as
# a share of half the picture's side.
_CLEAR = 0.02


_MARKED = 0.2


# A scan that differs by more from its mirror image, against its brightness, has no axis.
_UNLIKE = 0.35


# An axis is sought on coarse pictures first: sides, steps either way, and their size.
_TILT, _SHIFT = math.radians(5), 0.03


_SEARCH = ((32, 3, 4, 1.0), (64, 2, 2, 0.25))


class Axis(NamedTuple):
    """The line that heads are mirrored at, and how unlike the halves are.

    ``tilt`` float32 ``[N]``, radians against upright, clockwise; ``offset`` ``[N]``, from the
    middle to the right, in halves of the side; ``unlike`` ``[N]``, mean absolute difference of a
    picture and its mirror image over its mean.
    """

    tilt: Tensor
    offset: Tensor
    unlike: Tensor

    @property
    def found(self) -> Tensor:
        """Bool ``[N]``: whether the halves are like enough for the line to be the head's."""
        return self.unlike < _UNLIKE

    def of(self, rows: Tensor) -> Axis:
        """Return the axes of some of the pictures, by a mask or by numbers."""
        return Axis(*(each[rows] for each in self))


def find_axis(image: Tensor) -> Axis:
    """Return the axes that pictures float32 ``[N, C, S, S]`` are least unlike their mirror at.

    Sought up to 17.5 degrees of tilt and 0.14 of half a side from the middle.
    """
    grey, n = image.mean(dim=1, keepdim=True), len(image)
    axis = Axis(*(torch.zeros(n, device=image.device) for _ in range(3)))
    for side, turns, moves, size in _SEARCH:
        small = functional.interpolate(grey, (side, side), mode="area")
        tilts = torch.arange(-turns, turns + 1, device=image.device) * size * _TILT
        offsets = torch.arange(-moves, moves + 1, device=image.device) * size * _SHIFT
        steps = torch.cartesian_prod(tilts, offsets)[:, None, :]
        tilt, offset = axis.tilt + steps[..., 0], axis.offset + steps[..., 1]  # [K, N]
        tried = Axis(tilt.flatten(), offset.flatten(), offset.flatten())
        shown = small.repeat(len(steps), 1, 1, 1)
        mirrored = functional.grid_sample(shown, _grid(tried, side), align_corners=False)
        unlike = (mirrored - shown).abs().flatten(1).mean(1).view(len(steps), n)
        unlike = unlike / small.flatten(1).mean(1).clamp_min(1e-3)
        best = unlike.argmin(dim=0, keepdim=True)
        axis = Axis(*(each.gather(0, best)[0] for each in (tilt, offset, unlike)))
    return axis


def doubled(image: Tensor, axis: Axis, kept: Tensor) -> Tensor:
    """Return pictures ``[N, C, S, S]`` made of one half, ``kept``: 1 right, -1 left, ``[N]``."""
    grid = _grid(axis, image.shape[-1], kept)
    return functional.grid_sample(image, grid, align_corners=False)


def clear_side(marked: Tensor, axis: Axis) -> Tensor:
    """Return the side, 1 right or -1 left, that ``marked`` bool ``[N, S, S]`` leaves clear.

    0 where neither or both are; float32 ``[N]``.
    """
    across = _across(axis, marked.shape[-1])
    left = (marked & (across < _CLEAR)).flatten(1).any(1)
    right = (marked & (across > -_CLEAR)).flatten(1).any(1)
    return left.float() - right.float()


def _across(axis: Axis, side: int) -> Tensor:
    """Return each pixel's distance from the axis, to the right, ``[N, S, S]``."""
    x, y = _pixels(side, axis.tilt)
    cos, sin = _wide(axis.tilt.cos()), _wide(axis.tilt.sin())
    return cos * x + sin * y - _wide(axis.offset)


def _grid(axis: Axis, side: int, kept: Tensor | None = None) -> Tensor:
    """Return where to take pixels from, ``[N, S, S, 2]``: from their mirror place.

    With ``kept`` ``[N]``, 1 right or -1 left, pixels of that side are taken from where they are.
    """
    x, y = _pixels(side, axis.tilt)
    cos, sin = _wide(axis.tilt.cos()), _wide(axis.tilt.sin())
    across, along = _across(axis, side), cos * y - sin * x
    across = -across if kept is None else across.abs() * _wide(kept)
    across = across + _wide(axis.offset)
    return torch.stack([cos * across - sin * along, sin * across + cos * along], dim=-1)


def _pixels(side: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels' places x and y ``[S, S]``, -1 to 1 from edge to edge."""
    line = (torch.arange(side, device=like.device) + 0.5) / side * 2 - 1
    return line[None, :].expand(side, side), line[:, None].expand(side, side)


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None]
