"""Damaged images: cut, bits flipped, false headers, mislabelled, and bombs; fixed by a seed."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tumorlens.imaging.phantom import draw_phantom

Rng = np.random.Generator
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
MAGICS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\x00", b"MM\x00*", b"BM", b"RIFF", b"PK")


def seeds() -> dict[str, bytes]:
    """Return one good file of each kind the service reads, and a zip of two."""
    pixels = draw_phantom(7, lesion=True, size=192).image
    found = {}
    for kind in FORMATS:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        found[kind.lower()] = buffer.getvalue()
    found["dicom"] = dicom(pixels)
    found["png16"] = _png16(pixels)
    found["zip"] = zipped({"a.png": found["png"], "b.jpg": found["jpeg"]})
    return found


def dicom(pixels: np.ndarray, rows: int | None = None, frames: int | None = None) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("x", {}, file_meta=meta, preamble=bytes(128))
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    file.Rows, file.Columns = rows or pixels.shape[0], pixels.shape[1]
    if frames is not None:
        file.NumberOfFrames = frames
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit, file.PixelRepresentation = 7, 0
    file.PixelData = pixels.tobytes()
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return buffer.getvalue()


def _png16(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint16) * 257).save(buffer, "PNG")
    return buffer.getvalue()


def cut(body: bytes, rng: Rng) -> bytes:
    return body[: int(rng.integers(0, len(body)))]


def flip(body: bytes, rng: Rng) -> bytes:
    changed = bytearray(body)
    for place in rng.integers(0, len(body), int(rng.integers(1, 64))):
        changed[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)


def flip_head(body: bytes, rng: Rng) -> bytes:
    """Change bytes of the first 512, where sizes, depths and offsets stand."""
    changed = bytearray(body)
    for place in rng.integers(0, min(512, len(body)), int(rng.integers(1, 12))):
        changed[place] = int(rng.integers(0, 256))
    return bytes(changed)


def lie(body: bytes, rng: Rng) -> bytes:
    """Overwrite an aligned word near the start with a huge, negative or zero number."""
    changed = bytearray(body)
    value = int(rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 65535, 65536]))
    place = int(rng.integers(2, min(256, len(body) - 4)))
    struct.pack_into(str(rng.choice(["<I", ">I"])), changed, place, value)
    return bytes(changed)


def retype(body: bytes, rng: Rng) -> bytes:
    magic = MAGICS[int(rng.integers(0, len(MAGICS)))]
    return magic + body[len(magic) :]


def splice(body: bytes, rng: Rng) -> bytes:
    """Repeat, drop or swap a slice."""
    a, b = sorted(int(x) for x in rng.integers(0, len(body), 2))
    return [body[:a] + body[b:], body[:b] + body[a:], body[b:] + body[:b]][int(rng.integers(0, 3))]


def noise(body: bytes, rng: Rng) -> bytes:
    return body[:16] + rng.bytes(int(rng.integers(0, 5000)))


CHANGES: tuple[Callable[[bytes, Rng], bytes], ...] = (
    cut,
    flip,
    flip_head,
    lie,
    retype,
    splice,
    noise,
)


def mutants(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield ``count`` named mutants, every kind and every change in turn."""
    rng = np.random.default_rng(seed)
    originals = list(seeds().items())
    for index in range(count):
        kind, body = originals[index % len(originals)]
        change = CHANGES[(index // len(originals)) % len(CHANGES)]
        yield f"{kind}-{change.__name__}", change(body, rng)


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb(width: int, height: int, depth: int = 8) -> bytes:
    """Return a PNG that really unpacks to its huge picture, black and well compressed."""
    row = 1 + width * depth // 8
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(row * 64)) for _ in range(height // 64))
    data += packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n"
    return start + _png_chunk(b"IHDR", head) + _png_chunk(b"IDAT", data) + _png_chunk(b"IEND", b"")


def tiff_bomb(width: int, height: int) -> bytes:
    """Return a TIFF of a few bytes whose directory announces a huge picture."""
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, 1, width * height % 2**32),
    ]
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    return b"II*\x00" + struct.pack("<I", 8) + body + struct.pack("<I", 0)


def bombs() -> Iterator[tuple[str, bytes]]:
    """Yield small uploads that ask for a lot."""
    small = draw_phantom(1, lesion=False, size=64).image
    yield "png-bomb-20000", png_bomb(20_032, 20_032)
    yield "png-bomb-just-under", png_bomb(4096, 4096)
    yield "png-bomb-16-bit", png_bomb(4096, 4096, 16)
    yield "tiff-bomb", tiff_bomb(60_000, 60_000)
    yield "tiff-bomb-overflow", tiff_bomb(2**31, 2)
    yield "dicom-rows", dicom(small, rows=65_535)
    yield "dicom-frames", dicom(small, frames=2_000_000)
    yield "zip-bomb", zipped({f"{n}.png": bytes(20_000_000) for n in range(40)})
    yield "zip-bzip2", zipped({"a.png": bytes(400_000_000)}, zipfile.ZIP_BZIP2)
    yield "zip-many", zipped({f"{n}.png": b"x" for n in range(20_000)})
    yield "zip-nested", zipped({"a.zip": zipped({"b.zip": zipped({"c": bytes(10_000_000)})})})
