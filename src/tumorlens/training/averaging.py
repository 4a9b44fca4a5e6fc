"""An average of the weights over the steps, which forgets where training began."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Averaging = Callable[[list[Tensor], list[Tensor], Tensor | int], None]


def warmed_up(decay: float) -> Averaging:
    """Return a ``multi_avg_fn`` for Lightning's ``WeightAveraging`` (torch's ``AveragedModel``).

    An exponential moving average whose decay after ``n`` steps is
    ``min(decay, (1 + n) / (10 + n))``, as in TensorFlow's
    ``ExponentialMovingAverage(num_updates=n)``. With a fixed decay of 0.998 a run of 1,200
    steps would end with 9 % of its random first weights, and Lightning's ``EMAWeightAveraging``
    and torch's ``get_ema_multi_avg_fn`` have no other. All tensors are updated at once: asked
    for each of them, the number of steps would make a GPU wait a hundred times a step.

    Args:
        decay: 0..1, reached after about ``10 / (1 - decay)`` steps.
    """

    def average(kept: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        # One list holds tensors of one type and device; counters are followed, not averaged.
        if not kept[0].is_floating_point():
            torch._foreach_copy_(kept, current)
            return
        steps = int(count)
        rate = 1 - min(decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(kept, current, rate)

    return average
