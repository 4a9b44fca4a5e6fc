"""Every corruption on an image with a predictable effect."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from tumorlens.evaluation import corruptions
from tumorlens.evaluation.corruptions import CORRUPTIONS, Corruption, GreyImage
from tumorlens.imaging.phantom import draw_phantom


class Fixed(np.random.Generator):
    """A generator whose uniform draws are always the same: the sign of what goes both ways."""

    def __init__(self, value: float) -> None:
        super().__init__(np.random.PCG64(0))
        self._value = value

    def random(self, *args: object, **kwargs: object) -> float:  # type: ignore[override]
        return self._value


UP, DOWN = Fixed(0.0), Fixed(0.9)


def head() -> GreyImage:
    return draw_phantom(5, lesion=True).image


def disc(level: int = 100, side: int = 128) -> GreyImage:
    shown = np.zeros((side, side), dtype=np.uint8)
    return cv2.circle(shown, (side // 2, side // 2), side * 3 // 8, [level], cv2.FILLED)  # type: ignore[return-value]


# A page leaves the scan itself as it is.
SPOILING = [kind for kind in CORRUPTIONS if kind.name != "page"]


@pytest.mark.parametrize("kind", SPOILING, ids=lambda kind: kind.name)
def test_five_levels_increase_in_severity_and_are_reproducible(kind: Corruption) -> None:
    assert len(kind.strengths) == 5
    shown = head()
    before = shown.copy()
    worse = []
    for strength in kind.strengths:
        corrupted = kind.apply(shown, strength, np.random.default_rng(4))
        again = kind.apply(shown, strength, np.random.default_rng(4))
        assert corrupted.dtype == np.uint8
        assert (corrupted == again).all()
        side = corrupted.shape[0] - shown.shape[0]  # turning enlarges the canvas on both sides
        left = (corrupted.shape[1] - shown.shape[1]) // 2
        cut = corrupted[side // 2 :, left:][: shown.shape[0], : shown.shape[1]]
        worse.append(float(np.abs(cut.astype(float) - shown).mean()))
    assert (shown == before).all(), "the given picture must stay"
    assert worse == sorted(worse)
    assert worse[0] > 0.05
    assert worse[-1] > 1.5 * worse[0]


def test_a_quarter_turn_is_exact() -> None:
    shown = np.arange(60, dtype=np.uint8).reshape(6, 10)
    assert (corruptions.rotate(shown, 90, UP) == np.rot90(shown)).all()
    assert (corruptions.rotate(shown, 90, DOWN) == np.rot90(shown, -1)).all()


def test_rotation_crops_nothing() -> None:
    shown = np.full((40, 80), 7, dtype=np.uint8)
    shown[0, 0] = shown[-1, -1] = 200
    turned = corruptions.rotate(shown, 30, UP)
    assert turned.shape == (math.ceil(80 * 0.5 + 40 * 0.8660254), math.ceil(80 * 0.8660254 + 20))
    assert (turned > 40).sum() >= 2
    assert turned.min() == 7, "filled with the darkest grey"


def test_noise_in_air_is_rayleigh() -> None:
    shown = disc(level=200, side=256)
    corrupted = corruptions.noise(shown, 10, np.random.default_rng(0))
    sigma = 20.0  # 10 % of bright tissue, which is 200
    air = corrupted[:30, :30].astype(float)
    assert air.mean() == pytest.approx(sigma * math.sqrt(math.pi / 2), rel=0.05)
    tissue = corrupted[110:146, 110:146].astype(float)
    assert tissue.mean() == pytest.approx(200 + sigma**2 / 400, abs=1.5)
    assert tissue.std() == pytest.approx(sigma, rel=0.06)


def test_contrast_pivots_at_the_heads_mean() -> None:
    shown = disc(level=100)
    shown[60:68, 60:68] = 140
    middle = float(shown[shown > 0].mean())
    less = corruptions.contrast(shown, 2, DOWN)
    assert less[64, 64] == pytest.approx(middle + (140 - middle) / 2, abs=1)
    assert less[0, 0] == pytest.approx(middle / 2, abs=1)
    more = corruptions.contrast(shown, 2, UP)
    assert more[64, 64] == pytest.approx(middle + (140 - middle) * 2, abs=1.5)
    assert more[0, 0] == 0, "the dark end saturates"


def test_gamma_keeps_both_ends() -> None:
    shown = np.array([[0, 64, 255]], dtype=np.uint8)
    assert corruptions.gamma(shown, 2, UP).tolist() == [[0, 16, 255]]
    assert corruptions.gamma(shown, 2, DOWN).tolist() == [[0, 128, 255]]
    flat = np.full((4, 4), 9, dtype=np.uint8)
    assert (corruptions.gamma(flat, 2, UP) == flat).all()


def test_blur_and_resolution_are_relative_to_the_head() -> None:
    edges = []
    for side in (128, 256):
        soft = corruptions.blur(disc(200, side), 2.0, UP).astype(float)
        # The edge's width in pixels doubles with the head.
        row = soft[side // 2, : side // 2]
        edges.append(int(((row > 20) & (row < 180)).sum()))
    assert edges[1] == pytest.approx(2 * edges[0], abs=2)
    shown = head()
    assert (corruptions.resolution(shown, 10_000, UP) == shown).all(), "never enlarged"
    coarse = corruptions.resolution(shown, 32, UP)
    assert coarse.shape == shown.shape
    assert np.abs(np.diff(coarse.astype(float))).max() < np.abs(np.diff(shown.astype(float))).max()


def test_jpeg_is_the_codec_s_own() -> None:
    shown = head()
    data = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 15])[1]
    expected = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert expected is not None
    assert (corruptions.jpeg(shown, 15, UP) == expected).all()


def test_the_bias_field_stays_in_its_bounds_and_is_smooth() -> None:
    shown = np.full((100, 100), 100, dtype=np.uint8)
    cv2.rectangle(shown, (0, 0), (99, 99), [0], 6)
    corrupted = corruptions.bias_field(shown, 40, np.random.default_rng(2)).astype(float)
    ratio = corrupted[10:-10, 10:-10] / 100
    assert ratio.max() <= 1.4 + 0.01
    assert ratio.min() >= 1 / 1.4 - 0.01
    assert ratio.max() / ratio.min() > 1.4
    assert np.abs(np.diff(ratio)).max() < 0.1


def test_text_is_white_and_starts_in_the_corners() -> None:
    shown = disc(100, 256)
    counts = []
    for words in (1, 4, 8, 12):
        marked = corruptions.burned_in_text(shown, words, np.random.default_rng(0))
        counts.append(int((marked == 128).sum()))
    assert counts == sorted(counts)
    assert counts[0] > 5
    four = corruptions.burned_in_text(shown, 4, np.random.default_rng(0))
    assert (four[64:192, 64:192] == shown[64:192, 64:192]).all()


@pytest.mark.parametrize("percent", [2, 15, 50])
def test_a_page_is_white_around_the_whole_picture(percent: float) -> None:
    shown = head()
    for seed in range(4):
        paper = corruptions.page(shown, percent, np.random.default_rng(seed))
        assert paper.dtype == np.uint8
        added = np.array(paper.shape) - shown.shape
        reach = percent / 100 * max(shown.shape)
        assert (added >= 2 * np.floor(0.6 * reach)).all()
        assert (added <= 2 * np.ceil(1.4 * reach)).all()
        edge = np.concatenate([paper[0], paper[:, 0], paper[:, -1]])
        assert (edge == max(shown.max(), 128)).all()
        # Somewhere on it stands the picture, but for a frame at its edge.
        inner = shown[3:-3, 3:-3]
        found = cv2.matchTemplate(paper, inner, cv2.TM_SQDIFF)
        assert found.min() < 1e-3 * float((inner.astype(np.float64) ** 2).sum())
