"""Flips, rotation, zoom, shift and elastic deformation in one resampling of image and lesion."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional

from tumorlens.augmentation.transform import Batch, Settings, uniform
from tumorlens.errors import ConfigError

# Range of the number of control points along a side of the deformation field (upper end excluded).
_KNOTS = (4, 9)


@dataclass(frozen=True)
class RandAffineElastic(Settings):
    """Move image and lesion together, as MONAI's ``Rand2DElastic`` does, on the whole batch.

    Attributes:
        flip_prob: Left–right flip.
        flip_vertical_prob: Up–down flip.
        rotation: Largest rotation either way, degrees.
        scale: Largest zoom either way, as a logarithm: 0.15 is 1 / 1.16 to 1.16.
        translation: Largest shift either way, as a share of the side.
        resolution_ratio: Train–test resolution ratio, > 0: average size of heads relative to
            inference (Touvron et al., NeurIPS 2019).
        elastic_prob: Smooth random deformation (Simard et al., ICDAR 2003).
        elastic_strength: Standard deviation of the relative stretch between two knots.

    Raises `ConfigError` for a ``resolution_ratio`` that is not above 0.
    """

    flip_prob: float = 0.0
    flip_vertical_prob: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    translation: float = 0.0
    resolution_ratio: float = 1.0
    elastic_prob: float = 0.0
    elastic_strength: float = 0.2

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        if not self.resolution_ratio > 0:
            raise ConfigError(
                f"augment.geometry.resolution_ratio is {self.resolution_ratio}; give a number "
                "above 0"
            )

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Return the batch with image and lesion resampled by the same field."""
        return self.resample(batch, generator, batch.image.shape[-1])

    def resample(self, batch: Batch, generator: Generator, size: int) -> Batch:
        """Do the same with an output of ``size`` × ``size`` pixels, at most the input's size."""
        image, n, g = batch.image, len(batch.image), generator
        flip_x = torch.where(torch.rand(n, generator=g) < self.flip_prob, -1.0, 1.0)
        flip_y = torch.where(torch.rand(n, generator=g) < self.flip_vertical_prob, -1.0, 1.0)
        angle = uniform(n, -self.rotation, self.rotation, g) * math.pi / 180
        zoom = torch.exp(uniform(n, -self.scale, self.scale, g)) / self.resolution_ratio
        shift = uniform((n, 2), -2 * self.translation, 2 * self.translation, g)
        cos, sin = angle.cos() * zoom, angle.sin() * zoom
        rows = (
            torch.stack([cos * flip_x, -sin * flip_y, shift[:, 0]], dim=1),
            torch.stack([sin * flip_x, cos * flip_y, shift[:, 1]], dim=1),
        )
        theta = torch.stack(rows, dim=1).to(image.device)
        both = torch.cat([image, batch.lesion.to(image.dtype)], dim=1)
        if size < both.shape[-1]:
            # Area averaging first, since sampling alone would skip pixels and thus small lesions.
            both = functional.interpolate(both, (size, size), mode="area")
        grid = functional.affine_grid(theta, list(both.shape), align_corners=False)
        if self.elastic_prob > 0:
            grid = grid + self._deformation(n, both.shape[-1], g).to(grid.device)
        moved = functional.grid_sample(both, grid, align_corners=False)
        channels = image.shape[1]
        return replace(batch, image=moved[:, :channels], lesion=moved[:, channels:])

    def _deformation(self, n: int, side: int, g: Generator) -> Tensor:
        """Draw smooth displacements ``[N, side, side, 2]``, in halves of the side; some are 0.

        Independent displacements of knots, whose number is drawn for each batch, are interpolated
        bicubically. Their standard deviation is proportional to the distance of the knots, so that
        the stretch does not depend on their number.
        """
        knots = int(torch.randint(*_KNOTS, (1,), generator=g))
        chosen = (torch.rand(n, generator=g) < self.elastic_prob).float()
        # Neighbouring knots differ by sqrt(2) deviations over 2 / (knots - 1) of the half side.
        deviation = chosen * self.elastic_strength * math.sqrt(2) / (knots - 1)
        field = torch.randn((n, 2, knots, knots), generator=g) * deviation.view(n, 1, 1, 1)
        spread = functional.interpolate(field, (side, side), mode="bicubic", align_corners=True)
        return spread.permute(0, 2, 3, 1)
