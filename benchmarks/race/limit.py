"""The limit: decode, prepare and forward in process, one process for each core.

No server on these cores can be faster with this reading, this preprocessing and this network.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

from tumorlens.inference.predictor import Predictor


def in_process(image: bytes, cores: int, seconds: float) -> float:
    """Return answers a second of ``cores`` processes that work on ``image`` for ``seconds``."""
    context = multiprocessing.get_context("spawn")
    barrier, rates = context.Barrier(cores), context.Queue()
    workers = [
        context.Process(target=_work, args=(image, seconds, barrier, rates)) for _ in range(cores)
    ]
    for worker in workers:
        worker.start()
    try:
        return sum(_received(rates, workers) for _ in workers)
    finally:
        for worker in workers:
            worker.join()


def _received(rates: Queue[float], workers: Sequence[multiprocessing.process.BaseProcess]) -> float:
    while rates.empty():
        if not any(worker.is_alive() for worker in workers) and rates.empty():
            raise RuntimeError("a process of the limit ended before its time")
        time.sleep(0.01)
    return rates.get()


def _work(image: bytes, seconds: float, barrier: Barrier, rates: Queue[float]) -> None:
    predictor = Predictor.open(threads=1)
    _answer(predictor, image)
    barrier.wait(120)
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        _answer(predictor, image)
        done += 1
    rates.put(done / (time.perf_counter() - begin))


def _answer(predictor: Predictor, image: bytes) -> None:
    predictor.infer(predictor.prepare(predictor.decode(image)).tensor[None])
