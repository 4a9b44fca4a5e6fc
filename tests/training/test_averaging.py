"""The average of the weights follows at first and lags later."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from tumorlens.training.averaging import warmed_up


@pytest.mark.parametrize(
    ("count", "kept"),
    [
        (0, 0.1),  # (1 + 0) / (10 + 0)
        (8, 0.5),  # 9 / 18
        (10**6, 0.9),  # the given decay
    ],
)
def test_the_decay_grows_to_the_given_one(count: int, kept: float) -> None:
    averaged = torch.tensor([1.0])
    warmed_up(0.9)([averaged], [torch.tensor([0.0])], count)
    assert averaged.item() == pytest.approx(kept, abs=1e-5)


def test_the_first_weights_are_forgotten() -> None:
    network = nn.BatchNorm1d(1)
    averaged = AveragedModel(network, multi_avg_fn=warmed_up(0.998), use_buffers=True)
    with torch.no_grad():
        network.weight.fill_(5.0)
        network.running_mean.fill_(3.0)  # type: ignore[union-attr]
    for _ in range(1200):
        averaged.update_parameters(network)
    assert averaged.module.weight.item() == pytest.approx(5.0, abs=1e-3)
    assert averaged.module.running_mean.item() == pytest.approx(3.0, abs=1e-3)


def test_counters_are_followed() -> None:
    network = nn.BatchNorm1d(1)
    averaged = AveragedModel(network, multi_avg_fn=warmed_up(0.998), use_buffers=True)
    for count in range(5):
        network.num_batches_tracked.fill_(count)  # type: ignore[union-attr]
        averaged.update_parameters(network)
    assert averaged.module.num_batches_tracked.item() == 4
