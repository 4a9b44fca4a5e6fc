"""Does a slice of a head show enough brain to look for a tumour? From the network's features.

Neck, skull base, face, vertex and scalp are slices of a head's MRI, so the out-of-distribution
detector keeps them; but they show too little brain for an answer. A small classifier of the same
feature statistics, trained on whole heads from the neck to the vertex, sets them aside.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tumorlens.errors import DataError
from tumorlens.ood.detector import Floats, feature_statistics

MIN_SLICES = 20  # of either kind; fewer fit nothing
# At most this share of the slices with enough brain that choose the threshold is set aside.
MAX_SET_ASIDE = 0.005
_HIDDEN = 32
_LOG_OFFSET, _CLIP, _MIN_STD = 0.02, 6.0, 0.05
_STEPS, _BATCH, _NOISE = 2000, 256, 0.15


class BrainHead(nn.Module):
    """The fitted classifier; it takes the network's features and returns a score.

    Args:
        n_statistics: Feature statistics, ``F``.

    The score is float32 ``[N]``: from 0 on a slice shows enough brain. ``threshold`` is what
    fitting has chosen and is subtracted already.
    """

    centre: Tensor  # of the logarithms of the statistics, [F]
    scale: Tensor  # likewise
    threshold: Tensor

    def __init__(self, n_statistics: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_statistics))
        self.register_buffer("scale", torch.ones(n_statistics))
        self.register_buffer("threshold", torch.zeros(()))
        self.classifier = nn.Sequential(
            nn.Linear(n_statistics, _HIDDEN), nn.ReLU(), nn.Dropout(0.3), nn.Linear(_HIDDEN, 1)
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return scores ``[N]`` of the network's features, one ``[N, C, h, w]`` a stage."""
        return self.score(feature_statistics(features))

    def score(self, statistics: Tensor) -> Tensor:
        """Return scores ``[N]`` of statistics ``[N, F]``."""
        logit: Tensor = self.classifier(self.standardised(statistics)).squeeze(1)
        return logit - self.threshold

    def standardised(self, statistics: Tensor) -> Tensor:
        """Return the classifier's inputs ``[N, F]``."""
        logs = torch.log(statistics.clamp_min(0) + _LOG_OFFSET)
        return ((logs - self.centre) / self.scale).clamp(-_CLIP, _CLIP)


def fit_brain_head(
    statistics: Floats,
    enough: NDArray[np.bool_],
    weights: Floats,
    for_threshold: Floats,
    seed: int,
) -> BrainHead:
    """Fit a head to slices known to show enough brain, and to others that do not.

    Args:
        statistics: Of training slices, ``[N, F]``; see `tumorlens.ood.fit.statistics_of`.
        enough: Whether each shows enough brain, ``[N]``.
        weights: How often each is drawn, relative to others of its kind, ``[N]``.
        for_threshold: Statistics ``[M, F]`` of other slices with enough brain.
        seed: Of the classifier.

    Raises:
        DataError: Fewer than 20 slices of either kind, or to choose the threshold.
    """
    counts = (int(enough.sum()), int((~enough).sum()), len(for_threshold))
    if min(counts) < MIN_SLICES:
        raise DataError(
            f"a brain detector needs {MIN_SLICES} slices with enough brain, with too little, and "
            f"of others for its threshold; got {counts[0]}, {counts[1]} and {counts[2]}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = BrainHead(statistics.shape[1])
        logs = np.log(np.maximum(statistics, 0) + _LOG_OFFSET)
        head.centre.copy_(torch.tensor(logs.mean(0)))
        head.scale.copy_(torch.tensor(logs.std(0) + _MIN_STD))
        _train(head, torch.tensor(statistics, dtype=torch.float32), enough, weights, seed)
    head.eval()
    ranked = np.sort(brain_scores(head, for_threshold))
    head.threshold.fill_(min(0.0, float(ranked[int(MAX_SET_ASIDE * len(ranked))]) - 1e-3))
    return head


def _train(
    head: BrainHead, statistics: Tensor, enough: NDArray[np.bool_], weights: Floats, seed: int
) -> None:
    rng = np.random.default_rng([seed, 6])
    inputs, target = head.standardised(statistics), torch.tensor(enough, dtype=torch.float32)
    drawn = np.where(enough, weights / weights[enough].sum(), weights / weights[~enough].sum()) / 2
    optimizer = torch.optim.AdamW(head.classifier.parameters(), 2e-3, weight_decay=0.1)
    for _ in range(_STEPS):
        rows = torch.from_numpy(rng.choice(len(drawn), _BATCH, p=drawn))
        noisy = inputs[rows] + _NOISE * torch.randn(_BATCH, inputs.shape[1])
        logits = head.classifier(noisy).squeeze(1)
        loss = functional.binary_cross_entropy_with_logits(logits, target[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def brain_scores(head: BrainHead, statistics: Floats) -> Floats:
    """Return the head's scores ``[N]`` of statistics ``[N, F]``."""
    return head.score(torch.tensor(statistics, dtype=torch.float32)).double().numpy()


def brain_head_from_state(state: Mapping[str, Tensor]) -> BrainHead:
    """Rebuild a head from its ``state_dict``; raises `KeyError` or `RuntimeError` if it is none."""
    head = BrainHead(len(state["centre"]))
    head.load_state_dict(state)
    return head.eval()
