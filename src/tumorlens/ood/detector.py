"""The in-domain guard: is this a slice of a head's MRI? Answered from the network's own features.

Two things are added. Density: how far the statistics of the features (mean and deviation of
every channel, whitened per block of stages) lie from those of scans; what no scan looks like is
refused, whatever it is. And a small classifier that was shown drawn pictures, for what lies near.
Of an ensemble each member's features have their say: networks that see differently are fooled by
different pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float64]

# Stages of a block, counted from 0, and the whitened directions kept of it.
BLOCKS: tuple[tuple[tuple[int, ...], int], ...] = (((0, 1), 256), ((2,), 192), ((3,), 160))
SHRINK = 0.05  # share of the mean variance that every direction has at least
_FLOOR = 0.02  # added before logarithms: dead channels stay quiet
_REACH = 8.0  # standardised statistics are cut here
_SLACK = 0.05  # added to a deviation, so that a statistic that never moves is not blown up
_CLASSIFIER = 96  # whitened directions of each block that the classifier sees
_DENSITY, _MOST = 4.0, 6.0  # weight of a block's log-distance; the classifier's largest say


def statistics(features: Sequence[Tensor]) -> Tensor:
    """Return mean and deviation of every channel, stage by stage: float32 ``[N, F]``."""
    columns = []
    for stage in features:
        mean = stage.mean(dim=(2, 3))
        spread = (stage - mean[:, :, None, None]).square().mean(dim=(2, 3))
        columns += [mean, torch.sqrt(spread + 1e-10)]
    return torch.cat(columns, dim=1)


@dataclass(frozen=True)
class Block:
    """One block of stages, fitted on scans: how statistics ``[N, F]`` become distances.

    Attributes:
        columns: Which statistics, int64 ``[D]``.
        centre, scale: Of their logarithms, ``[D]``.
        axes: Whitening projection ``[D, K]``, its columns scaled to unit variance.
        plain: The same directions unscaled, for what the projection leaves out.
        rest: Variance of a direction that is left out.
    """

    columns: NDArray[np.int64]
    centre: Floats
    scale: Floats
    axes: Floats
    plain: Floats
    rest: float


def fit_block(scans: Floats, columns: NDArray[np.int64], keep: int) -> Block:
    """Fit a block's whitening on the statistics of scans, float64 ``[N, F]``."""
    logs = np.log(np.maximum(scans[:, columns], 0) + _FLOOR)
    scale = logs.std(0) + _SLACK
    centre = logs.mean(0)
    white = np.clip((logs - centre) / scale, -_REACH, _REACH)
    centre = centre + white.mean(0) * scale
    white = white - white.mean(0)
    variance, directions = np.linalg.eigh(white.T @ white / len(white))
    order = np.argsort(variance)[::-1]
    variance, directions = np.maximum(variance[order], 0), directions[:, order]
    floor, kept = SHRINK * variance.mean(), min(keep, len(columns))
    rest = float(variance[kept:].mean() + floor) if kept < len(columns) else 1.0
    axes = directions[:, :kept] / np.sqrt(variance[:kept] + floor)
    return Block(columns, centre, scale, axes, directions[:, :kept], rest)


class _Density(nn.Module):
    """Whitened coordinates ``[N, K]`` and the log of the mean squared distance ``[N]``."""

    columns: Tensor
    centre: Tensor
    scale: Tensor
    axes: Tensor
    lengths: Tensor
    rest: Tensor

    def __init__(self, block: Block) -> None:
        super().__init__()
        # Unit directions are stored, their lengths beside them: halved in size by float16.
        lengths = np.linalg.norm(block.axes, axis=0)
        unit = torch.tensor(block.plain, dtype=torch.float32).half().float()
        self.register_buffer("columns", torch.tensor(block.columns))
        self.register_buffer("centre", torch.tensor(block.centre, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(block.scale, dtype=torch.float32))
        self.register_buffer("axes", unit)
        self.register_buffer("lengths", torch.tensor(lengths, dtype=torch.float32))
        self.register_buffer("rest", torch.tensor(block.rest, dtype=torch.float32))

    def forward(self, found: Tensor) -> tuple[Tensor, Tensor]:
        logs = torch.log(found.index_select(1, self.columns).clamp_min(0) + _FLOOR)
        standard = ((logs - self.centre) / self.scale).clamp(-_REACH, _REACH)
        along = standard @ self.axes
        white = along * self.lengths
        distance = white.square().sum(dim=1)
        if self.axes.shape[1] < self.axes.shape[0]:
            left = standard.square().sum(dim=1) - along.square().sum(dim=1)
            distance = distance + left.clamp_min(0) / self.rest
        return white, torch.log(distance / len(self.columns) + 0.1)


class Opinion(nn.Module):
    """What one network's features say.

    Args:
        blocks: Fitted blocks.
        hidden: Units of the classifier.
    """

    def __init__(self, blocks: Sequence[Block], hidden: int = 48) -> None:
        super().__init__()
        self.densities = nn.ModuleList(_Density(block) for block in blocks)
        seen = sum(min(_CLASSIFIER, block.plain.shape[1]) for block in blocks) + len(blocks)
        self.classifier = nn.Sequential(
            nn.Linear(seen, hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, 1)
        )

    def forward(self, found: Tensor) -> Tensor:
        """Return scores ``[N]`` of statistics ``[N, F]``, higher for what looks like a scan."""
        seen, distances = self.describe(found)
        said: Tensor = self.classifier(seen).squeeze(1).clamp(-_MOST, _MOST) - _DENSITY * distances
        return said

    def describe(self, found: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the classifier sees ``[N, D]``, and the sum of log-distances ``[N]``."""
        seen, distances = [], []
        for density in self.densities:
            white, distance = density(found)
            seen.append(torch.tanh(white[:, :_CLASSIFIER] / 3))
            distances.append(distance)
        logs = torch.stack(distances, dim=1)
        return torch.cat([*seen, logs], dim=1), logs.sum(dim=1)


class InDomainGuard(nn.Module):
    """The fitted guard; it takes the network's features and returns a score.

    Args:
        opinions: One for each member of the network, in their order; the score is their mean.

    The score is float32 ``[N]``; 0 and above is kept. ``threshold`` is what fitting has placed.
    """

    threshold: Tensor

    def __init__(self, opinions: Sequence[Opinion]) -> None:
        super().__init__()
        self.opinions = nn.ModuleList(opinions)
        self.register_buffer("threshold", torch.zeros(()))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return scores ``[N]`` of the network's features, one ``[N, C, h, w]`` a stage."""
        return self.score(statistics(features))

    def score(self, found: Tensor) -> Tensor:
        """Return scores ``[N]`` of statistics ``[N, F]``, the first member's first."""
        each = found.chunk(len(self.opinions), dim=1)
        said = [opinion(own) for opinion, own in zip(self.opinions, each, strict=True)]
        return torch.stack(said).mean(dim=0) - self.threshold


def guard_from(state: Mapping[str, Tensor]) -> InDomainGuard:
    """Rebuild a guard from its ``state_dict``.

    Raises `KeyError`, `RuntimeError` or `ValueError` when it is none.
    """
    count = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("opinions."))
    guard = InDomainGuard([_empty(state, f"opinions.{at}.") for at in range(count)])
    guard.load_state_dict(state)
    return guard.eval()


def _empty(state: Mapping[str, Tensor], prefix: str) -> Opinion:
    blocks = []
    for index in range(len(BLOCKS)):
        length, kept = state[f"{prefix}densities.{index}.axes"].shape
        empty, axes = np.zeros(length), np.zeros((length, kept))
        blocks.append(Block(np.zeros(length, np.int64), empty, empty, axes, axes, 1.0))
    return Opinion(blocks, hidden=len(state[f"{prefix}classifier.0.bias"]))
