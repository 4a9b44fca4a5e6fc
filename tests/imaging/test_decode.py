"""Bytes or a path become an Image or an InputError, and nothing else."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as PillowImage

from tests.imaging import dicoms
from tests.imaging import picture_files as pictures
from tests.imaging.picture_files import CORNERS, CORNERS16, RAMP, RAMP16
from tumorlens.errors import (
    DecodeError,
    EmptyInputError,
    InputError,
    TooLargeError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from tumorlens.imaging.decode import Image, Limits, decode
from tumorlens.imaging.image import to_grey


def with_alpha(alpha: NDArray[Any]) -> NDArray[Any]:
    return np.dstack([CORNERS, alpha]).astype(np.uint8)


LEFT_CLEAR = np.full(RAMP.shape, 255, np.uint8)
LEFT_CLEAR[:, :12] = 0
LEFT_BLACK = CORNERS * (LEFT_CLEAR[..., None] > 0)
ONE_BIT = (RAMP > 100).astype(np.uint8) * 255

LOSSLESS = [
    ("png grey", pictures.pillow(RAMP, "PNG"), "png", RAMP),
    ("png colour", pictures.pillow(CORNERS, "PNG"), "png", CORNERS),
    ("png palette", pictures.pillow(CORNERS, "PNG", "P"), "png", CORNERS),
    ("png one bit", pictures.pillow(ONE_BIT, "PNG", "1"), "png", ONE_BIT),
    ("png grey 16", pictures.opencv(RAMP16, ".png"), "png", RAMP16),
    ("png colour 16", pictures.opencv(CORNERS16, ".png"), "png", CORNERS16),
    ("png cut-out", pictures.pillow(with_alpha(LEFT_CLEAR), "PNG"), "png", LEFT_BLACK),
    ("tiff grey", pictures.pillow(RAMP, "TIFF"), "tiff", RAMP),
    ("tiff lzw", pictures.pillow(CORNERS, "TIFF", compression="tiff_lzw"), "tiff", CORNERS),
    ("tiff palette", pictures.pillow(CORNERS, "TIFF", "P"), "tiff", CORNERS),
    ("tiff grey 16", pictures.pillow(RAMP16, "TIFF"), "tiff", RAMP16),
    ("tiff colour 16", pictures.opencv(CORNERS16, ".tiff"), "tiff", CORNERS16),
    ("tiff float", pictures.pillow(RAMP / np.float32(7), "TIFF"), "tiff", RAMP / np.float32(7)),
    ("bmp grey", pictures.pillow(RAMP, "BMP"), "bmp", RAMP),
    ("bmp colour", pictures.pillow(CORNERS, "BMP"), "bmp", CORNERS),
    ("webp lossless", pictures.pillow(CORNERS, "WEBP", lossless=True), "webp", CORNERS),
]


@pytest.mark.parametrize(("_", "data", "found", "expected"), LOSSLESS, ids=[c[0] for c in LOSSLESS])
def test_lossless_formats_preserve_pixels(
    _: str, data: bytes, found: str, expected: NDArray[Any]
) -> None:
    image = decode(data)
    assert (image.format, image.name) == (found, "upload")
    assert image.pixels.dtype == expected.dtype
    np.testing.assert_array_equal(image.pixels, expected)


def test_jpeg_gives_opencv_pixels_in_rgb_order() -> None:
    data = pictures.pillow(CORNERS, "JPEG", quality=95)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(decode(data).pixels, expected)
    np.testing.assert_allclose(decode(data).pixels[2, 2], (250, 0, 0), atol=6)


@pytest.mark.parametrize(
    ("colour", "alpha", "expected"),
    [
        ((200, 100, 50), 255, (200, 100, 50)),
        ((200, 100, 50), 145, (200, 100, 50)),  # an edge residue: as OpenCV's imread
        ((200, 100, 50), 128, (200, 100, 50)),
        ((200, 100, 50), 127, (100, 50, 25)),
        ((200, 100, 50), 51, (40, 20, 10)),
        ((200, 100, 50), 0, (200, 100, 50)),  # nothing would be left
    ],
)
def test_alpha(colour: tuple[int, ...], alpha: int, expected: tuple[int, ...]) -> None:
    pixels = np.full((4, 4, 4), (*colour, alpha), np.uint8)
    np.testing.assert_array_equal(decode(pictures.pillow(pixels, "PNG")).pixels[1, 1], expected)
    deep = pixels.astype(np.uint16) * 257
    np.testing.assert_allclose(
        decode(pictures.opencv(deep, ".png")).pixels[1, 1], np.multiply(expected, 257), atol=110
    )


def test_a_picture_drawn_in_its_transparency_is_refused() -> None:
    drawn = np.zeros((16, 24, 4), np.uint8)
    drawn[..., 3] = RAMP
    with pytest.raises(DecodeError, match="in its transparency"):
        decode(pictures.pillow(drawn, "PNG"))


def test_grey_with_alpha_stays_grey_in_8_and_16_bits() -> None:
    shallow = pictures.png_of(3, 1, 8, 4, bytes([0, 90, 255, 90, 0, 80, 255]))
    deep = pictures.png_of(
        3, 1, 16, 4, b"\0" + struct.pack(">6H", 9000, 65535, 9000, 0, 8000, 65535)
    )
    assert decode(shallow).pixels.tolist() == [[90, 0, 80]]
    assert decode(deep).pixels.tolist() == [[9000, 0, 8000]]


def test_white_is_zero_tiff_is_inverted() -> None:
    # Pillow stores 8-bit pixels turned over when told WhiteIsZero, and 16-bit ones as they are.
    shallow = pictures.pillow(RAMP, "TIFF", tiffinfo={262: 0})
    np.testing.assert_array_equal(decode(shallow).pixels, RAMP)
    deep = pictures.pillow(RAMP16, "TIFF", tiffinfo={262: 0})
    np.testing.assert_array_equal(decode(deep).pixels, 65535 - RAMP16)


@pytest.mark.parametrize(
    ("orientation", "corner_colours"),  # top left, top right, bottom left, bottom right, displayed
    [(1, "rgbw"), (2, "grwb"), (3, "wbgr"), (4, "bwrg"),
     (5, "rbgw"), (6, "brwg"), (7, "wgbr"), (8, "gwrb")],
)  # fmt: skip
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "deep png"])
def test_exif_orientation_is_applied(
    file_format: str, orientation: int, corner_colours: str
) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    if file_format == "deep png":
        data = pictures.opencv(CORNERS16, ".png")
        chunk = pictures.png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        data = data[:33] + chunk + data[33:]
    else:
        data = pictures.pillow(CORNERS, file_format, exif=exif)
    pixels = decode(data).pixels
    assert pixels.shape[:2] == ((16, 24) if orientation < 5 else (24, 16))
    height, width = pixels.shape[:2]
    seen = ""
    for y, x in ((2, 2), (2, width - 3), (height - 3, 2), (height - 3, width - 3)):
        red, green, blue = (int(value) > 100 * (257 if pixels.dtype == np.uint16 else 1)
                            for value in pixels[y, x])  # fmt: skip
        seen += {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}[red, green, blue]
    assert seen == corner_colours


@pytest.mark.parametrize("file_format", ["png", "jpeg", "tiff", "bmp", "webp"])
def test_a_header_over_the_limit_is_refused_before_decoding(file_format: str) -> None:
    side = 16_000 if file_format == "webp" else 40_000
    with pytest.raises(TooLargeError, match=rf"lie: .*{side} × {side}.*16,777,216"):
        decode(pictures.lying_header(file_format, side), name="lie")


def test_headers_over_the_limit_cost_no_memory(tmp_path: Path) -> None:
    for file_format in ("png", "jpeg", "tiff", "bmp"):
        (tmp_path / file_format).write_bytes(pictures.lying_header(file_format, 40_000))
    (tmp_path / "dicom").write_bytes(dicoms.dicom(RAMP, Rows=40_000, Columns=40_000))
    program = (
        "import pathlib, sys\n"
        "from tumorlens.errors import TooLargeError\n"
        "from tumorlens.imaging.decode import decode\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try: decode(path)\n"
        "    except TooLargeError: print(path.name)\n"
        # Not ru_maxrss: that starts at the size of the process that started this one.
        "status = pathlib.Path('/proc/self/status')\n"
        "lines = status.read_text().splitlines() if status.exists() else []\n"
        "print(next((line.split()[1] for line in lines if line.startswith('VmHWM')), 0))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    *refused, kilobytes = done.stdout.split()
    assert refused == ["bmp", "dicom", "jpeg", "png", "tiff"]
    assert int(kilobytes) < 250_000
    assert int(kilobytes) > 0 or sys.platform != "linux"


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_a_decode_error(file_format: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = pictures.pillow(noise, file_format)
    with pytest.raises(DecodeError, match="truncated or damaged"):
        decode(data[: int(len(data) * kept)])


def test_a_png_without_its_end_is_a_decode_error() -> None:
    data = pictures.pillow(RAMP, "PNG")
    with pytest.raises(DecodeError):
        decode(data[:-9])
    broken = bytearray(data)
    broken[data.index(b"IDAT") + 6] ^= 0xFF
    with pytest.raises(DecodeError):
        decode(bytes(broken))


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", EmptyInputError, "empty"),
        (b"just some text, saved as scan.jpg", UnsupportedFormatError, "not a JPEG, PNG"),
        (b"BMW is a car and this is text", UnsupportedFormatError, "not a JPEG, PNG"),
        (b"GIF89a" + bytes(20), UnsupportedFormatError, "GIF"),
        (b"\x1f\x8b" + bytes(20), UnsupportedFormatError, "gzip archive"),
        (gzip.compress(bytes(344) + b"n+1\0", mtime=0), UnsupportedFormatError, "volume"),
        (bytes(344) + b"n+1\0", UnsupportedFormatError, "volume"),
        (b"\x00" * 500, UnsupportedFormatError, "not a JPEG, PNG"),
    ],
)
def test_other_files_are_refused(
    data: bytes, error: type[InputError], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "scan.jpg"
    path.write_bytes(data)
    for source in (data, path, str(path)):
        with pytest.raises(error, match=rf"^scan\.jpg: .*{words}"):
            decode(source, name="scan.jpg" if source is data else None)


def test_several_pages_or_frames_are_refused_except_thumbnails() -> None:
    first, second = (PillowImage.fromarray(side) for side in (RAMP, RAMP[::-1].copy()))
    for file_format in ("TIFF", "PNG", "WEBP"):
        stream = io.BytesIO()
        first.save(stream, file_format, save_all=True, append_images=[second])
        with pytest.raises(UnsupportedFormatError, match="several pages"):
            decode(stream.getvalue())
    stream = io.BytesIO()
    second.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(stream, "TIFF", save_all=True, append_images=[second])
    np.testing.assert_array_equal(decode(stream.getvalue()).pixels, RAMP)


def test_paths(tmp_path: Path) -> None:
    scan = tmp_path / "no suffix at all"
    scan.write_bytes(pictures.pillow(RAMP, "PNG"))
    assert decode(scan).name == "no suffix at all"
    assert decode(str(scan), name="mine").name == "mine"
    for source in (tmp_path / "gone.png", tmp_path, "a\0b", "x" * 5000):
        with pytest.raises(UnreadableFileError):
            decode(source)


def test_the_byte_limit_applies_to_paths_and_uploads(tmp_path: Path) -> None:
    data = pictures.pillow(RAMP, "PNG")
    path = tmp_path / "scan.png"
    path.write_bytes(data)
    for source in (data, path):
        assert decode(source, limits=Limits(max_bytes=len(data))).pixels.shape == (16, 24)
        with pytest.raises(TooLargeError, match="bytes"):
            decode(source, limits=Limits(max_bytes=len(data) - 1))
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**40)  # sparse: reading it would fill the memory
    with pytest.raises(TooLargeError):
        decode(tmp_path / "huge.png")


def test_non_finite_pixels_are_refused() -> None:
    pixels = RAMP.astype(np.float32)
    pixels[3, 3] = np.nan
    with pytest.raises(DecodeError, match="finite"):
        decode(pictures.pillow(pixels, "TIFF"))


@pytest.mark.parametrize("pixels", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8),
                                    np.zeros((0, 2), np.uint8), np.zeros(3, np.uint8)])  # fmt: skip
def test_image_refuses_invalid_arrays(pixels: Any) -> None:
    with pytest.raises(DecodeError):
        Image(pixels, "array", "mine")


@pytest.mark.parametrize(
    ("rgb", "grey"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29), ((7, 7, 7), 7)]
)
def test_to_grey_has_bt601_weights(rgb: tuple[int, int, int], grey: int) -> None:
    assert to_grey(np.full((1, 1, 3), rgb, np.uint8))[0, 0] == grey
    assert to_grey(np.full((1, 1, 3), rgb, np.uint16))[0, 0] == grey
    assert to_grey(np.full((1, 1, 3), rgb, np.float32))[0, 0] == pytest.approx(grey, abs=0.5)
    assert to_grey(RAMP) is RAMP


def test_decoding_is_thread_safe() -> None:
    jobs = [(data, expected) for _, data, _, expected in LOSSLESS] * 8
    with ThreadPoolExecutor(4) as pool:
        for image, (_, expected) in zip(pool.map(decode, [job[0] for job in jobs]), jobs,
                                        strict=True):  # fmt: skip
            np.testing.assert_array_equal(image.pixels, expected)


SEEDS = [data for _, data, _, _ in LOSSLESS] + [pictures.pillow(CORNERS, "JPEG")]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    seed=st.sampled_from(SEEDS),
    cut=st.floats(0, 1),
    edits=st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.binary(max_size=4)), max_size=5),
)
def test_any_bytes_give_an_image_or_an_input_error(
    seed: bytes, cut: float, edits: list[tuple[float, bool, bytes]]
) -> None:
    data = bytearray(seed)
    for where, near_start, new in edits:
        at = int(where * min(len(data), 100 if near_start else len(data)))
        data[at : at + len(new)] = new
    if cut > 0.5:
        data = data[: int(len(data) * cut)]
    outcome: Image | str
    try:
        outcome = decode(bytes(data), limits=Limits(max_pixels=10**6))
    except InputError as error:
        outcome = str(error)
    assert isinstance(outcome, Image) or outcome.startswith("upload: ")


@pytest.mark.real
def test_every_real_image_has_opencv_pixels(data_root: Path) -> None:
    paths = sorted((data_root / "brain_tumor_dataset").glob("*/*"))
    assert len(paths) == 253
    for path in paths:
        pixels = decode(path).pixels
        rgb = pixels if pixels.ndim == 3 else np.dstack([pixels] * 3)
        expected = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(rgb, expected, err_msg=path.name)
