"""What Lightning's trainer is given."""

from __future__ import annotations

import pytest
import torch

from tumorlens.training.trainer import fastest_precision


@pytest.mark.parametrize(
    ("accelerator", "tiles", "gpu", "precision"),
    [
        ("cpu", True, False, "bf16-mixed"),
        ("cpu", False, True, "32-true"),
        ("auto", False, False, "32-true"),
        ("auto", True, False, "bf16-mixed"),
        ("auto", False, True, "bf16-mixed"),
        ("gpu", False, True, "bf16-mixed"),
    ],
)
def test_16_bits_are_used_where_hardware_computes_them(
    accelerator: str, tiles: bool, gpu: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: gpu)
    assert fastest_precision(accelerator) == precision
