"""Mixup: pictures and labels blended in pairs (Zhang et al., ICLR 2018)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor

from tumorlens.errors import ConfigError


def mixup(
    image: Tensor,
    label: Tensor,
    annotated: Tensor,
    probability: float,
    alpha: float,
    generator: Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Blend each chosen picture with another of the batch; the inputs are not changed.

    ``image_i = λ image_i + (1 - λ) image_j`` and the same for the labels, with ``λ`` drawn from
    ``Beta(alpha, alpha)`` for each picture and ``j`` from a permutation. In a blended picture no
    place is evidence in full, so its ``annotated`` becomes 0: the map's loss leaves it out.

    Args:
        image: float32 ``[N, C, S, S]``.
        label: float32 ``[N]``, 0 or 1.
        annotated: float32 ``[N]``, 1 where the place is known.
        probability: Share of pictures blended, 0..1; 0 draws nothing from the generator.
        alpha: Above 0; small values keep one of the two nearly whole, 1 makes ``λ`` uniform.
        generator: All randomness comes from it.

    Raises:
        ConfigError: ``probability`` or ``alpha`` is out of range.
    """
    if not 0 <= probability <= 1:
        raise ConfigError(f"augment.p_mixup is {probability}; it must be between 0 and 1")
    if probability == 0:
        return image, label, annotated
    if not alpha > 0:
        raise ConfigError(f"augment.mixup is {alpha}; it must be above 0")
    n = len(label)
    partner = torch.randperm(n, generator=generator)
    chosen = torch.rand(n, generator=generator) < probability
    # torch draws no Beta from a generator of its own.
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    drawn = torch.from_numpy(rng.beta(alpha, alpha, n).astype(np.float32))
    share = torch.where(chosen, drawn, 1.0).to(image.device)
    partner = partner.to(image.device)
    column = share[:, None, None, None]
    image = column * image + (1 - column) * image[partner]
    label = share * label + (1 - share) * label[partner]
    return image, label, annotated * (share == 1)
