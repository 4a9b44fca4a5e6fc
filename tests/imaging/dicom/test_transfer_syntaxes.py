"""Compressed DICOM files, and files compressed as a whole."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.imaging.dicoms import SECRET, dataset, encode
from tumorlens.errors import DecodeError, TooLargeError, UnsupportedFormatError
from tumorlens.imaging.decode import Limits, decode
from tumorlens.imaging.dicom import frames
from tumorlens.imaging.phantom import draw_phantom

HEAD = draw_phantom(2, lesion=True, size=64).image.astype(np.uint16) * 11


def wheel(name: str) -> Path:
    """Return a file that pydicom's wheel brings along."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str), name
    return Path(path)


def deflated(**elements: Any) -> bytes:
    """Return a file whose data set is compressed as a whole."""
    plain = encode(dataset(HEAD, **elements))
    length = int.from_bytes(plain[140:144], "little")  # of the file meta information
    start = 144 + length
    packer = zlib.compressobj(wbits=-15)
    meta = plain[:start].replace(
        ExplicitVRLittleEndian.encode() + b"\0", DeflatedExplicitVRLittleEndian.encode()
    )
    assert DeflatedExplicitVRLittleEndian.encode() in meta
    grown = len(meta) - start
    meta = meta[:140] + (length + grown).to_bytes(4, "little") + meta[144:]
    at = meta.index(b"\x02\0\x10\0UI") + 6
    meta = meta[:at] + (22).to_bytes(2, "little") + meta[at + 2 :]
    return meta + packer.compress(plain[start:]) + packer.flush()


def test_a_deflated_file_is_read_and_bounded() -> None:
    plain = decode(encode(dataset(HEAD)))
    np.testing.assert_array_equal(decode(deflated()).pixels, plain.pixels)
    packed = deflated(EncapsulatedDocument=bytes(200_000))
    assert len(packed) < 20_000
    with pytest.raises(TooLargeError, match="inflates to more than the limit of 20,000 bytes"):
        decode(packed, limits=Limits(max_bytes=20_000))


def test_the_syntax_is_read_from_the_file_meta_not_searched_for() -> None:
    made = dataset(HEAD, ImageComments=f"was {DeflatedExplicitVRLittleEndian} once")
    np.testing.assert_array_equal(decode(encode(made)).pixels, decode(encode(dataset(HEAD))).pixels)


def test_a_gzipped_file_is_read_and_bounded() -> None:
    plain = encode(dataset(HEAD))
    np.testing.assert_array_equal(decode(gzip.compress(plain)).pixels, decode(plain).pixels)
    bomb = gzip.compress(plain + bytes(10**6))
    with pytest.raises(TooLargeError, match="unpacks to more than the limit of 50,000 bytes"):
        decode(bomb, limits=Limits(max_bytes=50_000))
    with pytest.raises(DecodeError, match="truncated"):
        decode(gzip.compress(plain)[:-100])
    with pytest.raises(UnsupportedFormatError, match=r"a gzip archive of .* no DICOM"):
        decode(gzip.compress(b"some text"))


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("SC_rgb_jpeg_lossy_gdcm.dcm", JPEGBaseline8Bit),
        ("SC_rgb_jpeg_gdcm.dcm", JPEGLosslessSV1),
        ("MR_small_jpeg_ls_lossless.dcm", JPEGLSLossless),
        ("JPEGLSNearLossless_08.dcm", JPEGLSNearLossless),
        ("JPEGLSNearLossless_16.dcm", JPEGLSNearLossless),
        ("JPGExtended.dcm", JPEGExtended12Bit),
        ("MR_small_jp2klossless.dcm", JPEG2000Lossless),
        ("JPEG2000.dcm", "1.2.840.10008.1.2.4.91"),
        ("MR_small_RLE.dcm", RLELossless),
    ],
)
def test_every_compression_gives_what_pydicom_gives(name: str, syntax: str) -> None:
    reference = dcmread(wheel(name))
    assert reference.file_meta.TransferSyntaxUID == syntax
    shown = decode(wheel(name)).pixels
    expected = reference.pixel_array.astype(np.float64)
    assert shown.shape == expected.shape
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.9999


def test_a_syntax_without_its_decoder_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = wheel("MR_small_jpeg_ls_lossless.dcm").read_bytes()
    decoder = get_decoder(JPEGLSLossless)
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(
        UnsupportedFormatError, match=r"JPEG-LS.*pip install 'tumorlens\[formats\]'"
    ):
        decode(data)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b"\xff\xd8\xff\xd9", "damaged"),
        (b"\xff\xd8\xff\xc3\0\x0b\x10\0\x40\0\x20\x01\1\x11\0", "size of the compressed frame"),
        (b"\xff\xd8\xff\xf7\0\x0b\x10\xff\xff\xff\xff\x01\1\x11\0", "65535 × 65535"),
        (b"\xff\xd8" + b"\xff\xe0\0\0" * 9, "damaged"),
        (b"\xff\x4f\xff\x51\0\x29\0\0" + b"\xff" * 8 + bytes(32), "4294967295 × 4294967295"),
        (b"\0\0", "damaged"),
    ],
)  # fmt: skip
def test_the_frames_own_header_is_held_to_the_limit(frame: bytes, words: str) -> None:
    made = dataset(HEAD, PatientID=SECRET)
    with pytest.raises((DecodeError, TooLargeError), match=words) as caught:
        decode(encode(made, JPEGLosslessSV1, frame=frame + bytes(len(frame) % 2)))
    assert SECRET not in str(caught.value)


def test_a_run_length_bomb_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    header = np.zeros(16, "<u4")
    header[:3] = (2, 64, 2**20 + 64)
    bomb = header.tobytes() + b"\x81\0" * 2**20  # each pair stands for 128 bytes

    def never(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(frames, "_plain", never)
    with pytest.raises(TooLargeError, match="larger than the DICOM header says"):
        decode(encode(dataset(HEAD), RLELossless, frame=bomb))
