"""Two external tumour patients: ``python -m benchmarks.external_tumours FOLDER [--model FILE]``.

Tumours outside the training collections: two contrast-enhanced T1-weighted volumes with 6.5 mm
slices and a tumour mask, from the test data of pyradiomics. Their slices far from the tumour are
contrast-enhanced without a finding, which the collections lack. The package is downloaded into
FOLDER if it is missing. With two patients, intervals would be meaningless and are not given.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.external_controls import arguments, as_volume, fetch, write_kinds
from tumorlens import Predictor
from tumorlens.imaging.image import Image
from tumorlens.volumes.slices import head_extent, take_slice
from tumorlens.volumes.volume import Volume

PEOPLE = ("brain1", "brain2")
FAR = 3
"""Distance in slices (20 mm) from the tumour from which a slice counts as tumour-free."""
_PACKAGE = "pyradiomics-cuda==1.0.4"
_TYPES = {"short": "<i2", "int": "<i4", "unsigned char": "u1", "unsigned short": "<u2"}


def read_nrrd(path: Path) -> Volume:
    """Read a three-dimensional NRRD of little-endian integers, axes along the patient's."""
    text, _, body = path.read_bytes().partition(b"\n\n")
    lines = [line for line in text.decode("ascii").splitlines()[1:] if not line.startswith("#")]
    header = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    voxels = gzip.decompress(body) if header["encoding"] == "gzip" else body
    size = [int(number) for number in header["sizes"].split()]
    data = np.frombuffer(voxels, _TYPES[header["type"]]).reshape(size, order="F")
    axes = header["space directions"].strip("()").split(") (")
    affine = np.eye(4)
    affine[:3, :3] = np.array([[float(v) for v in axis.split(",")] for axis in axes]).T
    affine[:2] *= -1  # NRRD's axes grow to the left and back, NIfTI's to the right and front
    return as_volume(data.astype(np.int16), affine)


def marked_slices(mask: Volume) -> NDArray[np.bool_]:
    """Return which axial slices ``[Z]`` contain part of the tumour."""
    return np.asarray((mask.data > 0).any(axis=(0, 1)))


def main() -> None:
    chosen = arguments(__doc__)
    predictor = Predictor.open(chosen.model, threads=None)
    (data,) = fetch("pip", _PACKAGE, chosen.folder).glob("*/data")
    report = {}
    for person in PEOPLE:
        volume = read_nrrd(data / f"{person}_image.nrrd")
        marked = marked_slices(read_nrrd(data / f"{person}_label.nrrd"))
        first, last = head_extent(volume, "axial")
        indices = np.arange(first, last + 1)
        away = np.abs(indices[:, None] - np.flatnonzero(marked)).min(axis=1)
        pictures = [
            Image(take_slice(volume, "axial", int(index)), "nifti", f"{person}#{index}")
            for index in indices
        ]
        answers = list(predictor.predict_many(pictures))
        positive = np.array([answer.label == "tumor" for answer in answers])
        refused = np.array([not answer.in_domain for answer in answers])
        for kind, rows in (("with tumour", away == 0), ("far from it", away >= FAR)):
            told = {
                "slices": int(rows.sum()),
                "predicted_positive": int(positive[rows].sum()),
                "refused": int(refused[rows].sum()),
            }
            report[f"{person}, {kind}"] = told
            print(f"{person}, {kind}: {told}")
    write_kinds(chosen.output, predictor, report)


if __name__ == "__main__":
    main()
