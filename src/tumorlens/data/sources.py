"""Data sets as records: folders, manifests, volumes and downloads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from tumorlens.data.catalogue import KNOWN_SOURCES, SourceInfo
from tumorlens.data.extents import enough_brain
from tumorlens.data.manifest import (
    MANIFEST_NAME,
    Plane,
    Record,
    check_unique,
    person_of,
    read_manifest,
)
from tumorlens.errors import SourceNotFoundError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm"})
VOLUME_SUFFIXES = (".nii", ".nii.gz")
_TUMOUR_TYPES = {"glioma", "meningioma", "pituitary"}
_TUMOUR_WORDS = {"yes", "tumor", "tumour"}
_HEALTHY_WORDS = {"no", "healthy", "normal", "notumor", "notumour"}
# healthy_01_T1.nii.gz and healthy_01_FL.nii.gz are one patient.
_SEQUENCE = re.compile(r"[-_](t1w?|t1c|t1ce|t1gd|t2w?|fl|flair|pd|dwi|adc)$", re.IGNORECASE)

_NAMED = {
    "t1": "T1", "t1w": "T1", "t1c": "T1C", "t1ce": "T1C", "t1gd": "T1C", "t2": "T2", "t2w": "T2",
    "fl": "FLAIR", "flair": "FLAIR", "pd": "PD", "dwi": "DWI",
}  # fmt: skip


def load_source(path_or_name: str | Path) -> list[Record]:
    """Read a data set into records.

    A folder with a ``manifest.csv`` is read from it. Otherwise folder names at any depth give the
    labels (``yes/no``, ``tumor/healthy``, ``glioma/meningioma/pituitary/notumor``); other images
    have label None. NIfTI volumes give one record per slice. A name such as ``br35h`` selects that
    source from the manifest in the folder ``$TUMORLENS_DATA``, or its `download`.

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
            f"{root}: contains no images or volumes; expected folders such as yes/ and no/, "
            f"or a {MANIFEST_NAME}"
        )
    check_unique(records)
    return records


def volume_records(root: str | Path, *, stride: int = 3, trim: float = 0.0) -> Iterator[Record]:
    """Yield one record for every ``stride``-th slice of each NIfTI volume below ``root``.

    In all three planes, within the head's extent reduced by the fraction ``trim`` on both sides.
    The patient is the file's name without the sequence at its end.

    Raises:
        InputError: a volume cannot be read.
    """
    root = Path(root)
    for path in _files(root):
        stem = _volume_stem(path)
        if stem is None:
            continue
        # Imported late: most data sets contain no volumes.
        from tumorlens.volumes.discover import load_volume
        from tumorlens.volumes.slices import head_extent

        volume = load_volume(path)
        patient = person_of(_SEQUENCE.sub("", stem))
        named = _SEQUENCE.search(stem)
        source, relative = _source_name(root), path.relative_to(root).as_posix()
        label = _label_of_words([*path.relative_to(root).parts[:-1], *re.split(r"[-_\s]", stem)])
        for plane in get_args(Plane):
            first, last = head_extent(volume, plane)
            margin = round(trim * (last - first))
            for index in range(first + margin, last - margin + 1, stride):
                yield Record(
                    key=f"{source}:{relative}#{plane}:{index}",
                    path=path.with_name(f"{path.name}#{plane}:{index}"),
                    source=source,
                    label=label,
                    view=plane,
                    sequence=_NAMED.get(named[1].lower()) if named else None,
                    enough_brain=enough_brain(path.name, plane, index),
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
    info = KNOWN_SOURCES.get(name)
    folder = cached_folder(info, kaggle_cache()) if info else None
    if folder is not None:
        return load_source(folder)
    known = ", ".join(sorted(KNOWN_SOURCES))
    raise SourceNotFoundError(
        f"{name}: no such folder, not in TUMORLENS_DATA={root!r}, and not downloaded; give a "
        f"folder of images, or download it (tumorlens download {name}). Known names: {known}"
    )


def kaggle_cache() -> Path:
    """Return the folder of downloads: ``$KAGGLEHUB_CACHE``, else ``./kaggle_cache``."""
    return Path(os.environ.get("KAGGLEHUB_CACHE") or "kaggle_cache")


def cached_folder(info: SourceInfo, cache: Path) -> Path | None:
    """Return the latest complete download of a source (its `SourceInfo.subfolder`), or None."""
    if info.handle is None:
        return None
    base = cache / "datasets" / info.handle
    versions = [p for p in (base / "versions").glob("*") if p.is_dir() and p.name.isdecimal()]
    # Kaggle's client marks completely unpacked downloads.
    complete = [p for p in versions if (base / f"{p.name}.complete").is_file()]
    if not complete:
        return None
    newest = max(complete, key=lambda p: int(p.name))
    part = newest / info.subfolder if info.subfolder else newest
    return part if part.is_dir() else newest


def _image_records(root: Path) -> Iterator[Record]:
    source = _source_name(root)
    for path in _files(root):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        relative = path.relative_to(root)
        # The root itself may be a class folder, such as …/no.
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
    """Return the known source of the folder's name, else the name itself."""
    name = root.resolve().name
    for info in KNOWN_SOURCES.values():
        if name in (info.name, info.subfolder):
            return info.name
    return name


def _type_of(folder: str) -> str | None:
    word = folder.lower().replace("_", "").replace("-", "").removesuffix("tumor")
    return word if word in _TUMOUR_TYPES else None


def _label_of_words(words: list[str]) -> int | None:
    """Return the label of the last word that denotes one, or None."""
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
