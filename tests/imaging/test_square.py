"""Square pixels from every header that says how wide and high a pixel is."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage

from tests.imaging.dicoms import dicom
from tests.imaging.picture_files import pillow, png_chunk
from tumorlens.errors import UnsupportedFormatError
from tumorlens.imaging.decode import Limits, decode
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.square import to_square

HEAD = draw_phantom(6, lesion=True, size=128).image


def squeezed(ratio: float) -> NDArray[np.uint8]:
    """Return the head with pixels ``ratio`` times as high as wide."""
    size = (128, round(128 / ratio)) if ratio > 1 else (round(128 * ratio), 128)
    return np.asarray(cv2.resize(HEAD, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def png(pixels: NDArray[Any], across: int, down: int, unit: int) -> bytes:
    data = pillow(pixels, "PNG")
    body = across.to_bytes(4, "big") + down.to_bytes(4, "big") + bytes([unit])
    return data[:33] + png_chunk(b"pHYs", body) + data[33:]


def tiff(pixels: NDArray[Any], ratio: float) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, resolution=(round(1000 * ratio), 1000))
    return stream.getvalue()


def jpeg(pixels: NDArray[Any], ratio: float) -> bytes:
    data = bytearray(pillow(pixels, "JPEG", quality=95, dpi=(1, 1)))
    at = data.index(b"JFIF\0") + 7
    data[at : at + 5] = b"\0" + round(100 * ratio).to_bytes(2, "big") + (100).to_bytes(2, "big")
    return bytes(data)


@pytest.mark.parametrize("ratio", [0.5, 0.8, 1.25, 2.0])
@pytest.mark.parametrize(
    "write",
    [
        lambda pixels, ratio: dicom(pixels, PixelSpacing=[0.9 * ratio, 0.9]),
        lambda pixels, ratio: dicom(pixels, PixelAspectRatio=[round(100 * ratio), 100]),
        lambda pixels, ratio: dicom(pixels, ImagerPixelSpacing=[0.9 * ratio, 0.9]),
        lambda pixels, ratio: dicom(
            pixels, PixelSpacing=[0.9 * ratio, 0.9], ImagerPixelSpacing=[1, 1],
            PixelAspectRatio=[1, 1],
        ),
        lambda pixels, ratio: png(pixels, round(1000 * ratio), 1000, 0),
        lambda pixels, ratio: png(pixels, round(3000 * ratio), 3000, 1),
        tiff,
        jpeg,
    ],
    ids=["spacing", "aspect", "imager", "spacing first", "png", "png unit", "tiff", "jpeg"],
)  # fmt: skip
def test_pixels_are_square(write: Any, ratio: float) -> None:
    found = decode(write(squeezed(ratio), ratio)).pixels.astype(np.float64)
    assert found.shape == pytest.approx((128, 128), abs=1)
    same = cv2.resize(found, (128, 128), interpolation=cv2.INTER_LINEAR)
    assert np.corrcoef(np.asarray(same).ravel(), HEAD.ravel())[0, 1] > 0.97


def test_the_orientation_turns_the_pixels_too() -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # a quarter turn
    wide = squeezed(2.0)  # 128 × 64, stored pixels twice as high as wide
    plain = png(wide, 2000, 1000, 0)
    chunk = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    turned = decode(plain[:33] + chunk + plain[33:]).pixels
    np.testing.assert_array_equal(turned, np.rot90(decode(plain).pixels, -1))


@pytest.mark.parametrize(
    "elements",
    [
        {}, {"PixelSpacing": [0.9, 0.9]}, {"PixelSpacing": [0, 0]}, {"PixelSpacing": [0.9, 0]},
        {"PixelSpacing": [-1, 2]}, {"PixelSpacing": [0.9]}, {"PixelSpacing": [0.9, 0.9045]},
        {"PixelAspectRatio": [0, 1]},
    ],
)  # fmt: skip
def test_no_shape_or_a_square_one_changes_nothing(elements: dict[str, Any]) -> None:
    np.testing.assert_array_equal(decode(dicom(HEAD, **elements)).pixels, HEAD)


@pytest.mark.parametrize("ratio", [6.0, 0.1, 900.0])
def test_pixels_of_no_scan_are_refused(ratio: float) -> None:
    with pytest.raises(UnsupportedFormatError, match=r"^scan: .*times as high as wide.*5 to 1"):
        decode(dicom(HEAD, PixelSpacing=[ratio, 1]), name="scan")
    with pytest.raises(UnsupportedFormatError, match="times as high as wide"):
        decode(png(HEAD, round(1000 * ratio), 1000, 0))


def test_over_the_limit_the_finer_side_is_averaged() -> None:
    limits = Limits(max_pixels=128 * 128)
    assert to_square(HEAD, 2.0, "scan", limits).shape == (128, 64)
    assert to_square(HEAD, 0.5, "scan", limits).shape == (64, 128)
    assert to_square(HEAD, 2.0, "scan", Limits()).shape == (256, 128)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_the_type_and_the_range_stay(kind: type[np.generic]) -> None:
    pixels = HEAD.astype(kind)
    found = to_square(np.stack([pixels] * 3, axis=2), 1.5, "scan", Limits())
    assert found.dtype == kind
    assert found.shape == (192, 128, 3)
    assert found.min() >= pixels.min()
    assert found.max() <= pixels.max()
