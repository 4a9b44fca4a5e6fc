"""Image corruptions that scans undergo in practice, at five levels each.

Every function takes a whole image uint8 ``[H, W]``, a strength and a generator, and returns an
image uint8 ``[H', W']``. Strengths are relative to the head, so that they are comparable between
images of different size. `CORRUPTIONS` lists them with their five strengths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.head import find_head

GreyImage = NDArray[np.uint8]
Floats = NDArray[np.float32]
MIDDLE = 3

_TEXTS = ("T1 SE", "R", "512 x 512", "L 12/24", "HFS", "A", "SP: 43.2", "W 180", "10 cm", "P")
# Positions of the texts, as shares of width and height: corners, edges, then over the head.
_TEXT_POSITIONS = (
    *((0.02, 0.08), (0.72, 0.08), (0.02, 0.97), (0.72, 0.97)),
    *((0.02, 0.5), (0.86, 0.5), (0.4, 0.08), (0.4, 0.97)),
    *((0.3, 0.35), (0.5, 0.65), (0.4, 0.5), (0.25, 0.75)),
)


@dataclass(frozen=True)
class Corruption:
    """A kind of image corruption.

    Attributes:
        name: Short name for tables and the JSON.
        unit: Unit of the strengths, for a plot's axis.
        strengths: Five strengths, from mild to severe.
        apply: ``(image, strength, generator) -> image``.
    """

    name: str
    unit: str
    strengths: tuple[float, float, float, float, float]
    apply: Callable[[GreyImage, float, np.random.Generator], GreyImage]


def rotate(image: GreyImage, degrees: float, rng: np.random.Generator) -> GreyImage:
    """Rotate in a random direction on an enlarged canvas, filled with the darkest grey."""
    angle = degrees * _sign(rng)
    height, width = image.shape
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), angle, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    extent = height * sin + width * cos, height * cos + width * sin
    # Without the tolerance, rounding errors at 90 degrees add a row.
    size = (int(np.ceil(extent[0] - 1e-6)), int(np.ceil(extent[1] - 1e-6)))
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    return _levels(cv2.warpAffine(image, matrix, size, borderValue=float(image.min())))


def blur(image: GreyImage, percent: float, rng: np.random.Generator) -> GreyImage:
    """Blur with a Gaussian; the strength is its standard deviation in % of the head's side."""
    return _levels(cv2.GaussianBlur(image.astype(np.float32), (0, 0), _side(image) * percent / 100))


def noise(image: GreyImage, percent: float, rng: np.random.Generator) -> GreyImage:
    """Add Rician noise, as in magnitude images (Gudbjartsson & Patz, Magn. Reson. Med. 1995).

    The strength is the standard deviation of the noise in both channels of the complex signal, in
    % of the head's bright tissue.
    """
    sigma = percent / 100 * _bright(image)
    real = image + rng.normal(0, sigma, image.shape)
    return _levels(np.hypot(real, rng.normal(0, sigma, image.shape)))


def contrast(image: GreyImage, factor: float, rng: np.random.Generator) -> GreyImage:
    """Divide or multiply the contrast by a factor; the multiplied one may saturate."""
    gain = factor if _sign(rng) > 0 else 1 / factor
    _, head = find_head(image)
    middle = float(image[head].mean()) if head.any() else 127.5
    return _levels(middle + gain * (image.astype(np.float32) - middle))


def resolution(image: GreyImage, pixels: float, rng: np.random.Generator) -> GreyImage:
    """Downscale until the head's side has this many pixels, and upscale to the original size."""
    scale = min(1.0, pixels / _side(image))
    height, width = image.shape
    small = (max(4, round(width * scale)), max(4, round(height * scale)))
    downscaled = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return _levels(cv2.resize(downscaled, (width, height), interpolation=cv2.INTER_LINEAR))


def jpeg(image: GreyImage, quality: float, rng: np.random.Generator) -> GreyImage:
    """Compress as JPEG with a quality of 1 to 100 (best)."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    return _levels(np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)))


def bias_field(image: GreyImage, percent: float, rng: np.random.Generator) -> GreyImage:
    """Multiply by a smooth field; the strength is its largest change in % up or down.

    The field is a random polynomial of third order, as in MONAI's ``RandBiasField``.
    """
    height, width = image.shape
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    powers = [(i, j) for i in range(4) for j in range(4 - i) if i + j]
    terms = [rng.uniform(-1, 1) * x**i * y**j for i, j in powers]
    field = np.sum(terms, axis=0)
    _, head = find_head(image)
    inside = field[head] if head.any() else field
    amplitude = np.quantile(np.abs(inside - inside.mean()), 0.9)
    field = np.clip((field - inside.mean()) / max(float(amplitude), 1e-6), -1, 1)
    return _levels(image * np.exp(np.log1p(percent / 100) * field))


def gamma(image: GreyImage, power: float, rng: np.random.Generator) -> GreyImage:
    """Raise the brightness, scaled to its range, to a power or the inverse of it."""
    low, high = float(image.min()), max(float(image.max()), float(image.min()) + 1)
    exponent = power if _sign(rng) > 0 else 1 / power
    return _levels(low + (high - low) * ((image - low) / (high - low)) ** exponent)


def burned_in_text(image: GreyImage, words: float, rng: np.random.Generator) -> GreyImage:
    """Write white text: first in the corners, then at the edges and finally over the head."""
    marked = image.copy()
    height, width = image.shape
    scale = min(height, width) / 400
    ink = float(max(image.max(), 128))
    for x, y in _TEXT_POSITIONS[: round(words)]:
        text = _TEXTS[rng.integers(len(_TEXTS))]
        corner = (round(x * width), round(y * height))
        cv2.putText(
            marked, text, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, [ink], max(1, round(2 * scale))
        )
    return marked


def page(image: GreyImage, percent: float, rng: np.random.Generator) -> GreyImage:
    """Place the image on a white page with a caption, framed half of the time.

    The strength is the mean width of the page's margins in % of the image's longer side.
    """
    height, width = image.shape
    margin = percent / 100 * max(height, width)
    left, right, top, bottom = (round(margin * factor) for factor in rng.uniform(0.6, 1.4, 4))
    white = int(max(image.max(), 128))
    framed = image.copy()
    if _sign(rng) > 0:
        ink = int(rng.integers(white // 2, white))
        cv2.rectangle(framed, (1, 1), (width - 2, height - 2), [ink], max(1, width // 200))
    paper = cv2.copyMakeBorder(
        framed, top, bottom, left, right, cv2.BORDER_CONSTANT, value=[float(white)]
    )
    position = (left, top + height + bottom // 2)
    scale = bottom / 80
    cv2.putText(
        paper, "Fig. 2", position, cv2.FONT_HERSHEY_SIMPLEX, scale, [0.0], max(1, bottom // 30)
    )
    return _levels(paper)


CORRUPTIONS: tuple[Corruption, ...] = (
    Corruption("rotation", "degrees", (5, 10, 15, 30, 45), rotate),
    Corruption("blur", "% of the head's side", (0.25, 0.5, 1.0, 1.5, 2.5), blur),
    Corruption("noise", "% of bright tissue", (3, 6, 9, 13, 20), noise),
    Corruption("contrast", "factor, either way", (1.25, 1.5, 2, 3, 5), contrast),
    Corruption("resolution", "pixels across the head", (128, 96, 64, 48, 32), resolution),
    Corruption("jpeg", "quality", (50, 30, 15, 10, 5), jpeg),
    Corruption("bias field", "% either way", (10, 20, 40, 60, 100), bias_field),
    Corruption("gamma", "power, either way", (1.2, 1.4, 1.7, 2.2, 3), gamma),
    Corruption("burned-in text", "words", (1, 4, 6, 8, 12), burned_in_text),
    Corruption("page", "% of the image's side", (2, 5, 15, 30, 50), page),
)


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _side(image: GreyImage) -> float:
    (x0, y0, x1, y1), _ = find_head(image)
    return float(max(x1 - x0, y1 - y0))


def _bright(image: GreyImage) -> float:
    _, head = find_head(image)
    return max(1.0, float(np.percentile(image[head], 99.5))) if head.any() else 255.0


def _levels(values: NDArray[np.generic]) -> GreyImage:
    return np.asarray(np.clip(np.rint(np.asarray(values, np.float64)), 0, 255), dtype=np.uint8)
