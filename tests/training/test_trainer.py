"""What Lightning's trainer is given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tumorlens.runs.compose import compose_config
from tumorlens.runs.config import RunConfig
from tumorlens.training import trainer
from tumorlens.training.trainer import fastest_precision, loader_workers


@pytest.mark.parametrize(
    ("accelerator", "tiles", "products", "vendor", "gpu", "precision"),
    [
        ("cpu", True, True, "GenuineIntel", False, "bf16-mixed"),
        ("cpu", False, False, "GenuineIntel", True, "32-true"),
        ("cpu", False, True, "GenuineIntel", False, "32-true"),
        ("cpu", False, True, "AuthenticAMD", False, "bf16-mixed"),
        ("cpu", False, False, "AuthenticAMD", False, "32-true"),
        ("auto", False, True, "", False, "32-true"),
        ("auto", True, False, "", False, "bf16-mixed"),
        ("auto", False, False, "", True, "bf16-mixed"),
        ("gpu", False, False, "", True, "bf16-mixed"),
    ],
)
def test_16_bits_are_used_where_hardware_computes_them(
    accelerator: str,
    tiles: bool,
    products: bool,
    vendor: str,
    gpu: bool,
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: products)
    monkeypatch.setattr(trainer, "_vendor", lambda: vendor)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: gpu)
    assert fastest_precision(accelerator) == precision


def test_the_processors_maker_is_read_where_the_system_tells_it() -> None:
    known = Path("/proc/cpuinfo")
    listed = known.is_file() and "vendor_id" in known.read_text(encoding="utf-8")
    assert bool(trainer._vendor()) == listed


@pytest.mark.parametrize(
    ("asked", "accelerator", "gpu", "cores", "processes", "workers"),
    [
        ("auto", "auto", False, 16, 1, 0),
        ("auto", "cpu", True, 16, 4, 0),
        ("auto", "auto", True, 16, 1, 8),
        ("auto", "gpu", True, 4, 1, 3),
        ("auto", "gpu", True, 1, 1, 1),
        ("auto", "gpu", True, 16, 4, 3),
        ("auto", "gpu", True, 64, 4, 8),
        ("auto", "gpu", True, 4, 8, 1),
        (0, "gpu", True, 16, 1, 0),
        (3, "cpu", False, 1, 2, 3),
    ],
)
def test_workers_augment_beside_a_gpu(
    asked: str | int,
    accelerator: str,
    gpu: bool,
    cores: int,
    processes: int,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: gpu)
    monkeypatch.setattr(trainer, "usable_cores", lambda: cores)
    assert loader_workers(asking(asked, accelerator), processes) == workers


def asking(workers: str | int, accelerator: str) -> RunConfig:
    return compose_config([f"data.num_workers={workers}", f"trainer.accelerator={accelerator}"])
