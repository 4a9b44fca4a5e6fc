"""Damaged DICOM headers: each is read or refused, nothing else is raised, memory stays bounded.

    python -m benchmarks.dicom_fuzz --count 6000 --seed 0

The elements of a good file (plain, implicit, big endian, compressed, deflated, with tables) are
changed: values, lengths, representations and tags, bytes flipped, elements dropped and doubled,
files cut. Prints how many were read and refused, every foreign exception, the slowest file and
the peak of memory; exit status 1 where anything else than an `InputError` was raised.
"""

from __future__ import annotations

import argparse
import collections
import io
import resource
import sys
import time
import zlib

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from tumorlens.errors import InputError
from tumorlens.imaging.decode import Limits, decode
from tumorlens.imaging.phantom import draw_phantom

Rng = np.random.Generator
ODD = (
    b"", b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"-1", b"1e308", b"nan", b"0", b"9" * 16, b"1,5",
    b"\\", b"\\" * 9, b"MONOCHROME1 ", b"YBR_FULL_422", b"PALETTE COLOR ", b"DOE^JANE", b"\x01\0",
    b"\x03\0", b"\x10\0", b"\x40\0", b"\xff\xff",
)  # fmt: skip


def good_files() -> list[bytes]:
    pixels = draw_phantom(3, lesion=True, size=96).image
    deep = pixels.astype(np.uint16) * 16
    files = [
        written(described(pixels)),
        written(described(deep)),
        written(described(deep), ImplicitVRLittleEndian),
        written(described(deep.astype(">u2")), ExplicitVRBigEndian),
        written(described(np.stack([pixels] * 3, axis=2))),
        written(described(deep), DeflatedExplicitVRLittleEndian),
    ]
    table = described(deep)
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    item.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
    table.ModalityLUTSequence = table.VOILUTSequence = [item]
    files.append(written(table))
    for syntax, kind in ((JPEGBaseline8Bit, ".jpg"), (JPEG2000Lossless, ".jp2")):
        import cv2

        frame = cv2.imencode(kind, pixels)[1].tobytes()
        made = described(pixels)
        made.PixelData = encapsulate([frame])
        made["PixelData"].is_undefined_length = True
        files.append(written(made, syntax))
    made = described(deep)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.compress(RLELossless, generate_instance_uid=False)
    files.append(written(made, RLELossless))
    return files


def described(pixels: np.ndarray) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3"
    made.Modality, made.BodyPartExamined, made.PatientName = "MR", "HEAD", "DOE^JANE"
    made.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    made.EchoTime, made.RepetitionTime, made.ScanningSequence = 12, 550, "SE"
    made.PixelSpacing, made.ImageOrientationPatient = [0.9, 0.9], [1, 0, 0, 0, 1, 0]
    made.WindowCenter, made.WindowWidth = 700, 1500
    made.RescaleSlope, made.RescaleIntercept = 1, 0
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    made.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = pixels.dtype.itemsize * 8
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, 0
    made.PixelPaddingValue = 0
    made.PixelData = pixels.tobytes()
    return made


def written(made: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    dcmwrite(stream, made, enforce_file_format=True)
    return stream.getvalue()


def damaged(body: bytes, rng: Rng) -> bytes:
    """Change a file in one to four places, most of them in its header."""
    changed = bytearray(body)
    header = min(len(changed), 1500)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(128, header))
        match int(rng.integers(0, 6)):
            case 0:
                changed[place] ^= 1 << int(rng.integers(0, 8))
            case 1:
                odd = ODD[int(rng.integers(0, len(ODD)))]
                changed[place : place + len(odd)] = odd
            case 2:
                odd = ODD[int(rng.integers(0, len(ODD)))]
                changed[place:place] = odd
            case 3:
                del changed[place : place + int(rng.integers(1, 64))]
            case 4:
                changed[place:place] = changed[place : place + int(rng.integers(1, 64))]
            case _:
                changed = changed[: int(rng.integers(130, len(changed)))]
        header = min(len(changed), 1500)
        if header < 140:
            break
    return bytes(changed)


def bombs() -> list[bytes]:
    """Return small files that announce, or unpack to, very much."""
    pixels = draw_phantom(3, lesion=True, size=96).image
    huge = described(pixels)
    huge.Rows = huge.Columns = 60_000
    frames = described(pixels)
    frames.NumberOfFrames = 10**9
    meta = written(described(pixels), DeflatedExplicitVRLittleEndian)
    meta = meta[: 144 + int.from_bytes(meta[140:144], "little")]  # file meta information alone
    packed = zlib.compressobj(wbits=-15)
    return [
        written(huge),
        written(frames),
        meta + packed.compress(bytes(300 * 2**20)) + packed.flush(),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    files = good_files()
    for body in files:
        decode(body)  # warms the libraries up: their own memory is no file's
    before = peak_mib()
    outcomes: collections.Counter[str] = collections.Counter()
    foreign: collections.Counter[str] = collections.Counter()
    slowest, leaks = 0.0, 0
    inputs = bombs() + [damaged(files[n % len(files)], rng) for n in range(options.count)]
    for body in inputs:
        start = time.perf_counter()
        try:
            decode(body, limits=Limits())
            outcomes["read"] += 1
        except InputError as error:
            outcomes[f"refused, {type(error).__name__}"] += 1
            leaks += "DOE" in str(error)
        except BaseException as error:  # noqa: BLE001
            foreign[f"{type(error).__name__}: {error}"[:120]] += 1
        slowest = max(slowest, time.perf_counter() - start)
    for outcome, count in outcomes.most_common():
        print(f"{count:6d}  {outcome}")
    print(f"{sum(foreign.values()):6d}  foreign exceptions", *foreign.items(), sep="\n        ")
    print(f"{leaks:6d}  messages that repeat the patient's name")
    print(
        f"slowest file {slowest:.2f} s; memory {before:.0f} MiB before, peak {peak_mib():.0f} MiB"
    )
    sys.exit(bool(foreign) or bool(leaks))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
