"""Drawn heads: seeded, with a lesion where the box says, and otherwise the same head."""

from __future__ import annotations

import numpy as np
import pytest

from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.phantom import draw_phantom

PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")


def test_known_pixels_of_seed_zero() -> None:
    # A model's self-test hangs on these: a change here invalidates every stored card.
    image = draw_phantom(0, lesion=True, size=64).image
    np.testing.assert_allclose(image[::9, 32], [3, 99, 97, 118, 123, 85, 91, 4], atol=1)
    assert float(image.mean()) == pytest.approx(57.903, abs=0.02)


@pytest.mark.parametrize("plane", PLANES)
def test_the_seed_determines_the_image(plane: Plane) -> None:
    first, again = (draw_phantom(7, lesion=True, size=96, plane=plane) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    assert first.box == again.box
    other = draw_phantom(8, lesion=True, size=96, plane=plane)
    assert np.mean(first.image != other.image) > 0.5


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("seed", range(8))
def test_lesion_is_a_bright_blob_inside_its_tight_box(seed: int, plane: Plane) -> None:
    size = 128
    sick = draw_phantom(seed, lesion=True, size=size, plane=plane)
    well = draw_phantom(seed, lesion=False, size=size, plane=plane)
    assert well.box is None
    assert not well.mask.any()
    assert sick.box is not None
    x0, y0, x1, y1 = (round(edge * size) for edge in sick.box)
    assert sick.mask[y0:y1, x0:x1].sum() == sick.mask.sum() > 40
    for line in (sick.mask[y0], sick.mask[y1 - 1], sick.mask[:, x0], sick.mask[:, x1 - 1]):
        assert line.any()
    gain = sick.image.astype(int) - well.image
    assert np.percentile(gain[sick.mask], 90) > 30
    # Oedema reaches a little further; the other half of the picture is the same, to the pixel.
    far = np.ones_like(sick.mask)
    reach = max(x1 - x0, y1 - y0) * 2
    far[max(0, y0 - reach) : y1 + reach, max(0, x0 - reach) : x1 + reach] = False
    assert np.abs(gain[far]).max(initial=0) <= 2


@pytest.mark.parametrize("plane", PLANES)
def test_the_image_shows_a_head_on_black(plane: Plane) -> None:
    image = draw_phantom(3, lesion=False, size=128, plane=plane).image
    corner, centre = image[:8, :8], image[34:60, 44:84]
    assert corner.max() < 30
    assert 40 < centre.mean() < 180
    assert centre.std() > 5
    assert image.max() > 150


def test_axial_heads_are_nearly_symmetric() -> None:
    image = draw_phantom(5, lesion=False, size=128).image.astype(float)
    brain = image[30:100, 24:104]
    mirrored = np.corrcoef(brain.ravel(), brain[:, ::-1].ravel())[0, 1]
    upside_down = np.corrcoef(brain.ravel(), brain[::-1].ravel())[0, 1]
    assert mirrored > upside_down + 0.1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"seed": 0, "size": 31}, "32 pixels"), ({"seed": 0, "plane": "oblique"}, "axial, coronal"),
     ({"seed": -1}, "non-negative")],
)  # fmt: skip
def test_invalid_arguments_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draw_phantom(lesion=False, **arguments)  # type: ignore[arg-type]
