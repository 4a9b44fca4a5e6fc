"""The transform interface, from a batch and a generator to a new batch, and its composition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Generator, Tensor

from tumorlens.errors import ConfigError


@dataclass(frozen=True)
class Batch:
    """Training images with what is known of them. Transforms return new ones.

    Attributes:
        image: float32 ``[N, C, S, S]`` in 0..1.
        lesion: float32 ``[N, 1, S, S]``: 1 lesion, 0 background, between: ignore region.
        label: float32 ``[N]``: 1 tumour, 0 none.
        annotated: float32 ``[N]``: 1 where it is known which pixels are lesion.
        view: int64 ``[N]``: index in :data:`tumorlens.data.manifest.VIEWS`.
    """

    image: Tensor
    lesion: Tensor
    label: Tensor
    annotated: Tensor
    view: Tensor

    @classmethod
    def unlabelled(cls, image: Tensor, lesion: Tensor | None = None) -> Batch:
        """Return images of which nothing, or the lesions alone, is known."""
        n, zeros = len(image), torch.zeros(len(image), device=image.device)
        mask = image.new_zeros((n, 1, *image.shape[2:])) if lesion is None else lesion
        return cls(image, mask, zeros, zeros, zeros.long())


class Transform(Protocol):
    """A random change of a batch; the given batch and its tensors are never changed."""

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Return the changed batch; all randomness comes from ``generator``."""
        ...


class Compose:
    """Transforms one after the other."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Return the batch with every transform applied in order."""
        for transform in self.transforms:
            batch = transform(batch, generator)
        return batch


class Settings:
    """Base class of settings: numbers; those named ``…prob`` are probabilities."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a value that is no number, or a probability out of range."""
        for field in fields(self):  # type: ignore[arg-type]
            value, where = getattr(self, field.name), f"{type(self).__name__}.{field.name}"
            if isinstance(value, Settings):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"augment: {where} is {value!r}; give a number")
            if field.name.endswith("prob") and not 0 <= value <= 1:
                raise ConfigError(f"augment: {where} is {value}; give a probability from 0 to 1")


def uniform(shape: int | tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    """Draw float32 from ``low`` to ``high`` on the CPU, where all generators are."""
    size = (shape,) if isinstance(shape, int) else shape
    return torch.rand(size, generator=generator) * (high - low) + low


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """Return ``values`` ``[N]`` shaped ``[N, 1, …]`` and placed to be combined with ``like``."""
    return values.to(like.device).view(-1, *([1] * (like.ndim - 1)))


def interpolate_knots(x: Tensor, knots: Tensor) -> Tensor:
    """Map ``x`` (0..1) piecewise linearly through equally spaced ``knots`` ``[N, K]``, by row."""
    intervals = knots.shape[1] - 1
    position = (x.clamp(0, 1) * intervals).flatten(1)
    lower = position.floor().clamp_max(intervals - 1)
    index = lower.long()
    knots = knots.to(x.device)
    left, right = knots.gather(1, index), knots.gather(1, index + 1)
    return (left + (right - left) * (position - lower)).view_as(x)
