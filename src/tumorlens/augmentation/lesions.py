"""Lesion insertion, removal and cropping: the content of an image changes, and its label with it.

Both classes get the same kind of patch, so that a seam, the view or source of the image, or a zoom
carries no information about the label. Donors of the same view are preferred.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional

from tumorlens.augmentation.transform import Batch, Settings, interpolate_knots, per_image

# Half of what is inserted into a healthy image is a lesion, half healthy tissue of its shape.
_LESION_SHARE = 0.5
# Of the tumour images chosen for it this share loses the lesion; the rest keep it and get
# healthy tissue in a lesion's shape elsewhere.
_REMOVED = 0.6
# How often a lesion is covered with its mirrored side, where that holds no lesion.
_MIRRORED = 0.6
# A remapped lesion differs from its rim by this share of the rim's brightness at least.
_CONTRAST = 0.25
DARK = 0.08
"""Darker than this is background, or air."""

# Minimum share of a patch that lies on the head.
_ON_HEAD = 0.8
# Sides of a crop, as shares of the image's, and tries to find a fitting one.
_CROP = (0.5, 0.85)
_TRIES = 6


@dataclass(frozen=True)
class RandLesionInsertion(Settings):
    """Insert feathered patches into healthy images: lesions, and healthy tissue of their shape.

    An image that gets a lesion becomes a tumour with that outline. A patch that would lie
    outside the head is not inserted.

    Attributes:
        prob: Of each healthy image.
        remap_prob: Share of the inserted lesions whose intensities are remapped at random, as in
            another sequence, where that keeps them distinct from their rim.
    """

    prob: float = 0.0
    remap_prob: float = 0.0

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Return the batch with patches inserted."""
        image, lesion, label, view = batch.image, batch.lesion, batch.label, batch.view
        has_lesion, healthy = _with_lesion(lesion, label), torch.nonzero(label < 0.5).flatten()
        chosen = healthy[torch.rand(len(healthy), generator=generator) < self.prob]
        if not len(chosen) or not len(has_lesion):
            return batch
        shapes = _like(chosen, has_lesion, view, generator)
        others = _like(chosen, healthy, view, generator)
        gets_lesion = torch.rand(len(chosen), generator=generator) < _LESION_SHARE
        donors = torch.where(gets_lesion.to(image.device), shapes, others)
        alpha = _feathered(lesion[shapes])
        fits = on_head(image[chosen], alpha, _ON_HEAD)
        host, alpha, gets_lesion = chosen[fits], alpha[fits], gets_lesion.to(image.device)[fits]
        new_image, new_lesion, new_label = image.clone(), lesion.clone(), label.clone()
        donated = image[donors[fits]]
        if self.remap_prob > 0:
            donated = _remapped(donated, alpha, self.remap_prob * gets_lesion, generator)
        new_image[host] = _blend(image[host], donated, alpha)
        new_lesion[host[gets_lesion]] = lesion[shapes[fits][gets_lesion]]
        new_label[host[gets_lesion]] = 1.0
        return replace(batch, image=new_image, lesion=new_lesion, label=new_label)


@dataclass(frozen=True)
class RandLesionRemoval(Settings):
    """Cover outlined lesions with healthy tissue, which makes their images healthy.

    The tissue is that of the mirrored side, or of a healthy image. Some of the chosen images keep
    their lesion and get the tissue elsewhere, so that a seam does not mean healthy.

    Attributes:
        prob: Of each tumour image with an outline.
    """

    prob: float = 0.0

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Return the batch with lesions covered."""
        image, lesion, label, view = batch.image, batch.lesion, batch.label, batch.view
        has_lesion, healthy = _with_lesion(lesion, label), torch.nonzero(label < 0.5).flatten()
        chosen = has_lesion[torch.rand(len(has_lesion), generator=generator) < self.prob]
        if not len(chosen) or not len(healthy):
            return batch
        donors = _like(chosen, healthy, view, generator)
        shapes = _like(chosen, has_lesion, view, generator)
        own = _feathered(lesion[chosen])
        clear = ((lesion[chosen].flip(-1) > 0.2) & (lesion[chosen] > 0.2)).flatten(1).sum(1) == 0
        mirrored = clear & _chance(len(chosen), _MIRRORED, generator).to(image.device)
        removed = _chance(len(chosen), _REMOVED, generator).to(image.device)
        kept = functional.max_pool2d(own, 5, stride=1, padding=2)
        beside = _feathered(lesion[shapes]) * (1 - kept)
        alpha = torch.where(per_image(removed, image), own, beside)
        flipped = per_image(mirrored & removed, image)
        tissue = torch.where(flipped, image[chosen].flip(-1), image[donors])
        new_image, new_lesion, new_label = image.clone(), lesion.clone(), label.clone()
        new_image[chosen] = _blend(image[chosen], tissue, alpha)
        new_lesion[chosen[removed]] = 0.0
        new_label[chosen[removed]] = 0.0
        return replace(batch, image=new_image, lesion=new_lesion, label=new_label)


@dataclass(frozen=True)
class RandLesionCrop(Settings):
    """Zoom into a crop of half to five sixths of the side.

    Half of the crops of tumour images hold most of the lesion and stay tumours, half hold none of
    it and become healthy: the surroundings of a tumour are no evidence of one. Images without an
    outline of the lesion, and those without a fitting crop, are not cropped.

    Attributes:
        prob: Of each image.
    """

    prob: float = 0.0

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Return the batch with some images cropped and enlarged."""
        image, lesion, label = batch.image, batch.lesion, batch.label
        chosen = torch.nonzero(torch.rand(len(image), generator=generator) < self.prob).flatten()
        if not len(chosen):
            return batch
        new_image, new_lesion, new_label = image.clone(), lesion.clone(), label.clone()
        for at in (int(k) for k in chosen if batch.annotated[k] > 0.5):
            without = bool(torch.rand(1, generator=generator) < 0.5)
            square = _crop(image[at], lesion[at], bool(label[at] > 0.5), without, generator)
            if square is None:
                continue
            rows, columns = square
            size = list(image.shape[-2:])
            new_image[at] = _resized(image[at, :, rows, columns], size)
            new_lesion[at] = _resized(lesion[at, :, rows, columns], size)
            if without:
                new_label[at] = 0.0
        return replace(batch, image=new_image, lesion=new_lesion, label=new_label)


def _crop(
    image: Tensor, lesion: Tensor, tumour: bool, without: bool, generator: Generator
) -> tuple[slice, slice] | None:
    """Return a crop of tissue that holds most of a tumour, or nothing of it, or None."""
    side = image.shape[-1]
    sure = (lesion > 0.9).sum().clamp_min(1)
    for _ in range(_TRIES):
        share = _CROP[0] + (_CROP[1] - _CROP[0]) * float(torch.rand(1, generator=generator))
        size = int(side * share)
        top, left = torch.randint(0, side - size + 1, (2,), generator=generator).tolist()
        rows, columns = slice(top, top + size), slice(left, left + size)
        if (image[:, rows, columns] > DARK).float().mean() < 0.5:
            continue
        inside = lesion[:, rows, columns]
        if tumour and without and inside.max() > 0.2:
            continue
        if tumour and not without and (inside > 0.9).sum() < 0.7 * sure:
            continue
        return rows, columns
    return None


def _resized(image: Tensor, size: list[int]) -> Tensor:
    return functional.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]


def _with_lesion(lesion: Tensor, label: Tensor) -> Tensor:
    return torch.nonzero((lesion.amax(dim=(1, 2, 3)) > 0.9) & (label > 0.5)).flatten()


def _like(hosts: Tensor, pool: Tensor, view: Tensor, generator: Generator) -> Tensor:
    """Sample one of ``pool`` for each host, of the host's view where there is one."""
    drawn = []
    for host in hosts:
        same = pool[view[pool] == view[host]]
        among = same if len(same) else pool
        drawn.append(among[torch.randint(len(among), (1,), generator=generator)])
    return torch.cat(drawn)


def _feathered(lesion: Tensor) -> Tensor:
    """Return a patch's opacity: 1 over the lesion and the ignore region, fading around it."""
    whole = functional.max_pool2d((lesion > 0.25).float(), 7, stride=1, padding=3)
    return functional.avg_pool2d(whole, 7, stride=1, padding=3)


def _blend(host: Tensor, donor: Tensor, alpha: Tensor) -> Tensor:
    """Blend the donor's patch into the host, scaled so that its contrast to the rim stays."""
    wide = functional.max_pool2d(alpha, 13, stride=1, padding=6)
    rim = (wide > 0.05) & (alpha < 0.5)

    def brightness(image: Tensor) -> Tensor:
        counted = rim & (image > 0.03)
        total = (image * counted).flatten(1).sum(1)
        return (total / counted.flatten(1).sum(1).clamp_min(1)).clamp_min(0.05)

    ratio = (brightness(host) / brightness(donor)).clamp(0.6, 1.6)
    return (1 - alpha) * host + alpha * (donor * per_image(ratio, donor)).clamp(0, 1)


def _remapped(image: Tensor, alpha: Tensor, probability: Tensor, generator: Generator) -> Tensor:
    """Map intensities of images at random, ``probability`` ``[N]``, keeping lesions visible."""
    levels = 0.1 + 0.9 * torch.rand(len(image), 5, generator=generator)
    mapped = interpolate_knots(image, levels)
    core = alpha > 0.95
    rim = (functional.max_pool2d(alpha, 13, stride=1, padding=6) > 0.05) & (alpha < 0.3)

    def level(of: Tensor, where: Tensor) -> Tensor:
        counted = where & (image > DARK)
        return (of * counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp_min(1)

    beside = level(mapped, rim)
    apart = (level(mapped, core) - beside).abs() > _CONTRAST * beside
    drawn = torch.rand(len(image), generator=generator).to(image.device) < probability
    return torch.where(per_image(drawn & apart, image), mapped, image)


def on_head(host: Tensor, alpha: Tensor, share: float) -> Tensor:
    """Return ``[N]``, True where this share of a patch of opacity ``alpha`` lies on the head."""
    core = (alpha > 0.5).float()
    lit = ((host.mean(dim=1, keepdim=True) > DARK) * core).flatten(1).sum(1)
    return lit >= share * core.flatten(1).sum(1)


def _chance(n: int, probability: float, generator: Generator) -> Tensor:
    return torch.rand(n, generator=generator) < probability
