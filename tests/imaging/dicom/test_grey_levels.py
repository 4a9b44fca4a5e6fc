"""Stored values to grey levels: tables, windows, padding, polarity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from tests.imaging.dicoms import dataset, dicom, encode, ramp
from tumorlens.errors import DecodeError
from tumorlens.imaging.decode import decode
from tumorlens.imaging.phantom import draw_phantom

TOP = 65535
# Of CT, whose windows are used as they are.
WINDOW = {"Modality": "CT", "WindowCenter": 100, "WindowWidth": 101}  # shares (x - 49.5) / 100
HEAD = draw_phantom(5, lesion=True).image
STORED = HEAD.astype(np.uint16) * 6


def lut(values: NDArray[Any], first: int = 0, bits: int = 16) -> list[Dataset]:
    """Return a lookup table's sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values) % 65536, first % 65536, bits])
    item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    return [item]


@pytest.mark.parametrize(
    ("stored", "elements", "shown"),
    [
        # No window: the slice's own range; unsigned 8 bit stays as it is.
        (ramp(np.uint16, 100, 200, 300), {}, [0, 32768, TOP]),
        (ramp(np.int16, -100, 0, 100), {}, [0, 32768, TOP]),
        (ramp(np.uint8, 3, 200, 40), {}, [3, 200, 40]),
        (ramp(np.int8, -50, 0, 50), {}, [0, 32768, TOP]),
        (ramp(np.uint16, 7, 7), {}, [0, 0]),
        (ramp(np.uint32, 10**9, 2 * 10**9, 3 * 10**9), {}, [0, 32768, TOP]),
        # PS3.3 C.11.2.1.2: LINEAR clips at c - 0.5 -+ (w - 1) / 2.
        (ramp(np.uint16, 0, 49, 50, 75, 149, 150, 900), WINDOW,
         [0, 0, 328, 16711, 65207, TOP, TOP]),
        (ramp(np.uint16, 50, 100, 150), {**WINDOW, "WindowWidth": 100,
         "VOILUTFunction": "LINEAR_EXACT"}, [0, 32768, TOP]),
        (ramp(np.uint16, 100, 150), {**WINDOW, "VOILUTFunction": "SIGMOID"}, [32768, 57586]),
        (ramp(np.uint16, 99, 100), {**WINDOW, "WindowWidth": 1}, [0, TOP]),
        (ramp(np.uint16, 0, 5, 10), {**WINDOW, "WindowCenter": 5, "WindowWidth": 0},
         [0, 32768, TOP]),
        (ramp(np.uint16, 75, 149), {**WINDOW, "WindowCenter": [100, 40], "WindowWidth": [101, 80]},
         [16711, 65207]),
        # The window speaks of rescaled values.
        (ramp(np.uint16, 0, 25, 1000), {**WINDOW, "RescaleSlope": 2, "RescaleIntercept": 25},
         [0, 16711, TOP]),
        (ramp(np.int16, -1, 24, 99), {**WINDOW, "RescaleSlope": 1, "RescaleIntercept": 51},
         [328, 16711, TOP]),
        (ramp(np.uint8, 3, 8), {"RescaleSlope": 0, "RescaleIntercept": 0}, [3, 8]),
        (ramp(np.uint8, 3, 8), {"RescaleSlope": -2, "RescaleIntercept": 9}, [TOP, 0]),
        # MONOCHROME1 and Presentation LUT Shape INVERSE are the same, and together no twofold turn.
        (ramp(np.uint8, 3, 200), {"PhotometricInterpretation": "MONOCHROME1"}, [252, 55]),
        (ramp(np.uint8, 3, 200), {"PresentationLUTShape": "INVERSE"}, [252, 55]),
        (ramp(np.uint8, 3, 200), {"PresentationLUTShape": "INVERSE",
         "PhotometricInterpretation": "MONOCHROME1"}, [252, 55]),
        (ramp(np.uint8, 3, 200), {"PresentationLUTShape": "IDENTITY"}, [3, 200]),
        (ramp(np.uint16, 49, 75, 150), {**WINDOW, "PhotometricInterpretation": "MONOCHROME1"},
         [TOP, 48824, 0]),
        # Bits outside Bits Stored are no part of the value, wherever High Bit puts it.
        (ramp(np.uint16, 0xF000, 0x0800, 0x0FFF), {"BitsStored": 12, "HighBit": 11},
         [0, 32776, TOP]),
        (ramp(np.int16, 0x0FFF, 0x0000, 0x0001), {"BitsStored": 12, "HighBit": 11},
         [0, 32768, TOP]),
        (ramp(np.uint16, 0x0005, 0x8005, 0xFFF5), {"BitsStored": 12, "HighBit": 15},
         [0, 32776, TOP]),
        (ramp(np.uint16, 0x0003, 0x1FFB), {"BitsStored": 10, "HighBit": 12}, [0, TOP]),
        (ramp(np.uint16, 0, 0x0800, 0x0FFF), {"BitsStored": 12, "HighBit": 3}, [0, 32776, TOP]),
        # Padding is black and takes no part in the range.
        (ramp(np.int16, -2000, 10, 20, 30), {"PixelPaddingValue": -2000}, [0, 0, 32768, TOP]),
        (ramp(np.int16, -2000, 10, 30), {"PixelPaddingValue": -2000,
         "PhotometricInterpretation": "MONOCHROME1"}, [0, TOP, 0]),
        (ramp(np.uint16, 60_000, 65_000, 10, 30), {"PixelPaddingValue": 60_000,
         "PixelPaddingRangeLimit": 65_535}, [0, 0, 0, TOP]),
        (ramp(np.uint8, 255, 7, 9), {"PixelPaddingValue": 255}, [0, 7, 9]),
        (ramp(np.uint8, 7, 7), {"PixelPaddingValue": 7}, [7, 7]),
        # Modality LUT: first value, last value, a table that falls.
        (ramp(np.uint16, 0, 10, 11, 12, 99), {"ModalityLUTSequence": lut(np.array([5, 7, 15]), 10)},
         [0, 0, 13107, TOP, TOP]),
        (ramp(np.int16, -2, -1, 0), {"ModalityLUTSequence": lut(np.array([9, 4, 0]), -2)},
         [TOP, 29127, 0]),
    ],
)  # fmt: skip
def test_values_tables_and_windows(
    stored: NDArray[Any], elements: dict[str, Any], shown: list[int]
) -> None:
    image = decode(dicom(stored, **elements))
    assert image.format == "dicom"
    assert image.pixels.tolist() == [shown]


def correlation(pixels: NDArray[Any]) -> float:
    return float(np.corrcoef(pixels.ravel(), HEAD.ravel())[0, 1])


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": -600, "WindowWidth": 100},  # below all
        {"WindowCenter": 5000, "WindowWidth": 1000},  # above all
        {"WindowCenter": 0, "WindowWidth": 1},
        {"WindowCenter": 0.5, "WindowWidth": 1},  # of a picture with values 0 to 1
        {"WindowCenter": 300, "WindowWidth": 200},  # swallows the bright half
        {"WindowCenter": 1200, "WindowWidth": 300},  # swallows the dark half
        {"WindowCenter": 40_000, "WindowWidth": 80_000},  # leaves next to nothing
        {"WindowCenter": 600, "WindowWidth": 100, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 600, "WindowWidth": 0},
        {"WindowCenter": 600},
        {"VOILUTSequence": lut(np.zeros(1600, np.uint16))},
        {"VOILUTSequence": lut(np.arange(1600), 40_000)},
    ],
)
def test_a_window_that_does_not_keep_the_head_is_not_used(elements: dict[str, Any]) -> None:
    np.testing.assert_array_equal(
        decode(dicom(STORED, **elements)).pixels, decode(dicom(STORED)).pixels
    )


def test_the_first_window_that_keeps_the_head_is_used() -> None:
    made = dicom(STORED, WindowCenter=[-600, 800], WindowWidth=[100, 1601])
    expected = np.clip((STORED - 799.5) / 1600 + 0.5, 0, 1) * TOP
    np.testing.assert_allclose(decode(made).pixels, expected, atol=1)


@pytest.mark.parametrize(
    ("centre", "width"), [("700,5", "1400,0"), ("700.5\\40", "1400\\80"), (" 700.5 ", "1400 ")]
)
def test_a_window_written_as_text_is_read(centre: str, width: str) -> None:
    made = dataset(STORED, Modality="CT")
    made.add_new("WindowCenter", "LO", centre)
    made.add_new("WindowWidth", "LO", width)
    expected = np.clip((STORED - 700.0) / 1399 + 0.5, 0, 1) * TOP
    np.testing.assert_allclose(decode(encode(made)).pixels, expected, atol=1)


@pytest.mark.parametrize("signed", [False, True])
def test_a_voi_table_that_turns_the_grey_levels_over_is_applied(signed: bool) -> None:
    kind, first = (np.int16, -750) if signed else (np.uint16, 0)
    turned = (1530 - STORED.astype(np.int32) + first).astype(kind)
    table = np.arange(1531, dtype=np.uint16)[::-1] * 2
    shown = decode(dicom(turned, VOILUTSequence=lut(table, first, 12))).pixels
    assert correlation(shown) > 0.999
    # And in the bytes of an implicit data set, whose descriptor has no representation of its own.
    implicit = encode(dataset(turned, VOILUTSequence=lut(table, first, 12)), ImplicitVRLittleEndian)
    np.testing.assert_array_equal(decode(implicit).pixels, shown)


def test_a_table_of_8_bit_entries_in_bytes() -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, 0, 8])
    item.add_new("LUTData", "OW", np.arange(256, dtype=np.uint8)[::-1].tobytes())
    shown = decode(dicom(255 - HEAD, ModalityLUTSequence=[item])).pixels
    assert correlation(shown) > 0.999


def test_a_damaged_table_is_an_error() -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    item.add_new("LUTData", "OW", bytes(100))
    with pytest.raises(DecodeError, match="damaged"):
        decode(dicom(STORED, ModalityLUTSequence=[item]))


@pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", "f4"),
                                               ("DoubleFloatPixelData", "f8")])  # fmt: skip
def test_floating_point_pixels(keyword: str, kind: str) -> None:
    values = np.array([[-1.5, 0.0, 1.5], [np.nan, np.inf, 99.0]], kind)
    made = dataset(
        None,
        Rows=2,
        Columns=3,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=8 * values.itemsize,
    )
    setattr(made, keyword, values.tobytes())
    setattr(made, keyword.replace("Data", "PaddingValue"), 99.0)
    assert decode(encode(made)).pixels.tolist() == [[0, 32768, TOP], [0, 0, 0]]
    setattr(made, keyword, values.tobytes()[:-8])
    with pytest.raises(DecodeError, match="truncated"):
        decode(encode(made))
    setattr(made, keyword, np.full((2, 3), np.nan, kind).tobytes())
    with pytest.raises(DecodeError, match="finite"):
        decode(encode(made))


def test_a_missing_pixel_representation_is_unsigned() -> None:
    made = dataset(ramp(np.uint16, 0, 40_000, 50_000))
    del made.PixelRepresentation
    assert decode(encode(made)).pixels.tolist() == [[0, 52428, TOP]]
    assert decode(encode(made, ImplicitVRLittleEndian)).pixels.tolist() == [[0, 52428, TOP]]
