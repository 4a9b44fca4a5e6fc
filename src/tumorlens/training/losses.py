"""Losses on the logit and on the class map."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tumorlens.models.output import MapPooling
from tumorlens.runs.config import LossConfig

# Resampled masks: above this a pixel is lesion, below its complement background.
_LESION = 0.75
# A cell with a smaller share of possible lesion pixels is background.
_BACKGROUND = 0.1
# Logit of a cell that is masked out of a pooling.
_MASKED = -30.0


def image_loss(logit: Tensor, label: Tensor, spec: LossConfig) -> Tensor:
    """Return the mean binary cross-entropy of logits ``[N]``."""
    target = label * (1 - spec.label_smoothing) + spec.label_smoothing / 2
    assert spec.positive_weight != "auto"  # already resolved to a number
    weight = 1 + (spec.positive_weight - 1) * label
    loss = functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
    return (loss * weight).mean()


def cell_targets(lesion: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return (lesion, background) masks ``[N, h, w]`` of a map's cells.

    ``lesion`` is float ``[N, 1, S, S]``: 1 lesion, 0 background, between: ignore region. A cell is
    lesion if at least half of it is, background if less than a tenth may be lesion, and ignored
    otherwise. A lesion smaller than a cell marks the cell it overlaps most.
    """
    sure = functional.adaptive_avg_pool2d((lesion > _LESION).float(), shape).squeeze(1)
    maybe = functional.adaptive_avg_pool2d((lesion > 1 - _LESION).float(), shape).squeeze(1)
    inside = sure >= sure.flatten(1).amax(dim=1).clamp(0.05, 0.5)[:, None, None]
    return inside, (maybe < _BACKGROUND) & ~inside


def map_loss(
    evidence: Tensor,
    lesion: Tensor,
    label: Tensor,
    annotated: Tensor,
    pooling: MapPooling,
    spec: LossConfig,
) -> Tensor:
    """Return the localisation loss of the class map.

    Args:
        evidence: ``[N, h, w]``. lesion: ``[N, 1, S, S]``. label: ``[N]``, 0 or 1.
        annotated: ``[N]``, 1 where it is known which pixels are lesion: every healthy image, and
            the tumour images with boxes or outlines.

    ``cell_bce`` is the mean over each image's lesion cells plus the mean over its background cells,
    so that lesions of every size have equal weight; background cells next to the lesion weigh as
    much as all others, which keeps the map from spreading beyond its edge. ``localization`` pools
    the map twice, over the background cells (target healthy) and over the rest (target tumour):
    high evidence beside the lesion costs as much as in a healthy image.
    """
    known = annotated > 0.5
    if not known.any():
        return evidence.new_zeros(())
    evidence, lesion, tumour = evidence[known], lesion[known], label[known] > 0.5
    inside, clear = cell_targets(lesion, (evidence.shape[1], evidence.shape[2]))
    inside = inside & tumour[:, None, None]
    clear = clear | ~tumour[:, None, None]
    near = clear & _dilated(~clear)
    background_loss = functional.softplus(evidence)
    far = clear & ~near
    both = near.flatten(1).any(dim=1) & far.flatten(1).any(dim=1)
    beside = torch.where(
        both,
        (_mean_where(background_loss, near) + _mean_where(background_loss, far)) / 2,
        _mean_where(background_loss, clear),
    )
    loss = beside + _mean_where(functional.softplus(-evidence), inside)
    total = spec.cell_bce * loss.mean()
    if spec.localization > 0 and tumour.any():
        outside = pooling(torch.where(clear, evidence, _MASKED)[tumour])
        within = _pooled_where(evidence[tumour], ~clear[tumour], pooling)
        pooled = functional.softplus(outside).mean() + functional.softplus(-within).mean()
        total = total + spec.localization * pooled
    return total


def _pooled_where(evidence: Tensor, mask: Tensor, pooling: MapPooling) -> Tensor:
    """Pool the masked cells ``[N]``; with fewer than top-k pooling needs, return their mean."""
    pooled = pooling(torch.where(mask, evidence, _MASKED))
    few = mask.flatten(1).sum(dim=1) < (pooling.k if pooling.kind == "topk" else 0)
    return torch.where(few, _mean_where(evidence, mask), pooled)


def _dilated(mask: Tensor) -> Tensor:
    """Dilate masks ``[N, h, w]`` by a twelfth of their side, at least one cell."""
    kernel = 2 * max(1, mask.shape[-1] // 12) + 1
    wide = functional.max_pool2d(mask.float(), kernel, stride=1, padding=kernel // 2)
    return wide > 0.5


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over each row's masked cells ``[N]``, 0 for a row without any."""
    weight = mask.to(values.dtype)
    count = weight.sum(dim=(1, 2))
    return (values * weight).sum(dim=(1, 2)) / count.clamp_min(1)
