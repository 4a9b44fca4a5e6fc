"""Files, folders and zip archives → pictures, volumes and series, each with its own errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from tumorlens.errors import (
    DecodeError,
    InputError,
    MissingExtraError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from tumorlens.imaging.image import Limits
from tumorlens.volumes.contents import Content, look_at
from tumorlens.volumes.entries import Entry, Picture, Unreadable, VolumeInput
from tumorlens.volumes.failures import READER_ERRORS
from tumorlens.volumes.folders import is_folder, iter_inputs
from tumorlens.volumes.itk import read_itk_header, read_itk_volume
from tumorlens.volumes.layout import Layout, read_volume
from tumorlens.volumes.neighbours import Neighbours
from tumorlens.volumes.nifti import read_layout
from tumorlens.volumes.source import Source, file_source, unpacked, zip_members
from tumorlens.volumes.volume import VOLUME_LIMITS, Volume


def discover(
    paths: Iterable[str | Path | Source], *, limits: Limits = VOLUME_LIMITS
) -> list[Entry]:
    """Return what ``paths`` hold, in the order of the files.

    Args:
        paths: files, folders (all files below them, without hidden ones), zip archives, uploads.
        limits: bytes of a file and voxels of a volume.

    Returns:
        A volume of a pair of files once, by the name of its header. Whatever goes wrong with one
        file is that file's `Unreadable`, and no other's; nothing is raised.
    """
    found = list(_files(paths))
    neighbours = Neighbours(each for each in found if isinstance(each, Source))
    entries: list[Entry] = []
    for each in found:
        entries += [each] if isinstance(each, Unreadable) else _entries(each, neighbours, limits)
    parts = {name for each in entries if isinstance(each, VolumeInput) for name in each.files[1:]}
    return [each for each in entries if not (isinstance(each, Picture) and each.name in parts)]


def load_volume(path: str | Path, *, limits: Limits = VOLUME_LIMITS) -> Volume:
    """Read the one volume of a file: NIfTI, Analyze, MGH, or MetaImage and NRRD (extra formats).

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
        with source.open() as stream:
            magic = stream.read(4)
        if magic not in (b"PK\x03\x04", b"PK\x05\x06"):
            yield source
            return
        members = zip_members(source)
        if not members:
            raise UnsupportedFormatError(f"{source.name}: the zip archive has no files in it")
    except InputError as error:
        yield Unreadable(source.name, error)
    except READER_ERRORS as error:
        yield Unreadable(source.name, _cannot_open(source.name, error))
    else:
        yield from members


def _cannot_open(name: str, error: BaseException) -> InputError:
    if isinstance(error, OSError):
        return UnreadableFileError(f"{name}: cannot be read; check the path and its permissions")
    return DecodeError(f"{name}: damaged in its archive; make the archive again")


def _entries(source: Source, neighbours: Neighbours, limits: Limits) -> list[Entry]:
    try:
        content = look_at(source)
        match content.kind:
            case "volume" | "half":
                return list(_volumes(source, content, neighbours, limits))
            case "itk":
                return list(_itk_volumes(source, neighbours, limits))
            case "zip":
                raise UnsupportedFormatError(
                    f"{source.name}: an archive in an archive; unpack the outer one"
                )
        return [Picture(source)]
    except InputError as error:
        return [Unreadable(source.name, error)]
    except MissingExtraError as error:
        return [Unreadable(source.name, UnsupportedFormatError(f"{source.name}: {error}"))]
    except READER_ERRORS as error:
        return [Unreadable(source.name, _cannot_open(source.name, error))]


def _volumes(
    source: Source, content: Content, neighbours: Neighbours, limits: Limits
) -> Iterator[VolumeInput]:
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
    def read() -> Volume:
        with source.open() as stream:
            return read_volume(unpacked(stream), layout, index, name, files=files)

    return _translated(read, name)


def _itk_volumes(source: Source, neighbours: Neighbours, limits: Limits) -> Iterator[VolumeInput]:
    header = read_itk_header(source, limits, partial(neighbours.beside, source))
    files = (source.name,) if header.data is None else (source.name, header.data.name)
    for index in range(header.count):
        name = source.name if header.count == 1 else f"{source.name}#{index + 1}"
        load = partial(read_itk_volume, header, index, name, files=files)
        yield VolumeInput(name, partial(_translated, load, name), files)


def _translated(read: Callable[[], Volume], name: str) -> Volume:
    try:
        return read()
    except InputError:
        raise
    except READER_ERRORS as error:
        raise DecodeError(
            f"{name}: the volume is truncated or damaged; copy or export it again"
        ) from error
