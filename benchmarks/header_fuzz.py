"""Mutated headers of volumes and series: does each give an answer or a refusal of ours?

Every mutant is read as a user's file is: found, loaded, cut in its three planes, preprocessed.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from tests.imaging.dicoms import encode
from tests.volumes.dicom_series import Scan, enhanced, mosaic, multi_frame, one_slice
from tests.volumes.heads import AFFINE, SPACING, head
from tumorlens.errors import InputError
from tumorlens.imaging.image import Limits
from tumorlens.imaging.preprocess import DEFAULT, preprocess
from tumorlens.volumes.discover import discover
from tumorlens.volumes.entries import Picture, Unreadable
from tumorlens.volumes.slices import cut
from tumorlens.volumes.source import Source, bytes_source
from tumorlens.volumes.volume import Volume

Rng = np.random.Generator
_HOSTILE = (0, 1, -1, 2, 3, 4, 7, 8, 127, 255, 256, 348, 540, 32767, -32768, 65535, 2**31 - 1,
            -(2**31), 1e9, -1e9, 1e38, 1e-38, np.nan, np.inf, -np.inf, 0.001, 900.0)  # fmt: skip


def nifti_seeds() -> dict[str, bytes]:
    """Return one good file of each kind that nibabel parses."""
    image = nibabel.Nifti1Image(head().astype(np.int16), AFFINE)
    found = {"nifti1.nii": image.to_bytes()}
    found["nifti1.nii.gz"] = gzip.compress(found["nifti1.nii"])
    found["run.nii"] = nibabel.Nifti1Image(np.stack([head()] * 2, -1), AFFINE).to_bytes()
    found["float.nii"] = nibabel.Nifti1Image(head().astype(np.float32), AFFINE).to_bytes()
    found["nifti2.nii"] = nibabel.Nifti2Image(head(), AFFINE).to_bytes()
    stream = io.BytesIO()
    mgh = nibabel.MGHImage(head().astype(np.int16), AFFINE)
    mgh.to_file_map({"image": nibabel.FileHolder(fileobj=stream)})
    found["v.mgh"] = stream.getvalue()
    return found


def dicom_seeds() -> dict[str, bytes]:
    """Return one good file of each way that DICOM stores slices."""
    scan = Scan(head(), SPACING)
    return {
        "slice.dcm": encode(one_slice(scan, 3)),
        "enhanced.dcm": encode(enhanced(scan)),
        "frames.dcm": encode(multi_frame(scan, SpacingBetweenSlices=SPACING[2])),
        "mosaic.dcm": encode(mosaic(scan)),
    }


def mutate_nifti(rng: Rng, name: str, content: bytes) -> bytes:
    """Change fields of the header, or its bytes, or cut the file."""
    packed = name.endswith(".gz")
    plain = bytearray(gzip.decompress(content) if packed else content)
    if rng.random() < 0.6 and name.startswith(("nifti", "run", "float")):
        kind = nibabel.Nifti2Header if "nifti2" in name else nibabel.Nifti1Header
        size = kind.template_dtype.itemsize
        header = np.frombuffer(bytes(plain[:size]), kind.template_dtype).copy()
        names = [each for each in header.dtype.names if header.dtype[each].base.kind in "iuf"]
        for field in rng.choice(names, rng.integers(1, 4)):
            values = header[field]
            place = int(rng.integers(values.size))
            with np.errstate(all="ignore"):
                values.reshape(-1)[place] = np.array(rng.choice(_HOSTILE)).astype(values.dtype)
        plain[:size] = header.tobytes()
    else:
        for _ in range(rng.integers(1, 9)):
            plain[int(rng.integers(min(len(plain), 360)))] = int(rng.integers(256))
    if rng.random() < 0.1:
        del plain[int(rng.integers(len(plain))) :]
    mutant = gzip.compress(bytes(plain), 1) if packed else bytes(plain)
    return mutant[: int(rng.integers(len(mutant)))] if packed and rng.random() < 0.1 else mutant


def mutate_dicom(rng: Rng, name: str, content: bytes) -> bytes:
    """Change bytes before the pixels, or inside numbers written as text, or cut the file."""
    plain = bytearray(content)
    end = max(200, content.rfind(b"\xe0\x7f\x10\x00"))
    if rng.random() < 0.4:
        digits = [found.start() for found in re.finditer(rb"[0-9.]", content[132:end])]
        for at in rng.choice(digits, rng.integers(1, 6)):
            plain[132 + int(at)] = int(rng.choice(np.frombuffer(b"0123456789.,-+eE\\ N\0", "u1")))
    else:
        for _ in range(rng.integers(1, 9)):
            plain[int(rng.integers(end + 12))] = int(rng.integers(256))
    if rng.random() < 0.1:
        del plain[int(rng.integers(len(plain))) :]
    return bytes(plain)


def read(source: Source) -> str:
    """Read one mutant as far as the network's input; return what became of it."""
    entries = discover([source])
    outcomes = set()
    for entry in entries[:4]:
        try:
            if isinstance(entry, Unreadable):
                raise entry.error
            if isinstance(entry, Picture):
                preprocess(entry.decode(Limits()).pixels, DEFAULT)
            else:
                _cut(entry.load())
            outcomes.add("read")
        except InputError as error:
            outcomes.add(type(error).__name__)
    return " + ".join(sorted(outcomes)) or "nothing"


def _cut(volume: Volume) -> None:
    for plane in ("sagittal", "coronal", "axial"):
        slices = list(cut(volume, plane))
        preprocess(slices[len(slices) // 2].pixels(), DEFAULT)


def peak_mb() -> int:
    """Return the largest memory this process has held."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) // 1024 if found else -1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("nifti", "dicom"))
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=None)
    chosen = parser.parse_args()
    mutate: Callable[[Rng, str, bytes], bytes]
    seeds, mutate = (
        (nifti_seeds(), mutate_nifti) if chosen.kind == "nifti" else (dicom_seeds(), mutate_dicom)
    )
    rng = np.random.default_rng(chosen.seed)
    outcomes: Counter[str] = Counter()
    escaped: list[str] = []
    slowest = 0.0
    for number in range(chosen.count):
        name = str(rng.choice(sorted(seeds)))
        mutant = mutate(rng, name, seeds[name])
        start = time.perf_counter()
        try:
            outcomes[read(bytes_source(name, mutant))] += 1
        except Exception:  # noqa: BLE001, the point of this program
            escaped.append(f"{number} {name}: {traceback.format_exc(limit=-3)}")
        slowest = max(slowest, time.perf_counter() - start)
    result: dict[str, Any] = {
        "kind": chosen.kind, "count": chosen.count, "seed": chosen.seed,
        "outcomes": dict(outcomes.most_common()), "escaped": len(escaped),
        "slowest_s": round(slowest, 2), "peak_mb": peak_mb(),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    print(*escaped[:10], sep="\n")
    if chosen.output:
        chosen.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(bool(escaped))


if __name__ == "__main__":
    main()
