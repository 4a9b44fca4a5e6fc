"""Losses on the logit and on the class map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tumorlens.models.output import MapPooling


@dataclass(frozen=True)
class LossSpec:
    """Weights of the parts of the loss.

    Attributes:
        label_smoothing: Targets become ``smoothing / 2`` and ``1 - smoothing / 2``.
        positive_weight: Weight of tumour images in the image loss.
        focal_gamma: Focal loss exponent (Lin et al., ICCV 2017); 0 is cross-entropy.
        cells: Weight of the cell-by-cell loss where the place is known.
        place: Weight of pooling only inside, and only outside, the known lesion.
    """

    label_smoothing: float = 0.0
    positive_weight: float = 1.0
    focal_gamma: float = 0.0
    cells: float = 0.0
    place: float = 0.0


def image_loss(logit: Tensor, label: Tensor, spec: LossSpec) -> Tensor:
    """Return the mean binary cross-entropy (or focal loss) of logits ``[N]``."""
    target = label * (1 - spec.label_smoothing) + spec.label_smoothing / 2
    weight = 1 + (spec.positive_weight - 1) * label
    loss = functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
    if spec.focal_gamma > 0:
        prob = torch.sigmoid(logit)
        miss = torch.where(label > 0.5, 1 - prob, prob)
        loss = loss * miss**spec.focal_gamma
    return (loss * weight).mean()


def cell_targets(lesion: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return (is lesion, is clear) masks ``[N, h, w]`` of a map's cells.

    ``lesion`` is float ``[N, 1, S, S]``: 1 lesion, 0 none, between: unsure. A cell is lesion
    when at least half of it is, clear when nothing in it is, and takes no part otherwise.
    A lesion smaller than a cell marks the cell where it is largest.
    """
    share = functional.adaptive_avg_pool2d(lesion, shape).squeeze(1)
    peak = share.flatten(1).amax(dim=1).clamp(0.05, 0.5)[:, None, None]
    clear = functional.adaptive_max_pool2d(lesion, shape).squeeze(1) < 0.05
    return share >= peak, clear


def map_loss(
    evidence: Tensor,
    lesion: Tensor,
    label: Tensor,
    annotated: Tensor,
    pooling: MapPooling,
    spec: LossSpec,
) -> Tensor:
    """Return the loss that teaches the map its place.

    Args:
        evidence: ``[N, h, w]``. lesion: ``[N, 1, S, S]``. label: ``[N]``, 0 or 1.
        annotated: ``[N]``, 1 where the place is known: every healthy picture, and the tumour
            pictures with boxes or outlines.

    ``cells`` is the mean over each picture's lesion cells plus the mean over its clear cells
    (so that a small lesion weighs as much as the rest). ``place`` pools the map twice, over
    the clear cells (target healthy) and over the rest (target tumour): high evidence beside
    the lesion costs as much as in a healthy picture.
    """
    known = annotated > 0.5
    if not known.any():
        return evidence.new_zeros(())
    evidence, lesion, tumour = evidence[known], lesion[known], label[known] > 0.5
    inside, clear = cell_targets(lesion, (evidence.shape[1], evidence.shape[2]))
    inside = inside & tumour[:, None, None]
    clear = clear | ~tumour[:, None, None]
    loss = _mean_where(functional.softplus(evidence), clear)
    loss = loss + _mean_where(functional.softplus(-evidence), inside)
    total = spec.cells * loss.mean()
    if spec.place > 0 and tumour.any():
        low = evidence.new_full((), -30.0)
        outside = pooling(torch.where(clear, evidence, low)[tumour])
        within = pooling(torch.where(clear, low, evidence)[tumour].clamp_min(-8))
        place = functional.softplus(outside).mean() + functional.softplus(-within).mean()
        total = total + spec.place * place
    return total


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over each row's masked cells ``[N]``, 0 for a row without any."""
    weight = mask.to(values.dtype)
    count = weight.sum(dim=(1, 2))
    return (values * weight).sum(dim=(1, 2)) / count.clamp_min(1)
