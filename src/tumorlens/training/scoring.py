"""The logits of a network for prepared scans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tumorlens.data.manifest import Record
from tumorlens.runs.scores import Scores, score_logits


@torch.no_grad()
def logits_of(
    network: nn.Module, inputs: NDArray[np.float32], device: torch.device, batch_size: int = 64
) -> NDArray[np.float64]:
    """Return float32-computed logits ``[N]`` of ``inputs`` ``[N, C, S, S]``."""
    network = network.eval().float().to(device)
    chunks = [
        network(torch.from_numpy(np.array(inputs[start : start + batch_size])).to(device)).logit
        for start in range(0, len(inputs), batch_size)
    ]
    return torch.cat(chunks).double().cpu().numpy() if chunks else np.zeros(0)


def score(
    network: nn.Module,
    records: Sequence[Record],
    inputs: NDArray[np.float32],
    device: torch.device,
) -> Scores:
    """Return the network's scores on records with known labels."""
    return score_logits(logits_of(network, inputs, device), records)
