"""Counted percentiles are numpy's, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from tumorlens.imaging.percentiles import percentiles

AT = (0, 0.5, 1, 33.3, 50, 99.5, 100)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_they_equal_numpys(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    levels = int(rng.integers(1, 256))
    values = rng.integers(0, levels, rng.integers(1, 60, 2)).astype(dtype)
    assert percentiles(values, AT) == np.percentile(values, AT).tolist()
    mask = rng.random(values.shape) < 0.5
    mask[0, 0] = True
    assert percentiles(values, AT, mask) == np.percentile(values[mask], AT).tolist()


def test_a_part_of_an_image_needs_no_copy() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)[3:9, 2:11]
    assert percentiles(values, AT) == np.percentile(values, AT).tolist()
