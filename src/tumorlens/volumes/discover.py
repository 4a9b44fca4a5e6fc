"""Files, folders and zip archives → pictures, volumes and series, each with its own errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tumorlens.errors import (
    DecodeError,
    InputError,
    MissingExtraError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from tumorlens.imaging.foreign import foreign
from tumorlens.imaging.image import Limits
from tumorlens.volumes.contents import Content, look_at
from tumorlens.volumes.entries import Entry, Picture, SeriesInput, Unreadable, VolumeInput
from tumorlens.volumes.folders import is_folder, iter_inputs
from tumorlens.volumes.neighbours import Neighbours
from tumorlens.volumes.source import (
    Source,
    file_source,
    unpacked,
    unpacked_source,
    zip_members,
)
from tumorlens.volumes.volume import VOLUME_LIMITS, Volume

# Each format's reader is imported where a file of it is found: most inputs are pictures.
if TYPE_CHECKING:
    from tumorlens.volumes.dicom.frames import Frame
    from tumorlens.volumes.itk import ItkFile
    from tumorlens.volumes.layout import Layout

_UNREAD = "cannot be read whole; copy it again, or make its archive again"
_DAMAGED = "the volume is truncated or damaged; copy or export it again"


def discover(
    paths: Iterable[str | Path | Source],
    *,
    limits: Limits = VOLUME_LIMITS,
    group_slices: bool = True,
) -> list[Entry]:
    """Return what ``paths`` hold, in the order of the files.

    Args:
        paths: files, folders (all files below them, without hidden ones), zip archives, uploads.
        limits: bytes of a file and voxels of a volume.
        group_slices: whether DICOM files of one image each make up series; else each is a picture.
            Files of several frames are series either way.

    Returns:
        A volume of a pair of files once, by the name of its header; a series at the place of its
        first file. DICOMDIR is left out: it is an index of other files. Whatever goes wrong with
        one file is that file's `Unreadable`, and no other's; nothing is raised.
    """
    found = list(_files(paths))
    neighbours = Neighbours(each for each in found if isinstance(each, Source))
    entries: list[Entry | list[Frame]] = []
    for each in found:
        entries += [each] if isinstance(each, Unreadable) else _entries(each, neighbours, limits)
    grouped = _with_series(entries, limits, group_slices)
    parts = {name for each in grouped if isinstance(each, VolumeInput) for name in each.files[1:]}
    return [each for each in grouped if not (isinstance(each, Picture) and each.name in parts)]


def _with_series(
    entries: list[Entry | list[Frame]], limits: Limits, group_slices: bool
) -> list[Entry]:
    """Replace the frames of each file by the series they make up."""
    if not any(isinstance(each, list) for each in entries):
        return [each for each in entries if not isinstance(each, list)]
    from tumorlens.volumes.dicom.series import series_inputs

    if not group_slices:
        result: list[Entry] = []
        for each in entries:
            if not isinstance(each, list):
                result.append(each)
            elif len(each) == 1:
                result.append(Picture(each[0].source))
            else:
                result += series_inputs(each, limits)
        return result
    places = {
        frame.source.name: at
        for at, each in enumerate(entries) if isinstance(each, list) for frame in each
    }  # fmt: skip
    frames = [frame for each in entries if isinstance(each, list) for frame in each]
    placed: list[tuple[int, Entry]] = [
        (at, each) for at, each in enumerate(entries) if not isinstance(each, list)
    ]
    for series in series_inputs(frames, limits):
        names = series.files if isinstance(series, SeriesInput) else (series.name,)
        placed.append((min(places[name] for name in names), series))
    return [each for _, each in sorted(placed, key=lambda each: each[0])]


def load_volume(path: str | Path, *, limits: Limits = VOLUME_LIMITS) -> Volume:
    """Read the one volume of a file: NIfTI, Analyze, MGH, MetaImage, NRRD or DICOM.

    The axes are permuted and flipped, never resampled, to the closest RAS order. NaN and infinite
    voxels become 0; colour becomes its luma.

    Raises:
        UnreadableFileError: no such file, a folder, no permission.
        EmptyInputError: zero bytes.
        TooLargeError: over the limits (checked before voxels are read).
        UnsupportedFormatError: no volume, several volumes, none of a head's size, or a format
            that needs an extra.
        DecodeError: truncated or damaged, or one file of a pair is missing.
    """
    entries = discover([file_source(Path(path))], limits=limits)
    if len(entries) > 1:
        raise UnsupportedFormatError(
            f"{path}: {len(entries)} volumes ({entries[0].name}, …, {entries[-1].name}); "
            "export one of them"
        )
    if not entries:
        raise UnsupportedFormatError(f"{path}: only an index of other files; give their folder")
    (entry,) = entries
    if isinstance(entry, Unreadable):
        raise entry.error
    if isinstance(entry, Picture):
        entry.source.check(limits)
        raise UnsupportedFormatError(f"{path}: not a volume; export it as .nii.gz")
    return entry.load()


def _files(paths: Iterable[str | Path | Source]) -> Iterator[Source | Unreadable]:
    for given in paths:
        if isinstance(given, Source):
            yield from _opened(given)
            continue
        for path in iter_inputs([given]):
            if is_folder(path):
                error = UnreadableFileError(f"{path}: the folder contains no readable file")
                yield Unreadable(str(path), error)
                continue
            try:
                source = file_source(path)
            except UnreadableFileError as error:
                yield Unreadable(str(path), error)
                continue
            yield from _opened(source)


def _opened(source: Source) -> Iterator[Source | Unreadable]:
    """Yield the members of a zip archive, or the file itself."""
    try:
        with foreign(source.name, _UNREAD), source.open() as stream:
            magic = stream.read(4)
        if magic not in (b"PK\x03\x04", b"PK\x05\x06"):
            yield source
            return
        members = zip_members(source)
        if not members:
            raise UnsupportedFormatError(f"{source.name}: the zip archive has no files in it")
    except InputError as error:
        yield Unreadable(source.name, error)
    else:
        yield from members


def _entries(
    source: Source, neighbours: Neighbours, limits: Limits
) -> Sequence[Entry | list[Frame]]:
    try:
        with foreign(source.name, _UNREAD):
            return _read_entries(source, neighbours, limits)
    except InputError as error:
        return [Unreadable(source.name, error)]
    except MissingExtraError as error:
        return [Unreadable(source.name, UnsupportedFormatError(f"{source.name}: {error}"))]


def _read_entries(
    source: Source, neighbours: Neighbours, limits: Limits
) -> Sequence[Entry | list[Frame]]:
    content = look_at(source)
    match content.kind:
        case "volume" | "half":
            return list(_volumes(source, content, neighbours, limits))
        case "itk":
            return list(_itk_volumes(source, neighbours, limits))
        case "dicom":
            from tumorlens.volumes.dicom.frames import read_frames

            frames = read_frames(unpacked_source(source) if content.packed else source, limits)
            return [frames] if frames else []
        case "zip":
            raise UnsupportedFormatError(
                f"{source.name}: an archive in an archive; unpack the outer one"
            )
    return [Picture(source)]


def _volumes(
    source: Source, content: Content, neighbours: Neighbours, limits: Limits
) -> Iterator[VolumeInput]:
    from tumorlens.volumes.nifti import read_layout

    header, voxels = source, source
    if content.kind == "half":
        header = neighbours.partner(source, "header")
        if neighbours.is_given(header):
            return  # the volume is named by its header
        content = look_at(header)
    if content.header is None:
        raise DecodeError(f"{header.name}: not the header of a NIfTI or Analyze pair")
    if content.header == "analyze" or content.header.endswith("_pair"):
        voxels = neighbours.partner(header, "voxels")
    files = tuple(dict.fromkeys((header.name, voxels.name)))
    for part in {id(header): header, id(voxels): voxels}.values():
        part.check(limits)
    layout = read_layout(content.head, content.header, header.name, limits)
    for index in range(layout.count):
        name = header.name if layout.count == 1 else f"{header.name}#{index + 1}"
        yield VolumeInput(name, partial(_load, voxels, layout, index, name, files), files)


def _load(source: Source, layout: Layout, index: int, name: str, files: tuple[str, ...]) -> Volume:
    from tumorlens.volumes.layout import read_volume

    with foreign(name, _DAMAGED), source.open() as stream:
        return read_volume(unpacked(stream), layout, index, name, files=files)


def _itk_volumes(source: Source, neighbours: Neighbours, limits: Limits) -> Iterator[VolumeInput]:
    from tumorlens.volumes.itk import read_itk_header

    header = read_itk_header(source, limits, partial(neighbours.beside, source))
    files = (source.name,) if header.data is None else (source.name, header.data.name)
    for index in range(header.count):
        name = source.name if header.count == 1 else f"{source.name}#{index + 1}"
        yield VolumeInput(name, partial(_load_itk, header, index, name, files), files)


def _load_itk(header: ItkFile, index: int, name: str, files: tuple[str, ...]) -> Volume:
    from tumorlens.volumes.itk import read_itk_volume

    with foreign(name, _DAMAGED):
        return read_itk_volume(header, index, name, files=files)
