"""Single-frame DICOM: stored values become what a viewer shows; the rest is refused clearly."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from tests.imaging import dicoms
from tests.imaging import picture_files as pictures
from tests.imaging.dicoms import SECRET, dataset, dicom, encode
from tests.imaging.picture_files import CORNERS, RAMP, RAMP16
from tumorlens.errors import DecodeError, InputError, TooLargeError, UnsupportedFormatError
from tumorlens.imaging.decode import Image, Limits, decode
from tumorlens.imaging.dicom.reading import ALLOWED, read_elements

J2K = pictures.pillow(RAMP, "JPEG2000", no_jp2=True)
WINDOW = {"WindowCenter": 100, "WindowWidth": 101}  # shares (x - 49.5) / 100


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_lossless_transfer_syntaxes(syntax: str) -> None:
    made = dataset(RAMP16, Modality="CT", WindowCenter=32768, WindowWidth=65536)
    if syntax == ExplicitVRBigEndian:
        made.PixelData = RAMP16.astype(">u2").tobytes()
    if syntax == RLELossless:
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(decode(encode(made, syntax)).pixels, RAMP16)


def test_jpeg_and_jpeg_2000_frames() -> None:
    jpeg = encode(dataset(RAMP), JPEGBaseline8Bit, frame=pictures.pillow(RAMP, "JPEG"))
    np.testing.assert_allclose(decode(jpeg).pixels.astype(int), RAMP, atol=12)
    lossless = encode(dataset(RAMP), JPEG2000Lossless, frame=J2K)
    np.testing.assert_array_equal(decode(lossless).pixels, RAMP)
    # The frame's own header is held to the same limit and must agree with the data set.
    huge = encode(dataset(RAMP), JPEGBaseline8Bit, frame=pictures.lying_header("jpeg", 40_000))
    with pytest.raises(TooLargeError):
        decode(huge)
    other = encode(
        dataset(RAMP), JPEG2000, frame=pictures.pillow(RAMP[:8], "JPEG2000", no_jp2=True)
    )
    with pytest.raises(DecodeError, match="size of the compressed frame differs"):
        decode(other)


def test_a_jpeg_2000_frame_in_a_jp2_container() -> None:
    wrapped = encode(dataset(RAMP), JPEG2000, frame=pictures.pillow(RAMP, "JPEG2000"))
    np.testing.assert_array_equal(decode(wrapped).pixels, RAMP)
    # Boxes of length 0, on which pydicom 3.0 turns for ever.
    endless = b"\0\0\0\x0cjP  " + bytes(4) + b"\0\0\0\0ftyp" + bytes(64)
    with pytest.raises(DecodeError):
        decode(encode(dataset(RAMP), JPEG2000, frame=endless))


def test_a_preamble_that_is_a_tiff_header_is_still_dicom() -> None:
    data = b"II*\0\x10\0\0\0" + dicom(RAMP)[8:]
    np.testing.assert_array_equal(decode(data).pixels, RAMP)


@pytest.mark.parametrize(
    "other", ["RLE", "bigendian", "expb", "implicit", "jp2klossless", "padded"]
)
def test_a_scanner_file_is_the_same_in_every_transfer_syntax(other: str) -> None:
    # A head, 64 x 64, from a scanner of 1993; pydicom's wheel brings it along.
    folder = Path(get_testdata_file("MR_small.dcm", download=False)).parent  # type: ignore[arg-type]
    plain = decode(folder / "MR_small.dcm").pixels
    assert (plain.shape, plain.dtype) == ((64, 64), np.uint16)
    np.testing.assert_array_equal(decode(folder / f"MR_small_{other}.dcm").pixels, plain)


def test_colour_and_palette() -> None:
    np.testing.assert_array_equal(decode(dicom(CORNERS)).pixels, CORNERS)
    planar = dataset(CORNERS, PlanarConfiguration=1)
    planar.PixelData = np.ascontiguousarray(CORNERS.transpose(2, 0, 1)).tobytes()
    np.testing.assert_array_equal(decode(encode(planar)).pixels, CORNERS)
    table = np.array([[9, 8, 7], [250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
    index = (RAMP % 4).astype(np.uint8)
    made = dataset(index, PhotometricInterpretation="PALETTE COLOR")
    for channel, colour in enumerate(("Red", "Green", "Blue")):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 8])
        setattr(made, f"{colour}PaletteColorLookupTableData", table[:, channel].tobytes())
    np.testing.assert_array_equal(decode(encode(made)).pixels, table[index])


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, "1.2.840.10008.1.2.1"])
def test_a_data_set_without_preamble_is_read(syntax: str) -> None:
    data = encode(dataset(RAMP), syntax, preamble=False)
    np.testing.assert_array_equal(decode(data).pixels, RAMP)


UNKNOWN_SYNTAX = dicom(RAMP).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0")


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (dicom(None), DecodeError, "no pixel data"),
        (dicom(RAMP, NumberOfFrames=3), UnsupportedFormatError, "3 frames"),
        (dicom(RAMP, NumberOfFrames=10**6), TooLargeError, "1000000 frames"),
        (dicom(RAMP, Rows=40_000, Columns=40_000), TooLargeError, "40000 × 40000"),
        (dicom(RAMP, Rows=17), DecodeError, "truncated or damaged"),
        (dicom(RAMP, Rows=0), DecodeError, "damaged"),
        (dicom(RAMP, RescaleSlope="1e300", RescaleIntercept="-1e300"), None, ""),
        (dicom(RAMP, BitsAllocated=32), DecodeError, "truncated or damaged"),
        (dicom(RAMP, BitsAllocated=64), UnsupportedFormatError, "64 bits"),
        (dicom(RAMP, BitsAllocated=1), UnsupportedFormatError, "1 bits"),
        (dicom(RAMP, PhotometricInterpretation="HSV"), UnsupportedFormatError, "photometric"),
        (dicom(RAMP, PhotometricInterpretation="PALETTE COLOR"), UnsupportedFormatError,
         "colour table"),
        (UNKNOWN_SYNTAX, UnsupportedFormatError, "transfer syntax"),
        (bytes(128) + b"DICM", DecodeError, ""),
        (b"\x08\x00\x05\x00CS" + bytes(30), UnsupportedFormatError, "not a JPEG"),
    ],
)  # fmt: skip
def test_unsupported_files_are_refused(
    data: bytes, error: type[InputError] | None, words: str
) -> None:
    if error is None:
        assert decode(data).pixels.shape == RAMP.shape
        return
    with pytest.raises(error, match=rf"^scan: .*{words}") as caught:
        decode(data, name="scan")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_errors_of_pydicom_do_not_reach_the_traceback() -> None:
    data = bytearray(dicom(RAMP))
    assert data[132:140] == b"\x02\0\0\0UL\x04\0"
    data[138:140] = b"\xff\x00"  # the first element's length now swallows the patient's name
    with pytest.raises(DecodeError) as caught:
        decode(bytes(data))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.8, 0.98])
def test_a_truncated_file_is_a_decode_error(kept: float) -> None:
    data = dicom(np.tile(RAMP16, (4, 4)))
    with pytest.raises(DecodeError):
        decode(data[: int(len(data) * kept)])


SEEDS = [dicom(RAMP), dicom(RAMP16, **WINDOW), dicom(CORNERS),
         encode(dataset(RAMP), ImplicitVRLittleEndian, preamble=False),
         encode(dataset(RAMP), JPEGBaseline8Bit, frame=pictures.pillow(RAMP, "JPEG")),
         encode(dataset(RAMP), JPEG2000Lossless, frame=J2K),
]  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    seed=st.sampled_from(SEEDS),
    cut=st.floats(0, 1),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), max_size=5),
)
def test_any_bytes_give_an_image_or_an_input_error(
    seed: bytes, cut: float, edits: list[tuple[float, bytes]]
) -> None:
    data = bytearray(seed)
    for where, new in edits:
        at = int(where * len(data))
        data[at : at + len(new)] = new
    if cut > 0.5:
        data = data[: int(len(data) * cut)]
    outcome: Image | str
    try:
        outcome = decode(bytes(data), limits=Limits(max_pixels=10**6))
    except InputError as error:
        outcome = str(error)
    assert isinstance(outcome, Image) or SECRET not in outcome


def test_damaged_headers_raise_nothing_else() -> None:
    # The benchmark does 6,000; a hundred show that it still runs.
    from benchmarks.dicom_fuzz import bombs, damaged, good_files

    rng, files = np.random.default_rng(1), good_files()
    messages = []
    for body in [*bombs(), *(damaged(files[n % len(files)], rng) for n in range(100))]:
        try:
            decode(body)
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert not [message for message in messages if SECRET in message]


def test_no_patient_data_is_read() -> None:
    # Image Position (Patient) and Image Orientation (Patient) are in the patient's coordinates.
    about_persons = [key for key in ALLOWED if re.search(r"Patient|Name|Date|Birth|Study", key)]
    assert about_persons == ["ImagePositionPatient", "ImageOrientationPatient", "SequenceName"]
    read = read_elements(dicoms.dicom(RAMP), "scan", Limits())
    assert SECRET not in str(read)
    made = dataset(RAMP, SeriesDescription=SECRET)
    made.add_new("BodyPartExamined", "LO", SECRET)
    image = decode(encode(made))
    assert image.header is not None
    assert SECRET not in repr(image.header)
