"""Augmentation of whole batches on tensors: geometry, intensity and MRI's own artefacts.

It runs inside the training step, so it can only ever see training images, and it takes a
generator, so a step's randomness depends on (seed, epoch, batch) and not on history.
Whole-batch tensor code is used instead of per-image transforms because the network and
the augmentation share the same few cores.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from tumorlens.augmentation.policy import AugmentSpec

__all__ = ["Augment", "AugmentSpec", "through_knots"]

# Knots along a side of the field that stretches a picture: from a half to an eighth of the head.
_KNOTS = (4, 9)


class Augment:
    """Apply an :class:`AugmentSpec` to a batch.

    ``image`` is float32 ``[N, C, S, S]`` in 0..1 and stays so; ``lesion`` is float32
    ``[N, 1, S, S]`` (1 lesion, 0 none, between: unsure) and moves with the geometry.
    """

    def __init__(self, spec: AugmentSpec) -> None:
        self.spec = spec

    def __call__(
        self, image: Tensor, lesion: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the augmented image and lesion; the inputs are not changed."""
        image, lesion = self.geometry(image, lesion, generator)
        return self.intensity(image, generator, lesion), lesion

    def intensity(
        self, image: Tensor, generator: Generator, lesion: Tensor | None = None
    ) -> Tensor:
        """Return the batch with everything but the geometry applied."""
        spec = self.spec
        steps = (
            (spec.p_blur, self._blur),
            (spec.p_gibbs, self._gibbs),
            (spec.p_contrast, self._contrast),
            (spec.p_remap, self._remap),
            (spec.p_invert, self._invert),
            (spec.p_gamma, self._gamma),
            (spec.p_bias, self._bias),
            (spec.p_noise, self._noise),
            (spec.p_border, self._border),
            (spec.p_cutout, self._cutout),
        )
        for probability, step in steps:
            chosen = torch.rand(len(image), generator=generator) < probability
            if probability > 0 and chosen.any():
                changed = step(image[chosen], generator).clamp(0, 1)
                if step == self._invert and lesion is not None and spec.t2_like > 0:
                    changed = self._as_t2(image[chosen], changed, lesion[chosen], generator)
                image = image.clone()
                image[chosen] = changed
        return image

    def geometry(
        self, image: Tensor, lesion: Tensor, g: Generator, side: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return image and lesion flipped, turned, zoomed, shifted and stretched together.

        ``side`` is that of the pictures returned, by default that of those given.
        """
        spec, n = self.spec, len(image)
        flip_x = torch.where(torch.rand(n, generator=g) < spec.p_flip, -1.0, 1.0)
        flip_y = torch.where(torch.rand(n, generator=g) < spec.p_flip_vertical, -1.0, 1.0)
        angle = _uniform(n, -spec.rotation, spec.rotation, g) * math.pi / 180
        zoom = torch.exp(_uniform(n, -spec.scale, spec.scale, g)) / spec.enlarge
        shift = _uniform((n, 2), -2 * spec.shift, 2 * spec.shift, g)
        cos, sin = angle.cos() * zoom, angle.sin() * zoom
        rows = (
            torch.stack([cos * flip_x, -sin * flip_y, shift[:, 0]], dim=1),
            torch.stack([sin * flip_x, cos * flip_y, shift[:, 1]], dim=1),
        )
        theta = torch.stack(rows, dim=1).to(image.device)
        both = torch.cat([image, lesion.to(image.dtype)], dim=1)
        if side is not None and side < both.shape[-1]:
            # Averaged first: sampling alone would skip pixels, and fine lesions with them.
            both = functional.interpolate(both, (side, side), mode="area")
        grid = functional.affine_grid(theta, list(both.shape), align_corners=False)
        if spec.p_elastic > 0:
            grid = grid + self._stretch(n, both.shape[-1], g).to(grid.device)
        moved = functional.grid_sample(both, grid, align_corners=False)
        return moved[:, : image.shape[1]], moved[:, image.shape[1] :]

    def _stretch(self, n: int, side: int, g: Generator) -> Tensor:
        """Draw smooth displacements ``[N, side, side, 2]``, in halves of the side; some are 0.

        A field of independent knots, a new number of them for each batch, is spread by cubic
        splines. The knots' standard deviation keeps the same ratio to their distance, so a fine
        field moves things less far and stretches them as much.
        """
        knots = int(torch.randint(*_KNOTS, (1,), generator=g))
        chosen = (torch.rand(n, generator=g) < self.spec.p_elastic).float()
        # Neighbouring knots differ by sqrt(2) deviations over 2 / (knots - 1) of the half side.
        deviation = chosen * self.spec.elastic * math.sqrt(2) / (knots - 1)
        field = torch.randn((n, 2, knots, knots), generator=g) * deviation.view(n, 1, 1, 1)
        spread = functional.interpolate(field, (side, side), mode="bicubic", align_corners=True)
        return spread.permute(0, 2, 3, 1)

    def _gamma(self, x: Tensor, g: Generator) -> Tensor:
        power = torch.exp(_uniform(len(x), -self.spec.gamma, self.spec.gamma, g))
        return x.clamp_min(1e-6) ** _column(power, x)

    def _remap(self, x: Tensor, g: Generator) -> Tensor:
        """Piecewise-linear monotone map through five random knots, 0 → 0."""
        steps = torch.rand(len(x), 5, generator=g).add(0.1)
        knots = torch.cat([torch.zeros(len(x), 1), steps.cumsum(1)], dim=1)
        return through_knots(x, knots / knots[:, -1:])

    def _contrast(self, x: Tensor, g: Generator) -> Tensor:
        """Piecewise-linear map through four random levels, 0 → 0: as of another sequence."""
        levels = torch.rand(len(x), 4, generator=g)
        return through_knots(x, torch.cat([torch.zeros(len(x), 1), levels], dim=1))

    def _invert(self, x: Tensor, g: Generator) -> Tensor:
        """Turn the head's contrast over; what is dark outside stays dark."""
        inside = functional.avg_pool2d((x > 0.06).float(), 9, stride=1, padding=4)
        strength = _column(_uniform(len(x), 0.6, 1.0, g), x)
        turned = strength * (1 - x) + (1 - strength) * x
        result: Tensor = torch.where(inside > 0.6, turned, x)
        return result

    def _as_t2(self, before: Tensor, after: Tensor, lesion: Tensor, g: Generator) -> Tensor:
        """Make some inverted pictures show fluid bright, and lesions in the brighter contrast."""
        chosen = torch.rand(len(after), generator=g) < self.spec.t2_like
        turned = torch.where(_enclosed(before > 0.06), (1 - before).clamp(0, 1), after)
        turned = turned + lesion * (torch.maximum(before, after) - turned)
        return torch.where(_column(chosen, after), turned, after)

    def _bias(self, x: Tensor, g: Generator) -> Tensor:
        coarse = torch.randn(len(x), 1, 4, 4, generator=g) * self.spec.bias
        field = functional.interpolate(coarse, x.shape[-2:], mode="bicubic", align_corners=True)
        return x * torch.exp(field.to(x.device))

    def _noise(self, x: Tensor, g: Generator) -> Tensor:
        """Rician: the magnitude of a signal with Gaussian noise in both channels."""
        sigma = _column(_uniform(len(x), 0.0, self.spec.noise, g), x)
        real = x + sigma * torch.randn(x.shape, generator=g).to(x.device)
        imaginary = sigma * torch.randn(x.shape, generator=g).to(x.device)
        return torch.sqrt(real**2 + imaginary**2)

    def _blur(self, x: Tensor, g: Generator) -> Tensor:
        factor = float(_uniform(1, 1.2, self.spec.blur, g))
        small = max(16, round(x.shape[-1] / factor))
        low = functional.interpolate(x, (small, small), mode="area")
        return functional.interpolate(low, x.shape[-2:], mode="bilinear", align_corners=False)

    def _gibbs(self, x: Tensor, g: Generator) -> Tensor:
        side = x.shape[-1]
        frequency = torch.fft.fftfreq(side).abs().to(x.device)
        limit = float(_uniform(1, 0.15, 0.4, g))
        keep = (frequency[:, None] <= limit) & (frequency[None, : side // 2 + 1] <= limit)
        kept: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * keep, s=x.shape[-2:])
        return kept

    def _cutout(self, x: Tensor, g: Generator) -> Tensor:
        side = max(1, round(self.spec.cutout * x.shape[-1]))
        top, left = (int(v) for v in torch.randint(0, x.shape[-1] - side + 1, (2,), generator=g))
        x = x.clone()
        x[..., top : top + side, left : left + side] = 0
        return x

    def _border(self, x: Tensor, g: Generator) -> Tensor:
        """Draw a bar or frame of one brightness along random edges."""
        x = x.clone()
        for row in range(len(x)):
            level = float(torch.rand(1, generator=g))
            inset, width = (int(v) for v in torch.randint(0, 6, (2,), generator=g))
            edges = torch.rand(4, generator=g) < 0.5
            band = slice(inset, inset + width + 1)
            for turn in torch.nonzero(edges).flatten().tolist():
                x[row] = torch.rot90(x[row], turn, (1, 2))
                x[row, :, band, :] = level
                x[row] = torch.rot90(x[row], -turn, (1, 2))
        return x


def _enclosed(mask: Tensor) -> Tensor:
    """Return what has pixels of a mask ``[N, C, S, S]`` on all four sides of it, or is one."""
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


def _uniform(shape: int | tuple[int, ...], low: float, high: float, g: Generator) -> Tensor:
    size = (shape,) if isinstance(shape, int) else shape
    return torch.rand(size, generator=g) * (high - low) + low


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.device).view(-1, *([1] * (like.ndim - 1)))


def through_knots(x: Tensor, knots: Tensor) -> Tensor:
    """Interpolate ``x`` (0..1) through equally spaced ``knots`` ``[N, K]``, row by row."""
    intervals = knots.shape[1] - 1
    position = (x.clamp(0, 1) * intervals).flatten(1)
    lower = position.floor().clamp_max(intervals - 1)
    index = lower.long()
    knots = knots.to(x.device)
    left, right = knots.gather(1, index), knots.gather(1, index + 1)
    return (left + (right - left) * (position - lower)).view_as(x)
