"""The out-of-distribution (OOD) head: is this a slice of a brain MRI? From the network's features.

The score is the sum of two parts. A distance: how far the channel statistics of the features
(mean and standard deviation of every channel, whitened per block of stages) lie from those of
training scans; it refuses whatever does not look like a scan. And a small classifier trained
against images that are no brain MRI, for what lies close to the scans. Of an ensemble every member
has its own score, and the head returns their mean: different networks are fooled by different
images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float64]

Blocks = tuple[tuple[tuple[int, ...], int], ...]
# Of a network with so many stages: each block's stages, counted from 0, and the number of whitened
# directions kept of it.
BLOCKS: dict[int, Blocks] = {
    4: (((0, 1), 256), ((2,), 192), ((3,), 160)),
    3: (((0, 1), 128), ((2,), 192)),
}
SHRINKAGE = 0.05  # added to every direction's variance, as a share of the mean variance
_LOG_OFFSET = 0.02  # added before logarithms: dead channels stay quiet
_CLIP = 8.0  # standardised statistics are clipped here
_MIN_STD = 0.05  # added to a standard deviation: a constant statistic is not blown up
_DISTANCE_WEIGHT = 2.0  # of a block's log-distance in the score
_MAX_CLASSIFIER_LOGIT = 6.0


def feature_statistics(features: Sequence[Tensor]) -> Tensor:
    """Return mean and standard deviation of every channel, stage by stage: float32 ``[N, F]``."""
    columns = []
    for stage in features:
        mean = stage.mean(dim=(2, 3))
        variance = (stage - mean[:, :, None, None]).square().mean(dim=(2, 3))
        columns += [mean, torch.sqrt(variance + 1e-10)]
    return torch.cat(columns, dim=1)


class WhitenedDistance(nn.Module):
    """Mahalanobis distance of one block's statistics from those of scans.

    Probabilistic PCA: the leading directions have a variance each, all others share one.

    Args:
        n_statistics: Statistics of the block, ``D``.
        n_directions: Whitened directions kept, ``K``.
    """

    columns: Tensor  # which of all statistics are the block's, int64 [D]
    centre: Tensor  # of their logarithms, [D]
    scale: Tensor  # of their logarithms, [D]
    directions: Tensor  # orthonormal, [D, K]
    inverse_std: Tensor  # along each direction, [K]
    residual_variance: Tensor  # of the directions left out

    def __init__(self, n_statistics: int, n_directions: int) -> None:
        super().__init__()
        self.register_buffer("columns", torch.zeros(n_statistics, dtype=torch.int64))
        self.register_buffer("centre", torch.zeros(n_statistics))
        self.register_buffer("scale", torch.ones(n_statistics))
        self.register_buffer("directions", torch.zeros(n_statistics, n_directions))
        self.register_buffer("inverse_std", torch.ones(n_directions))
        self.register_buffer("residual_variance", torch.ones(()))

    def forward(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        """Return whitened coordinates ``[N, K]`` and the log of the mean squared distance ``[N]``.

        Args:
            statistics: All statistics, float32 ``[N, F]``.
        """
        logs = torch.log(statistics.index_select(1, self.columns).clamp_min(0) + _LOG_OFFSET)
        standard = ((logs - self.centre) / self.scale).clamp(-_CLIP, _CLIP)
        projected = standard @ self.directions
        white = projected * self.inverse_std
        distance = white.square().sum(dim=1)
        if self.directions.shape[1] < self.directions.shape[0]:
            residual = standard.square().sum(dim=1) - projected.square().sum(dim=1)
            distance = distance + residual.clamp_min(0) / self.residual_variance
        return white, torch.log(distance / len(self.columns) + 0.1)


def fit_distance(
    statistics: Floats, columns: NDArray[np.int64], n_directions: int
) -> WhitenedDistance:
    """Fit a block's distance to the statistics of scans, float64 ``[N, F]``."""
    logs = np.log(np.maximum(statistics[:, columns], 0) + _LOG_OFFSET)
    scale = logs.std(0) + _MIN_STD
    centre = logs.mean(0)
    standard = np.clip((logs - centre) / scale, -_CLIP, _CLIP)
    centre = centre + standard.mean(0) * scale
    standard = standard - standard.mean(0)
    variance, directions = np.linalg.eigh(standard.T @ standard / len(standard))
    variance, directions = np.maximum(variance[::-1], 0), directions[:, ::-1]
    floor, kept = SHRINKAGE * variance.mean(), min(n_directions, len(columns))
    fitted = WhitenedDistance(len(columns), kept)
    found = {
        "columns": columns,
        "centre": centre,
        "scale": scale,
        # Rounded to what the model file stores: float16 halves its size.
        "directions": directions[:, :kept].astype(np.float16),
        "inverse_std": 1 / np.sqrt(variance[:kept] + floor),
        "residual_variance": variance[kept:].mean() + floor if kept < len(columns) else 1.0,
    }
    fitted.load_state_dict({name: torch.tensor(values) for name, values in found.items()})
    return fitted


class MemberScore(nn.Module):
    """The OOD score from one network's features.

    Args:
        distances: One for each block.
        hidden: Hidden units of the classifier.
    """

    def __init__(self, distances: Sequence[WhitenedDistance], hidden: int) -> None:
        super().__init__()
        self.distances = nn.ModuleList(distances)
        kept = (len(block.inverse_std) for block in distances)
        self.classifier = classifier(sum(kept) + len(distances), hidden)

    def forward(self, statistics: Tensor) -> Tensor:
        """Return scores ``[N]`` of statistics ``[N, F]``, higher for what looks like a scan."""
        inputs, distance = self.classifier_inputs(statistics)
        logit: Tensor = self.classifier(inputs).squeeze(1)
        limit = _MAX_CLASSIFIER_LOGIT
        return logit.clamp(-limit, limit) - _DISTANCE_WEIGHT * distance

    def classifier_inputs(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        """Return the classifier's inputs ``[N, D]``, and the sum of log-distances ``[N]``."""
        inputs, distances = [], []
        for block in self.distances:
            white, distance = block(statistics)
            inputs.append(torch.tanh(white / 3))
            distances.append(distance)
        logs = torch.stack(distances, dim=1)
        return torch.cat([*inputs, logs], dim=1), logs.sum(dim=1)


def classifier(inputs: int, hidden: int) -> nn.Sequential:
    """Return a new classifier: inputs ``[N, inputs]`` → logits ``[N, 1]``."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, 1)
    )


class OodHead(nn.Module):
    """The fitted OOD detector; it takes the network's features and returns a score.

    Args:
        members: One score for each member of the network, in their order; the head's is the mean.

    The score is float32 ``[N]``; from 0 on an image is kept, below it is refused. ``threshold`` is
    what fitting has chosen and is subtracted already.
    """

    threshold: Tensor

    def __init__(self, members: Sequence[MemberScore]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("threshold", torch.zeros(()))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return scores ``[N]`` of the network's features, one ``[N, C, h, w]`` a stage."""
        return self.score(feature_statistics(features))

    def score(self, statistics: Tensor) -> Tensor:
        """Return scores ``[N]`` of statistics ``[N, F]``, the first member's first."""
        parts = statistics.chunk(len(self.members), dim=1)
        scores = [member(own) for member, own in zip(self.members, parts, strict=True)]
        return torch.stack(scores).mean(dim=0) - self.threshold


def head_from_state(state: Mapping[str, Tensor]) -> OodHead:
    """Rebuild a head from its ``state_dict``.

    Raises `KeyError`, `RuntimeError` or `ValueError` when it is none.
    """
    members = _count(state, "members.")
    head = OodHead([_empty_member(state, f"members.{at}.") for at in range(members)])
    head.load_state_dict(state)
    return head.eval()


def _empty_member(state: Mapping[str, Tensor], prefix: str) -> MemberScore:
    blocks = range(_count(state, f"{prefix}distances."))
    shapes = [state[f"{prefix}distances.{at}.directions"].shape for at in blocks]
    distances = [WhitenedDistance(length, kept) for length, kept in shapes]
    return MemberScore(distances, hidden=len(state[f"{prefix}classifier.0.bias"]))


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many numbered modules there are below a prefix."""
    numbers = [name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)]
    return 1 + max(int(number) for number in numbers)
