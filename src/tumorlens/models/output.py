"""The output of a network, and the pooling of a class map to a logit."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from tumorlens.errors import ConfigError

PoolingKind = Literal["mean", "topk"]


class Evidence(NamedTuple):
    """A network's output.

    Attributes:
        logit: float32 ``[N]``, log-odds of a tumour before calibration.
        map: float32 ``[N, h, w]`` in logit units, whose pooling is ``logit``; None for a
            network without a class map (the notebook's).
    """

    logit: Tensor
    map: Tensor | None


class MapPooling(torch.nn.Module):
    """Pool a class map ``[N, h, w]`` to logits ``[N]``.

    ``mean``: the average of all cells (a classic global-average-pooling head).
    ``topk``: the average of the ``k`` highest cells, independent of the lesion's size.
    """

    def __init__(self, kind: PoolingKind = "topk", k: int = 6) -> None:
        super().__init__()
        if kind not in ("mean", "topk"):
            raise ConfigError(f"pooling kind is {kind!r}; use mean or topk")
        if k < 1:
            raise ConfigError(f"pooling needs k >= 1, got k={k}")
        self.kind, self.k = kind, k

    def forward(self, evidence: Tensor) -> Tensor:
        """Return logits ``[N]`` of a map ``[N, h, w]``; ConfigError with fewer than k cells."""
        cells = evidence.flatten(1)
        if self.kind == "mean":
            return cells.mean(dim=1)
        if self.k > cells.shape[1]:
            raise ConfigError(
                f"pooling averages k = {self.k} cells, but the map has {cells.shape[1]}; "
                "lower k or enlarge the input"
            )
        return cells.topk(self.k, dim=1).values.mean(dim=1)

    def describe(self) -> dict[str, Any]:
        """Return the pooling as the model card states it."""
        return {"kind": self.kind} | ({"k": self.k} if self.kind == "topk" else {})
