"""Forward passes with ONNX Runtime, and with torch in eager mode if installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tumorlens.bench.load import Timing, repeat
from tumorlens.inference.predictor import Predictor
from tumorlens.modelfile import ModelCard

Batch = NDArray[np.float32]


def measure_forward(
    model: Path | None, batch: Batch, *, threads: int, times: int, seconds: float
) -> list[Timing]:
    """Time one forward pass of ``batch`` float32 ``[N, C, h, w]`` on ``threads`` threads.

    torch, if installed, runs the same architecture with random weights, in eager mode under
    ``inference_mode``; architectures outside the registry are skipped. Both are warmed up first.
    """
    predictor = Predictor.open(model, threads=threads)
    size = f"batch {len(batch)}, {threads} thread{'s' if threads > 1 else ''}"
    runs: dict[str, Callable[[], object]] = {
        f"ONNX Runtime, {size}": partial(predictor.infer, batch)
    }
    with _torch_threads(threads):
        if has_torch() and (eager := _eager(predictor.card, batch)):
            runs[f"torch eager, {size}"] = eager
        for run in runs.values():
            repeat("warm up", run, times=10, seconds=2.0)
        return [repeat(name, run, times=times, seconds=seconds) for name, run in runs.items()]


def has_torch() -> bool:
    """Return whether torch is installed."""
    return find_spec("torch") is not None


def _eager(card: ModelCard, batch: Batch) -> Callable[[], object] | None:
    import torch

    from tumorlens.models.registry import ARCHITECTURES, build

    if card.architecture not in ARCHITECTURES:
        return None
    arguments = {name: value for name, value in card.architecture_args.items() if name != "weights"}
    network = build(card.architecture, **arguments).eval()
    image = torch.from_numpy(batch)

    def run() -> object:
        with torch.inference_mode():
            return network(image)

    return run


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    if not has_torch():
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
