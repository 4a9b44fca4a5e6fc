"""Grey levels, contrast and MRI artefacts. Names are MONAI's where MONAI has the transform.

Ours act on whole batches ``[N, C, S, S]`` and take a generator; MONAI's act on one image at a time
and hold a random state (`benchmarks/augmentation.py` compares their speed).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional

from tumorlens.augmentation.transform import (
    Batch,
    Settings,
    interpolate_knots,
    per_image,
    uniform,
)

# Brighter than this is head, darker is air.
_HEAD = 0.06


@dataclass(frozen=True)
class IntensityTransform(Settings, ABC):
    """A transform of the grey levels of some images of a batch, kept within 0..1."""

    prob: float = 0.0

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Return the batch with each image changed at the probability ``prob``."""
        if self.prob == 0:
            return batch
        chosen = torch.rand(len(batch.image), generator=generator) < self.prob
        if not chosen.any():
            return batch
        image = batch.image.clone()
        image[chosen] = self.changed(batch.image[chosen], batch.lesion[chosen], generator)
        return replace(batch, image=image)

    def changed(self, image: Tensor, lesion: Tensor, generator: Generator) -> Tensor:
        """Return images ``[K, C, S, S]`` changed, in 0..1; ``lesion`` is ``[K, 1, S, S]``."""
        return self.apply(image, generator).clamp(0, 1)

    @abstractmethod
    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Return every image ``[K, C, S, S]`` changed; values may leave 0..1."""


@dataclass(frozen=True)
class RandSimulateLowResolution(IntensityTransform):
    """Down- and up-sampling, to pixels up to ``max_zoom`` (> 1) times as large."""

    max_zoom: float = 3.0

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Return the images with less resolution, one factor for all."""
        factor = float(uniform(1, 1.2, self.max_zoom, generator))
        small = max(16, round(image.shape[-1] / factor))
        low = functional.interpolate(image, (small, small), mode="area")
        return functional.interpolate(low, image.shape[-2:], mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class RandGibbsNoise(IntensityTransform):
    """Ringing from cutting off high spatial frequencies (Gibbs phenomenon)."""

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Return the images from the lowest 30 to 80 % of their frequencies."""
        side = image.shape[-1]
        frequency = torch.fft.fftfreq(side).abs().to(image.device)
        limit = float(uniform(1, 0.15, 0.4, generator))
        keep = (frequency[:, None] <= limit) & (frequency[None, : side // 2 + 1] <= limit)
        kept: Tensor = torch.fft.irfft2(torch.fft.rfft2(image) * keep, s=image.shape[-2:])
        return kept


@dataclass(frozen=True)
class RandIntensityRemap(IntensityTransform):
    """Piecewise-linear map through random levels, in any order: as of another sequence."""

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Return the images through four random levels each; 0 stays 0."""
        levels = torch.rand(len(image), 4, generator=generator)
        return interpolate_knots(image, torch.cat([torch.zeros(len(image), 1), levels], dim=1))


@dataclass(frozen=True)
class RandHistogramShift(IntensityTransform):
    """Monotone piecewise-linear map through random knots: the order of grey levels stays."""

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Return the images through five random knots each; 0 stays 0 and 1 stays 1."""
        steps = torch.rand(len(image), 5, generator=generator).add(0.1)
        knots = torch.cat([torch.zeros(len(image), 1), steps.cumsum(1)], dim=1)
        return interpolate_knots(image, knots / knots[:, -1:])


@dataclass(frozen=True)
class RandInvert(IntensityTransform):
    """Inverted contrast inside the head; air stays dark.

    Attributes:
        t2_prob: Share of the inverted images that look like T2: fluid inside the head turns
            bright too, and lesions show in the brighter of both contrasts.
    """

    t2_prob: float = 0.0

    def changed(self, image: Tensor, lesion: Tensor, generator: Generator) -> Tensor:
        """Return the images inverted, some of them like T2."""
        inverted = super().changed(image, lesion, generator)
        if self.t2_prob == 0:
            return inverted
        chosen = torch.rand(len(image), generator=generator) < self.t2_prob
        turned = torch.where(_enclosed(image > _HEAD), (1 - image).clamp(0, 1), inverted)
        turned = turned + lesion * (torch.maximum(image, inverted) - turned)
        return torch.where(per_image(chosen, image), turned, inverted)

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Return the images with the head's contrast inverted to 60 to 100 %."""
        inside = functional.avg_pool2d((image > _HEAD).float(), 9, stride=1, padding=4)
        strength = per_image(uniform(len(image), 0.6, 1.0, generator), image)
        return torch.where(inside > 0.6, strength * (1 - image) + (1 - strength) * image, image)


@dataclass(frozen=True)
class RandAdjustContrast(IntensityTransform):
    """Power law ``x ** exp(u)``, ``u`` uniform within ± ``log_gamma``."""

    log_gamma: float = 0.4

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Return the images with their contrast adjusted."""
        power = torch.exp(uniform(len(image), -self.log_gamma, self.log_gamma, generator))
        return image.clamp_min(1e-6) ** per_image(power, image)


@dataclass(frozen=True)
class RandBiasField(IntensityTransform):
    """Smooth multiplicative coil field ``exp(f)``, ``f`` of standard deviation ``coefficient``."""

    coefficient: float = 0.5

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Return the images in a field of 4 × 4 random knots."""
        coarse = torch.randn(len(image), 1, 4, 4, generator=generator) * self.coefficient
        field = functional.interpolate(coarse, image.shape[-2:], mode="bicubic", align_corners=True)
        return image * torch.exp(field.to(image.device))


@dataclass(frozen=True)
class RandRicianNoise(IntensityTransform):
    """Magnitude of a signal with Gaussian noise of up to ``std`` in both channels."""

    std: float = 0.06

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Return the images with noise."""
        sigma = per_image(uniform(len(image), 0.0, self.std, generator), image)
        real = image + sigma * torch.randn(image.shape, generator=generator).to(image.device)
        imaginary = sigma * torch.randn(image.shape, generator=generator).to(image.device)
        return torch.sqrt(real**2 + imaginary**2)


@dataclass(frozen=True)
class RandBorder(IntensityTransform):
    """Bars or a frame of one brightness along the image's edges, as screenshots have."""

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Return the images with bars of up to 6 pixels along random edges."""
        image = image.clone()
        for row in range(len(image)):
            level = float(torch.rand(1, generator=generator))
            inset, width = (int(v) for v in torch.randint(0, 6, (2,), generator=generator))
            edges = torch.rand(4, generator=generator) < 0.5
            band = slice(inset, inset + width + 1)
            for turn in torch.nonzero(edges).flatten().tolist():
                image[row] = torch.rot90(image[row], turn, (1, 2))
                image[row, :, band, :] = level
                image[row] = torch.rot90(image[row], -turn, (1, 2))
        return image


@dataclass(frozen=True)
class RandCoarseDropout(IntensityTransform):
    """A square of ``size``, as a share of the side, set to 0."""

    size: float = 0.2

    def apply(self, image: Tensor, generator: Generator) -> Tensor:
        """Return the images with one square blank, at the same place in all."""
        side = max(1, round(self.size * image.shape[-1]))
        corner = torch.randint(0, image.shape[-1] - side + 1, (2,), generator=generator)
        top, left = (int(v) for v in corner)
        image = image.clone()
        image[..., top : top + side, left : left + side] = 0
        return image


def _enclosed(mask: Tensor) -> Tensor:
    """Return the pixels with mask ``[N, C, S, S]`` on all four sides, and the mask itself."""
    solid = functional.avg_pool2d(mask.float(), 5, stride=1, padding=2) > 0.6
    seen = [
        solid.int().flip(axis).cummax(axis).values.flip(axis)
        if back
        else solid.int().cummax(axis).values
        for axis in (-1, -2)
        for back in (False, True)
    ]
    enclosed: Tensor = torch.stack(seen).amin(dim=0) > 0
    return enclosed
