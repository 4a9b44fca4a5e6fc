"""Where images come from: what is known of each public data set, and folders read as records."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from tumorlens.data.manifest import (
    MANIFEST_NAME,
    Plane,
    Record,
    check_unique,
    read_manifest,
)
from tumorlens.errors import SourceNotFoundError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm"})
VOLUME_SUFFIXES = (".nii", ".nii.gz")
UNKNOWN_LICENCE = "unknown"
_TUMOUR_TYPES = {"glioma", "meningioma", "pituitary"}
_TUMOUR_WORDS = {"yes", "tumor", "tumour"}
_HEALTHY_WORDS = {"no", "healthy", "normal", "notumor", "notumour"}
# healthy_01_T1.nii.gz and healthy_01_FL.nii.gz are one person.
_SEQUENCE = re.compile(r"[-_](t1w?|t1c|t1ce|t1gd|t2w?|fl|flair|pd|dwi|adc)$", re.IGNORECASE)


@dataclass(frozen=True)
class SourceInfo:
    """What a data set may be used for and whom to cite.

    Attributes:
        name: short name, as records bear it.
        licence: SPDX name, or why it is not known.
        citation: how its authors want to be cited.
        url: where it comes from.
        handle: its name on Kaggle, where it can be downloaded from there.
        subfolder: the part of the download that holds each image once.
        patient_runs: files bear running numbers, a person's slices next to each other, but the
            persons are not named; grouping then keeps runs of neighbouring numbers together.
    """

    name: str
    licence: str
    citation: str
    url: str
    handle: str | None = None
    subfolder: str | None = None
    patient_runs: bool = False


KNOWN_SOURCES = {
    info.name: info
    for info in (
        SourceInfo(
            name="navoneel",
            licence="unclear: none stated by the images' owners; download, never redistribute",
            citation="N. Chakrabarty, Brain MRI Images for Brain Tumor Detection, Kaggle, 2019",
            url="https://www.kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection",
            handle="navoneel/brain-mri-images-for-brain-tumor-detection",
            subfolder="brain_tumor_dataset",
        ),
        SourceInfo(
            name="cheng2017",
            licence="CC-BY-4.0",
            citation="J. Cheng, brain tumor dataset, figshare 1512427 v5, 2017",
            url="https://doi.org/10.6084/m9.figshare.1512427.v5",
            patient_runs=True,
        ),
        SourceInfo(
            name="br35h",
            licence="unclear: none stated by the images' owners; download, never redistribute",
            citation="A. Hamada, Br35H :: Brain Tumor Detection 2020, Kaggle, 2020",
            url="https://www.kaggle.com/datasets/ahmedhamada0/brain-tumor-detection",
            handle="ahmedhamada0/brain-tumor-detection",
        ),
        SourceInfo(
            name="sartaj_extra",
            licence="unclear: none stated by the images' owners; download, never redistribute",
            citation=(
                "S. Bhuvaji, A. Kadam, P. Bhumkar, S. Dedge, S. Kanchan, "
                "Brain Tumor Classification (MRI), Kaggle, 2020"
            ),
            url="https://www.kaggle.com/datasets/sartajbhuvaji/brain-tumor-classification-mri",
            handle="sartajbhuvaji/brain-tumor-classification-mri",
        ),
        SourceInfo(
            name="volumes",
            licence="unclear: demonstration data of a neuroimaging toolbox; never redistribute",
            citation="twelve healthy older adults, T1 and FLAIR, demonstration data",
            url="",
        ),
    )
}  # fmt: skip


def source_info(name: str) -> SourceInfo:
    """Return what is known of a source; an unknown one has an unknown licence, not none."""
    unknown = SourceInfo(name, UNKNOWN_LICENCE, UNKNOWN_LICENCE, "")
    return KNOWN_SOURCES.get(name, unknown)


def load_source(path_or_name: str | Path) -> list[Record]:
    """Read a data set into records.

    A folder with a ``manifest.csv`` is read by it. Otherwise the folders that images lie in name
    their class (``yes/no``, ``tumor/healthy``, ``glioma/meningioma/pituitary/notumor``, at any
    depth); an image under no such folder has label None. NIfTI volumes give one record a slice.
    A name such as ``br35h`` picks the rows of that source from the manifest in the folder
    that the environment variable ``TUMORLENS_DATA`` names.

    Raises:
        SourceNotFoundError: neither a folder nor a known name, or nothing readable inside.
        ManifestError: the manifest is wrong, or lists missing files.
        InputError: a volume cannot be read.
    """
    root = Path(path_or_name)
    if root.is_file() and root.suffix == ".csv":
        return read_manifest(root)
    if not root.is_dir():
        return _by_name(str(path_or_name))
    if (root / MANIFEST_NAME).is_file():
        return read_manifest(root / MANIFEST_NAME)
    records = [*_image_records(root), *volume_records(root)]
    if not records:
        raise SourceNotFoundError(
            f"{root}: holds no images and no volumes; expected folders such as yes/ and no/, "
            f"or a {MANIFEST_NAME}"
        )
    check_unique(records)
    return records


def volume_records(root: str | Path, *, stride: int = 3, trim: float = 0.1) -> Iterator[Record]:
    """Yield one record for every ``stride``-th slice of each NIfTI volume below ``root``.

    All three planes are cut, inside the head's extent less ``trim`` of it on both sides, where
    slices show little. The person is the file's name without the sequence at its end.

    Raises:
        InputError: a volume cannot be read.
    """
    root = Path(root)
    for path in _files(root):
        stem = _volume_stem(path)
        if stem is None:
            continue
        # Imported late: most data sets hold no volumes.
        from tumorlens.imaging.volume import head_extent, load_volume

        volume = load_volume(path)
        patient = _SEQUENCE.sub("", stem)
        source, relative = _source_name(root), path.relative_to(root).as_posix()
        label = _label_of_words([*path.relative_to(root).parts[:-1], *re.split(r"[-_\s]", stem)])
        for plane in get_args(Plane):
            first, last = head_extent(volume, plane)
            cut = round(trim * (last - first))
            for index in range(first + cut, last - cut + 1, stride):
                yield Record(
                    key=f"{source}:{relative}#{plane}:{index}",
                    path=path.with_name(f"{path.name}#{plane}:{index}"),
                    source=source,
                    label=label,
                    view=plane,
                    patient=patient,
                )


def _by_name(name: str) -> list[Record]:
    root = os.environ.get("TUMORLENS_DATA")
    if root and (Path(root) / MANIFEST_NAME).is_file():
        records = [r for r in read_manifest(Path(root) / MANIFEST_NAME) if r.source == name]
        if records:
            return records
        if (Path(root) / name).is_dir():
            return load_source(Path(root) / name)
    known = ", ".join(sorted(KNOWN_SOURCES))
    raise SourceNotFoundError(
        f"{name}: no such folder, and no source of that name in TUMORLENS_DATA={root!r}; "
        f"give a folder of images, or one of {known}"
    )


def _image_records(root: Path) -> Iterator[Record]:
    source = _source_name(root)
    for path in _files(root):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        relative = path.relative_to(root)
        # A folder such as …/no is itself a class when it is given as the root.
        folders = [root.resolve().name, *relative.parts[:-1]]
        tumour_type = next((w for f in reversed(folders) if (w := _type_of(f))), None)
        yield Record(
            key=f"{source}:{relative.as_posix()}",
            path=path,
            source=source,
            label=_label_of_words(folders),
            tumour_type=tumour_type,
        )


def _files(root: Path) -> list[Path]:
    found = (p for p in root.rglob("*") if p.is_file())
    return sorted(p for p in found if not any(x[0] == "." for x in p.relative_to(root).parts))


def _source_name(root: Path) -> str:
    """Return the known source that the folder's name or its parent's tells, else the folder's."""
    name = root.resolve().name
    for info in KNOWN_SOURCES.values():
        if name in (info.name, info.subfolder):
            return info.name
    return name


def _type_of(folder: str) -> str | None:
    word = folder.lower().replace("_", "").replace("-", "").removesuffix("tumor")
    return word if word in _TUMOUR_TYPES else None


def _label_of_words(words: list[str]) -> int | None:
    """Return the label that the last telling word names, or None."""
    for word in reversed(words):
        plain = re.sub(r"[-_\s]", "", word.lower())
        if plain in _HEALTHY_WORDS:
            return 0
        if plain in _TUMOUR_WORDS or _type_of(word):
            return 1
    return None


def _volume_stem(path: Path) -> str | None:
    for suffix in VOLUME_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return None
