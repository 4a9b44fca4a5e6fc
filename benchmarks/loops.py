"""The timer and the baseline training loops for `benchmarks.training_speed`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tumorlens.data.manifest import Record
from tumorlens.training.decoding import Parts
from tumorlens.training.module import Classifier


def now() -> tuple[float, float]:
    """Return CPU seconds of the process (all threads) and wall-clock seconds."""
    return time.process_time(), time.perf_counter()


@dataclass
class Clock:
    """Times, from `now`, at which each epoch began and its last step ended."""

    starts: list[tuple[float, float]] = field(default_factory=list)
    ends: list[tuple[float, float]] = field(default_factory=list)

    def steps(self) -> tuple[float, float]:
        """Return median seconds of an epoch's steps, without the first (warm-up) epoch."""
        return self._median(self.starts[1:], self.ends[1:])

    def epochs(self) -> tuple[float, float]:
        """Return median seconds from one epoch's start to the next, without the first."""
        return self._median(self.starts[1:-1], self.starts[2:])

    @staticmethod
    def _median(begun: list[tuple[float, float]], done: list[tuple[float, float]]) -> Any:
        pairs = [
            [b - a for a, b in zip(first, last, strict=True)]
            for first, last in zip(begun, done, strict=False)
        ]
        return tuple(statistics.median(column) for column in zip(*pairs, strict=True))


@contextmanager
def clocked() -> Iterator[Clock]:
    """Record the epochs of the training inside the context."""
    clock, begin = Clock(), Classifier.on_train_epoch_start

    def started(self: Classifier) -> None:
        clock.starts.append(now())
        begin(self)

    def ended(_: Classifier) -> None:
        clock.ends.append(now())

    with (
        patch.object(Classifier, "on_train_epoch_start", started),
        patch.object(Classifier, "on_train_epoch_end", ended),
    ):
        yield clock


class Decoded(Dataset[tuple[Tensor, Tensor]]):
    """Decoded scans, one item at a time."""

    def __init__(self, parts: Parts) -> None:
        self.images = np.asarray(parts.inputs["train"])
        self.labels = [float(record.label or 0) for record in parts.records["train"]]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.tensor(self.images[index]), torch.tensor(self.labels[index])


class FromFiles(Dataset[tuple[Tensor, Tensor]]):
    """The notebook's items, read, decoded, resized and scaled on every access."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        record = self.records[index]
        pixels = cv2.cvtColor(cv2.imread(str(record.path)), cv2.COLOR_BGR2RGB)
        pixels = cv2.resize(pixels, (128, 128)).transpose(2, 0, 1).astype(np.float32) / 255
        return torch.from_numpy(pixels), torch.tensor(float(record.label or 0))


def plain_loop(
    network: nn.Module,
    answer: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    loader: DataLoader[tuple[Tensor, Tensor]],
    epochs: int,
) -> Clock:
    """Run a plain training loop for one extra epoch, since the first is a warm-up."""
    clock = Clock()
    network.train()
    for _ in range(epochs + 1):
        clock.starts.append(now())
        for image, label in loader:
            optimizer.zero_grad()
            loss(answer(image), label).backward()
            optimizer.step()
        clock.ends.append(now())
    clock.starts.append(now())
    return clock
