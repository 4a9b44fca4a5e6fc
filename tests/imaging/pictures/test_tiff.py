"""TIFF: sample formats, polarity, pages and slices, shape of the pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from tumorlens.errors import TooLargeError, UnsupportedFormatError
from tumorlens.imaging.decode import Limits, decode
from tumorlens.imaging.phantom import draw_phantom

HEAD = draw_phantom(3, lesion=True, size=64).image


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"tile": (16, 16)},
                                     {"compression": "zlib"}, {"bigtiff": True}])  # fmt: skip
@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"])
def test_every_sample_format(kind: str, options: dict[str, Any]) -> None:
    values = (HEAD // 2).astype(kind)
    found = decode(tiff(values, **options)).pixels
    np.testing.assert_array_equal(found.astype(np.float64), values.astype(np.float64))


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i2", "i4", "f2", "f4", "f8"])
def test_min_is_white_is_turned_over(kind: str) -> None:
    values = (HEAD // 2).astype(kind)
    turned = values.max() - values
    found = decode(tiff(turned, photometric="miniswhite")).pixels.astype(np.float64)
    assert np.corrcoef(found.ravel(), HEAD.ravel())[0, 1] > 0.999


def test_floats_beyond_those_of_32_bits_are_scaled() -> None:
    found = decode(tiff(HEAD.astype(np.float64) * 1e300)).pixels
    assert np.isfinite(found).all()
    assert np.corrcoef(found.ravel(), HEAD.ravel())[0, 1] > 0.999


STACK = np.stack([HEAD] * 5)


def pages(*written: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for options in written:
            writer.write(metadata=None, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        tiff(STACK, photometric="minisblack"),  # five pages
        tiff(STACK, truncate=True),  # one page, four slices behind it
        tiff(STACK, volumetric=True, tile=(1, 16, 16)),  # ImageDepth 5
        tiff(STACK, imagej=True),
        tiff(STACK, ome=True, metadata={"axes": "ZYX"}),
        pages({"data": HEAD}, {"data": HEAD}),
        pages({"data": HEAD}, {"data": HEAD[:8, :8], "subfiletype": 1}, {"data": HEAD}),
    ],
    ids=["pages", "truncated", "volumetric", "imagej", "ome", "two", "thumbnail between"],
)  # fmt: skip
def test_several_slices_are_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedFormatError, match=r"^stack: has several pages or slices"):
        decode(data, name="stack")


def test_thumbnails_and_masks_are_no_second_page() -> None:
    data = pages(
        {"data": HEAD},
        {"data": HEAD[:8, :8], "subfiletype": 1},
        {"data": HEAD > 9, "subfiletype": 4},
    )
    np.testing.assert_array_equal(decode(data).pixels, HEAD)


def test_a_compression_that_is_not_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(tiff(HEAD.astype(np.float16)))
    at = data.index((259).to_bytes(2, "little") + (3).to_bytes(2, "little"))
    data[at + 8] = 5  # LZW
    with pytest.raises(UnsupportedFormatError, match="save it without compression"):
        decode(bytes(data))


def test_the_depth_counts_for_the_limit() -> None:
    data = tiff(STACK, volumetric=True, tile=(1, 16, 16))
    with pytest.raises(TooLargeError, match="64 × 64 × 5"):
        decode(data, limits=Limits(max_pixels=64 * 64 * 2))
