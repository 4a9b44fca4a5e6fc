"""The drawn head: the same with and without a lesion, symmetric enough, with brain and without."""

from __future__ import annotations

import numpy as np
import pytest

from tumorlens.imaging.quality import assess
from tumorlens.volumes.phantom import draw_phantom_volume
from tumorlens.volumes.slices import cut


def test_the_lesion_is_the_only_difference() -> None:
    sick = draw_phantom_volume(3, lesion=True, spacing_mm=(4.0, 4.0, 4.0))
    healthy = draw_phantom_volume(3, lesion=False, spacing_mm=(4.0, 4.0, 4.0))
    assert sick.volume.data.shape == (48, 56, 54)
    assert sick.volume.data.dtype == np.uint8
    assert not healthy.mask.any()
    litres = sick.mask.sum() * 4.0**3 / 1e6
    assert 0.002 < litres < 0.03
    changed = np.abs(sick.volume.data.astype(int) - healthy.volume.data) > 40
    places = np.argwhere(sick.mask)
    near = (places.min(0) - 6).clip(0), places.max(0) + 7
    box = tuple(slice(low, high) for low, high in zip(*near, strict=True))
    assert changed[box].sum() > 0.3 * sick.mask.sum()
    changed[box] = False
    assert changed.sum() < 0.2 * sick.mask.sum()
    again = draw_phantom_volume(3, lesion=True, spacing_mm=(4.0, 4.0, 4.0))
    np.testing.assert_array_equal(again.volume.data, sick.volume.data)


def test_its_middle_slices_pass_the_quality_rules_in_every_plane() -> None:
    volume = draw_phantom_volume(1, lesion=True).volume
    for plane in ("axial", "coronal", "sagittal"):
        slices = list(cut(volume, plane))
        for fraction in (0.45, 0.55, 0.65):
            quality = assess(slices[int(fraction * len(slices))].pixels())
            assert quality.usable, (plane, fraction, quality.reason)


def test_voxels_too_large_for_a_head_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        draw_phantom_volume(0, lesion=False, spacing_mm=(80.0, 2.0, 2.0))
