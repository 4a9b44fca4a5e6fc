"""The same slice written in unusual ways gets the same answer from the packaged model."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from tests.imaging.dicoms import dataset, encode
from tests.imaging.picture_files import pillow, png_chunk
from tumorlens import Predictor
from tumorlens.errors import InputError
from tumorlens.imaging.phantom import draw_phantom

HEADS = {lesion: draw_phantom(1, lesion=lesion).image for lesion in (True, False)}
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.open(threads=1)


@pytest.fixture(scope="module")
def plain(predictor: Predictor) -> dict[bool, float]:
    return {lesion: predictor.predict(pixels).prob for lesion, pixels in HEADS.items()}


def mr(pixels: NDArray[Any], **elements: Any) -> Dataset:
    return dataset(pixels, Modality="MR", BodyPartExamined="HEAD", **elements)


def lut(values: NDArray[Any]) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), 0, 16])
    item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    return [item]


def floats(pixels: Pixels) -> bytes:
    made = mr(pixels, BitsAllocated=32)
    made.FloatPixelData = (pixels / np.float32(3) - 9).astype("<f4").tobytes()
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(made, keyword)
    return encode(made)


def squeezed(pixels: Pixels, across: float, down: float) -> Pixels:
    size = (round(256 * across), round(256 * down))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def with_commas(pixels: Pixels) -> bytes:
    made = mr(wide(pixels))
    made.add_new("WindowCenter", "LO", "700,5")
    made.add_new("WindowWidth", "LO", "1400,0")
    return encode(made)


def run_length(pixels: Pixels) -> bytes:
    made = mr(wide(pixels))
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.compress(RLELossless, generate_instance_uid=False)
    return encode(made, RLELossless)


def big_endian(pixels: Pixels) -> bytes:
    made = mr(wide(pixels))
    made.PixelData = wide(pixels).astype(">u2").tobytes()
    return encode(made, ExplicitVRBigEndian)


def without_representation(pixels: Pixels) -> bytes:
    made = mr(wide(pixels))
    del made.PixelRepresentation
    return encode(made)


def png_with_resolution(pixels: Pixels) -> bytes:
    data = pillow(squeezed(pixels, 0.5, 1), "PNG")
    body = (1000).to_bytes(4, "big") + (2000).to_bytes(4, "big") + b"\0"
    return data[:33] + png_chunk(b"pHYs", body) + data[33:]


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def wide(pixels: Pixels) -> NDArray[np.uint16]:
    return pixels.astype(np.uint16) * 6


def padded(pixels: Pixels) -> bytes:
    stored = wide(pixels).astype(np.int16)
    stored[:20] = stored[:, -20:] = -2000
    return encode(mr(stored, PixelPaddingValue=-2000))


TURNED = np.arange(1531)[::-1]
WRITTEN: dict[str, Callable[[Pixels], bytes]] = {
    "16 bit": lambda p: encode(mr(wide(p))),
    "implicit": lambda p: encode(mr(wide(p)), ImplicitVRLittleEndian),
    "big endian": big_endian,
    "signed": lambda p: encode(mr(wide(p).astype(np.int16) - 700)),
    "run length": run_length,
    "JPEG 2000": lambda p: encode(
        mr(p), JPEG2000Lossless, frame=pillow(p, "JPEG2000", no_jp2=True)
    ),
    "gzip": lambda p: gzip.compress(encode(mr(p))),
    "MONOCHROME1": lambda p: encode(mr(1530 - wide(p), PhotometricInterpretation="MONOCHROME1")),
    "inverse shape": lambda p: encode(mr(1530 - wide(p), PresentationLUTShape="INVERSE")),
    "VOI table": lambda p: encode(mr(1530 - wide(p), VOILUTSequence=lut(TURNED))),
    "modality table": lambda p: encode(mr(1530 - wide(p), ModalityLUTSequence=lut(TURNED))),
    "negative slope": lambda p: encode(
        mr(1530 - wide(p), RescaleSlope=-1.5, RescaleIntercept=2000)
    ),
    "window below": lambda p: encode(mr(wide(p), WindowCenter=-600, WindowWidth=100)),
    "window of 1": lambda p: encode(mr(wide(p), WindowCenter=0, WindowWidth=1)),
    "window above": lambda p: encode(mr(wide(p), WindowCenter=5000, WindowWidth=1000)),
    "good window": lambda p: encode(mr(wide(p), WindowCenter=750, WindowWidth=1500)),
    "comma": with_commas,
    "floats": floats,
    "high bit 15": lambda p: encode(mr(wide(p) << np.uint16(4), BitsStored=12, HighBit=15)),
    "overlay bits": lambda p: encode(mr(wide(p) | np.uint16(0xA000), BitsStored=12, HighBit=11)),
    "no representation": without_representation,
    "padding": padded,
    "narrow": lambda p: encode(mr(squeezed(p, 0.5, 1), PixelSpacing=[0.9, 1.8])),
    "flat": lambda p: encode(mr(squeezed(p, 1, 0.5), PixelSpacing=[1.8, 0.9])),
    "aspect": lambda p: encode(mr(squeezed(p, 1, 0.8), PixelAspectRatio=[5, 4])),
    "pHYs": png_with_resolution,
    "float16 TIFF": lambda p: tiff(p.astype(np.float16)),
    "float64 TIFF": lambda p: tiff(p.astype(np.float64) * 1e9),
    "MinIsWhite TIFF": lambda p: tiff(255 - p.astype(np.float32), photometric="miniswhite"),
    "blue": lambda p: pillow(np.rint(p[..., None] * np.array([0.6, 0.7, 1.0])).astype(np.uint8),
                             "PNG"),
    "transparent": lambda p: pillow(np.dstack([p, p, p, 0 * p]), "PNG"),
    "on a page": lambda p: pillow(
        cv2.copyMakeBorder(p, 200, 400, 600, 300, cv2.BORDER_CONSTANT, value=[255]), "PNG"
    ),
    "on black": lambda p: pillow(
        cv2.copyMakeBorder(p, 200, 400, 600, 300, cv2.BORDER_CONSTANT, value=[0]), "PNG"
    ),
    "in a window": lambda p: pillow(
        cv2.copyMakeBorder(p, 100, 100, 300, 300, cv2.BORDER_CONSTANT, value=[60]), "PNG"
    ),
}  # fmt: skip


@pytest.mark.parametrize("written", WRITTEN)
def test_the_answer_is_that_of_the_plain_picture(
    predictor: Predictor, plain: dict[bool, float], written: str
) -> None:
    for lesion, pixels in HEADS.items():
        found = predictor.predict(WRITTEN[written](pixels))
        assert found.in_domain, found.in_domain_reason
        assert found.prob == pytest.approx(plain[lesion], abs=0.03)


@pytest.mark.slow
def test_inputs_that_were_answered_wrongly(data_root: Path, predictor: Predictor) -> None:
    """Pictures and single DICOM files beside the real images, with what is expected of each."""
    folder = data_root.parent / "cases"
    rows = []
    if (folder / "expected.csv").is_file():
        lines = (folder / "expected.csv").read_text("utf-8").splitlines()
        rows = list(csv.DictReader(lines))
    wrong = {}
    for row in rows:
        name = row["file"]
        # Volumes have a test of their own.
        if not name.startswith(("pt_", "ph_", "ct_", "montage_")):
            continue
        label, reason = "", ""
        try:
            found = predictor.predict(folder / name)
        except InputError as error:
            reason = str(error)
        else:
            label, reason = found.label, found.in_domain_reason or ""
        if ("refused" if reason else label) not in row["expect"].split(" or "):
            wrong[name] = f"{label} {reason}"
    assert not wrong
