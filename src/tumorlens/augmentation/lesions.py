"""Edits that change what a picture shows: lesions pasted in, taken out, or left outside a crop.

The same kind of patch goes onto both sides: a seam, a host's view or source, or a zoom then tells
nothing about the answer. They work on batches, between geometry and intensity.

Shapes: ``image`` float32 ``[N, C, S, S]`` in 0..1; ``lesion`` float32 ``[N, 1, S, S]`` (1 lesion,
0 none, between: unsure); ``label`` and ``annotated`` float32 ``[N]``, 0 or 1; ``view`` int64
``[N]``, donors of the same number being preferred. Arguments are never changed.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from tumorlens.augmentation.transforms import through_knots

# Half of what is pasted into a healthy picture is a lesion, half healthy tissue of its shape.
_LESION_SHARE = 0.5
# Of the tumour pictures chosen for it this share loses the lesion; the rest keep it and get
# healthy tissue in a lesion's shape elsewhere.
_TAKEN_OUT = 0.6
# A lesion is covered with its mirror place where that is clear of lesion, this often.
_MIRRORED = 0.6
# A recoloured lesion differs from its rim by this share of the rim's brightness at least.
_APART = 0.25
DARK = 0.08
"""Darker than this is background, or air."""

# A pasted patch lies on the head to this share at least.
_ON_HEAD = 0.8
# Sides of a window, as shares of the picture's, and how often a fitting one is sought.
_WINDOW = (0.5, 0.85)
_TRIES = 6

Edited = tuple[Tensor, Tensor, Tensor]
"""Image, lesion and label."""


def paste(
    image: Tensor,
    lesion: Tensor,
    label: Tensor,
    view: Tensor,
    probability: float,
    generator: Generator,
    recoloured: float = 0.0,
) -> Edited:
    """Paste feathered patches into healthy pictures: lesions, and healthy tissue of their shape.

    A picture that gets a lesion becomes a tumour with that outline. A patch that would hang in the
    air is not pasted. Of the lesions a share of ``recoloured`` is seen as another sequence might
    show it: through a random map of intensities, where that leaves it apart from its rim.
    """
    has_lesion, healthy = _with_lesion(lesion, label), torch.nonzero(label < 0.5).flatten()
    chosen = healthy[torch.rand(len(healthy), generator=generator) < probability]
    if not len(chosen) or not len(has_lesion):
        return image, lesion, label
    shapes = _like(chosen, has_lesion, view, generator)
    others = _like(chosen, healthy, view, generator)
    gets_lesion = torch.rand(len(chosen), generator=generator) < _LESION_SHARE
    donors = torch.where(gets_lesion.to(image.device), shapes, others)
    alpha = _feathered(lesion[shapes])
    fits = on_head(image[chosen], alpha, _ON_HEAD)
    host, alpha, gets_lesion = chosen[fits], alpha[fits], gets_lesion.to(image.device)[fits]
    edited, marked, told = image.clone(), lesion.clone(), label.clone()
    donated = image[donors[fits]]
    if recoloured > 0:
        donated = _recoloured(donated, alpha, recoloured * gets_lesion, generator)
    edited[host] = _blend(image[host], donated, alpha)
    marked[host[gets_lesion]] = lesion[shapes[fits][gets_lesion]]
    told[host[gets_lesion]] = 1.0
    return edited, marked, told


def take_out(
    image: Tensor,
    lesion: Tensor,
    label: Tensor,
    view: Tensor,
    probability: float,
    generator: Generator,
) -> Edited:
    """Cover outlined lesions with healthy tissue, which makes their pictures healthy.

    The tissue is that of the mirrored side, or of a healthy picture. Some of the chosen pictures
    keep their lesion and get the tissue beside it, so that a seam does not mean healthy.
    """
    has_lesion, healthy = _with_lesion(lesion, label), torch.nonzero(label < 0.5).flatten()
    chosen = has_lesion[torch.rand(len(has_lesion), generator=generator) < probability]
    if not len(chosen) or not len(healthy):
        return image, lesion, label
    donors = _like(chosen, healthy, view, generator)
    shapes = _like(chosen, has_lesion, view, generator)
    own = _feathered(lesion[chosen])
    clear = ((lesion[chosen].flip(-1) > 0.2) & (lesion[chosen] > 0.2)).flatten(1).sum(1) == 0
    mirrored = clear & _chance(len(chosen), _MIRRORED, generator).to(image.device)
    out = _chance(len(chosen), _TAKEN_OUT, generator).to(image.device)
    kept = functional.max_pool2d(own, 5, stride=1, padding=2)
    alpha = torch.where(_wide(out), own, _feathered(lesion[shapes]) * (1 - kept))
    mirrored &= out
    tissue = torch.where(_wide(mirrored), image[chosen].flip(-1), image[donors])
    edited, marked, told = image.clone(), lesion.clone(), label.clone()
    edited[chosen] = _blend(image[chosen], tissue, alpha)
    marked[chosen[out]] = 0.0
    told[chosen[out]] = 0.0
    return edited, marked, told


def window(
    image: Tensor,
    lesion: Tensor,
    label: Tensor,
    annotated: Tensor,
    probability: float,
    generator: Generator,
) -> Edited:
    """Zoom into windows of half to five sixths of the side.

    Half of the tumour pictures' windows hold most of the lesion and stay tumours, half hold none
    of it and become healthy: what is seen beside a tumour is no evidence of one. Pictures whose
    lesion is not outlined, and those without a fitting window, stay whole.
    """
    chosen = torch.nonzero(torch.rand(len(image), generator=generator) < probability).flatten()
    if not len(chosen):
        return image, lesion, label
    edited, marked, told = image.clone(), lesion.clone(), label.clone()
    for at in (int(k) for k in chosen if annotated[k] > 0.5):
        without = bool(torch.rand(1, generator=generator) < 0.5)
        square = _window(image[at], lesion[at], bool(label[at] > 0.5), without, generator)
        if square is None:
            continue
        rows, columns = square
        size = list(image.shape[-2:])
        edited[at] = _resized(image[at, :, rows, columns], size)
        marked[at] = _resized(lesion[at, :, rows, columns], size)
        if without:
            told[at] = 0.0
    return edited, marked, told


def _window(
    image: Tensor, lesion: Tensor, tumour: bool, without: bool, generator: Generator
) -> tuple[slice, slice] | None:
    """Return a window on tissue that holds most of a tumour, or nothing of it, or None."""
    side = image.shape[-1]
    sure = (lesion > 0.9).sum().clamp_min(1)
    for _ in range(_TRIES):
        share = _WINDOW[0] + (_WINDOW[1] - _WINDOW[0]) * float(torch.rand(1, generator=generator))
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


def _resized(picture: Tensor, size: list[int]) -> Tensor:
    return functional.interpolate(picture[None], size, mode="bilinear", align_corners=False)[0]


def _with_lesion(lesion: Tensor, label: Tensor) -> Tensor:
    return torch.nonzero((lesion.amax(dim=(1, 2, 3)) > 0.9) & (label > 0.5)).flatten()


def _like(hosts: Tensor, pool: Tensor, view: Tensor, generator: Generator) -> Tensor:
    """Draw one of ``pool`` for each host, of the host's view where there is one."""
    drawn = []
    for host in hosts:
        same = pool[view[pool] == view[host]]
        among = same if len(same) else pool
        drawn.append(among[torch.randint(len(among), (1,), generator=generator)])
    return torch.cat(drawn)


def _feathered(lesion: Tensor) -> Tensor:
    """Return a patch's opacity: whole over the lesion and what is unsure, fading beside it."""
    whole = functional.max_pool2d((lesion > 0.25).float(), 7, stride=1, padding=3)
    return functional.avg_pool2d(whole, 7, stride=1, padding=3)


def _blend(host: Tensor, donor: Tensor, alpha: Tensor) -> Tensor:
    """Lay the donor's patch over the host, as bright against its rim as it was at home."""
    wide = functional.max_pool2d(alpha, 13, stride=1, padding=6)
    rim = (wide > 0.05) & (alpha < 0.5)

    def brightness(picture: Tensor) -> Tensor:
        counted = rim & (picture > 0.03)
        total = (picture * counted).flatten(1).sum(1)
        return (total / counted.flatten(1).sum(1).clamp_min(1)).clamp_min(0.05)

    ratio = (brightness(host) / brightness(donor)).clamp(0.6, 1.6)
    return (1 - alpha) * host + alpha * (donor * _wide(ratio)).clamp(0, 1)


def _recoloured(
    picture: Tensor, alpha: Tensor, probability: Tensor, generator: Generator
) -> Tensor:
    """Map intensities of pictures at random, ``probability`` ``[N]``, keeping lesions visible."""
    levels = 0.1 + 0.9 * torch.rand(len(picture), 5, generator=generator)
    mapped = through_knots(picture, levels)
    core = alpha > 0.95
    rim = (functional.max_pool2d(alpha, 13, stride=1, padding=6) > 0.05) & (alpha < 0.3)

    def level(of: Tensor, where: Tensor) -> Tensor:
        counted = where & (picture > DARK)
        return (of * counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp_min(1)

    beside = level(mapped, rim)
    apart = (level(mapped, core) - beside).abs() > _APART * beside
    drawn = torch.rand(len(picture), generator=generator).to(picture.device) < probability
    return torch.where(_wide(drawn & apart), mapped, picture)


def on_head(host: Tensor, alpha: Tensor, share: float) -> Tensor:
    """Tell ``[N]`` whose patch, of opacity ``alpha``, lies on the host's head to this share."""
    core = (alpha > 0.5).float()
    lit = ((host.mean(dim=1, keepdim=True) > DARK) * core).flatten(1).sum(1)
    return lit >= share * core.flatten(1).sum(1)


def _chance(n: int, probability: float, generator: Generator) -> Tensor:
    return torch.rand(n, generator=generator) < probability


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None, None]
