"""Synthetic lesions in healthy images, with random shape, size and contrast, for any sequence.

The training data show tumours in few MRI sequences, and an inserted lesion keeps the appearance of
its own. A synthetic lesion is randomly brighter or darker than the tissue around it, solid or with
a core of another intensity, with or without oedema, and displaces its surroundings (mass effect).
Networks can learn from synthetic anomalies alone (Tan et al., Detecting outliers with foreign patch
interpolation, MELBA 2022; Hu et al., Label-free liver tumor segmentation, CVPR 2023). Decoys, which
have only the displacement or a faint smooth shading, stay healthy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional

from tumorlens.augmentation.lesions import DARK, on_head
from tumorlens.augmentation.transform import Batch, Settings

# Share of the selected images that get a lesion; the others get a decoy.
_LESION_SHARE = 0.7
# Range of a lesion's radius relative to the image's side, log-uniform.
_RADIUS = (0.03, 0.15)
# Smallest share of a lesion that lies on the head.
_ON_HEAD = 0.85
# Intensity difference from the surrounding tissue: range for a lesion, maximum for a decoy.
_STEP = (0.15, 0.6)
_FAINT = 0.06
# Index of the axial view; in the other views the brain is this upper share of the head.
_AXIAL = 0
_BRAIN = 0.67
# Probabilities of a different core, and of oedema.
_RING = 0.4
_OEDEMA = 0.5


@dataclass(frozen=True)
class RandSyntheticLesion(Settings):
    """Insert a synthetic lesion or a decoy into healthy images.

    An image that gets a lesion becomes a tumour with that outline, the oedema an ignore region.
    A lesion that would lie outside the head is not inserted.

    Attributes:
        prob: Of each healthy image.
    """

    prob: float = 0.0

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Return the batch with lesions and decoys inserted."""
        image, label = batch.image, batch.label
        healthy = torch.nonzero(label < 0.5).flatten()
        chosen = healthy[torch.rand(len(healthy), generator=generator) < self.prob]
        if not len(chosen):
            return batch
        host = image[chosen]
        synthetic = _SyntheticLesions(host, batch.view[chosen], generator)
        is_lesion = torch.rand(len(chosen), generator=generator) < _LESION_SHARE
        is_lesion = is_lesion.to(image.device)
        with_lesion = synthetic.blended(is_lesion)
        fits = synthetic.exists() & on_head(host, synthetic.body, _ON_HEAD)
        new_image, new_lesion, new_label = image.clone(), batch.lesion.clone(), label.clone()
        new_image[chosen[fits]] = with_lesion[fits]
        tumour = fits & is_lesion
        new_lesion[chosen[tumour]] = synthetic.outline()[tumour]
        new_label[chosen[tumour]] = 1.0
        return replace(batch, image=new_image, lesion=new_lesion, label=new_label)


class _SyntheticLesions:
    """One lesion for each host ``[N, C, S, S]``, its parts as opacities ``[N, 1, S, S]``."""

    def __init__(self, host: Tensor, view: Tensor, generator: Generator) -> None:
        self.generator, self.n, self.side = generator, len(host), host.shape[-1]
        self.device = host.device
        tissue = (host.mean(dim=1, keepdim=True) > DARK).float()
        self.radius = self.side * torch.exp(self._uniform(*(math.log(v) for v in _RADIUS)))
        self.rows, self.columns = self._centred(tissue, view)
        distance = self._distance(amplitude=0.3)
        self.width = self._uniform(0.05, 0.3)
        self.body = torch.sigmoid((1 - distance) / self.width * 3)
        core = self._uniform(0.4, 0.85)
        ring = self._chance(_RING)
        self.core = ring * torch.sigmoid((core - distance) / self.width * 3)
        reach = self._uniform(1.3, 2.2)
        extent = torch.sigmoid((reach - self._distance(amplitude=0.4)) * 6)
        on_tissue = functional.avg_pool2d(tissue, 3, stride=1, padding=1)
        self.oedema = self._chance(_OEDEMA) * self._uniform(0.3, 0.8) * extent * on_tissue
        self.host = self._displaced(host, distance)
        self.texture = 1 + 0.15 * self._noise(24)

    def outline(self) -> Tensor:
        """Return where the lesions lie: 1 lesion, 0 background, between: ignore region."""
        return torch.maximum(self.body, 0.5 * self.oedema.gt(0.1).float())

    def exists(self) -> Tensor:
        """Return ``[N]``, True where a lesion has any extent."""
        return (self.body > 0.5).flatten(1).any(dim=1)

    def blended(self, is_lesion: Tensor) -> Tensor:
        """Return the hosts with their lesions, or with a decoy where ``is_lesion`` is False."""
        around = self._level_around()
        step = self._step(around, self._uniform(*_STEP))
        other = self._step(around, self._uniform(0.0, _STEP[1]))
        opacity = self._uniform(0.6, 1.0)
        image = self.host + self.oedema * (around + 0.5 * step - self.host)
        body = (around + step) * self.texture
        body = body + self.core * ((around + other) * self.texture - body)
        image = image + opacity * self.body * (body - image)
        faint = self._chance(0.5) * self.oedema * self._uniform(-_FAINT, _FAINT)
        decoy = self.host + faint
        return torch.where(is_lesion[:, None, None, None], image, decoy).clamp(0, 1)

    def _level_around(self) -> Tensor:
        counted = (self.body + self.oedema > 0.3).float() * (self.host.mean(1, keepdim=True) > DARK)
        total = (self.host * counted).sum(dim=(1, 2, 3), keepdim=True)
        return total / (counted.sum(dim=(1, 2, 3), keepdim=True) * self.host.shape[1]).clamp_min(1)

    def _step(self, around: Tensor, size: Tensor) -> Tensor:
        """Return a step up or down that stays between a dark grey and white."""
        up = self._chance(0.5) > 0.5
        up = torch.where(around - size < 0.04, True, torch.where(around + size > 1, False, up))
        return torch.where(up, size, -size)

    def _centred(self, tissue: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows and columns from a random place inside the head, in pixels.

        What is not seen from above has a face and a neck below: there the lower third is left out.
        """
        inside = functional.avg_pool2d(tissue, 15, stride=1, padding=7) > 0.9
        height = inside.any(dim=3, keepdim=True).float().cumsum(dim=2)
        upper = height <= _BRAIN * height[:, :, -1:]
        inside = inside & (upper | (view == _AXIAL).view(-1, 1, 1, 1))
        score = self._rand(self.n, self.side * self.side) * inside.flatten(1).float()
        place = score.argmax(dim=1)
        along = torch.arange(self.side, device=self.device, dtype=torch.float32)
        row, column = place // self.side, place % self.side
        rows = along.view(1, 1, -1, 1) - row.view(-1, 1, 1, 1)
        columns = along.view(1, 1, 1, -1) - column.view(-1, 1, 1, 1)
        return rows.expand(-1, -1, -1, self.side), columns.expand(-1, -1, self.side, -1)

    def _distance(self, amplitude: float) -> Tensor:
        """Return the distance from the centre, 1 at the edge of a ragged, stretched disc."""
        angle, stretch = self._uniform(0, math.pi), torch.exp(self._uniform(-0.35, 0.35))
        u = (self.columns * angle.cos() + self.rows * angle.sin()) * stretch
        v = (self.rows * angle.cos() - self.columns * angle.sin()) / stretch
        ragged = torch.exp(amplitude * self._noise(10))
        return (u**2 + v**2).sqrt() / self.radius * ragged

    def _displaced(self, host: Tensor, distance: Tensor) -> Tensor:
        """Return the hosts with their tissue pushed away from the centre (mass effect)."""
        push = self._uniform(0.0, 0.5) * torch.exp(-((distance / 1.5) ** 2))
        along = (torch.arange(self.side, device=self.device) + 0.5) * 2 / self.side - 1
        rows = along.view(1, 1, -1, 1) - self.rows * push * 2 / self.side
        columns = along.view(1, 1, 1, -1) - self.columns * push * 2 / self.side
        grid = torch.cat([columns, rows], dim=1).permute(0, 2, 3, 1)
        return functional.grid_sample(host, grid, align_corners=False, padding_mode="border")

    def _noise(self, knots: int) -> Tensor:
        """Return smooth noise of deviation about one, ``[N, 1, S, S]``."""
        coarse = torch.randn(self.n, 1, knots, knots, generator=self.generator).to(self.device)
        size = (self.side, self.side)
        return functional.interpolate(coarse, size, mode="bicubic", align_corners=True)

    def _uniform(self, low: float, high: float) -> Tensor:
        return (self._rand(self.n, 1, 1, 1) * (high - low)) + low

    def _chance(self, probability: float) -> Tensor:
        return (self._rand(self.n, 1, 1, 1) < probability).float()

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator).to(self.device)
