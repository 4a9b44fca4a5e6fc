"""Exponential moving average of the weights, with a decay that warms up."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Averaging = Callable[[list[Tensor], list[Tensor], Tensor | int], None]


def warmed_up(decay: float) -> Averaging:
    """Return a ``multi_avg_fn`` for Lightning's ``WeightAveraging`` (torch's ``AveragedModel``).

    An exponential moving average whose decay after ``n`` steps is
    ``min(decay, (1 + n) / (10 + n))``, as in TensorFlow's
    ``ExponentialMovingAverage(num_updates=n)``. Lightning's ``EMAWeightAveraging`` and torch's
    ``get_ema_multi_avg_fn`` have a fixed decay only: at 0.998, the average after 1,200 steps still
    holds 9 % of the random initial weights. All tensors are updated at once, because reading the
    step count per tensor would synchronise the GPU a hundred times per step.

    Args:
        decay: 0..1, reached after about ``10 / (1 - decay)`` steps.
    """

    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        # A list has one dtype and device; integer counters are copied, not averaged.
        if not averaged[0].is_floating_point():
            torch._foreach_copy_(averaged, current)
            return
        steps = int(count)
        rate = 1 - min(decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(averaged, current, rate)

    return average
