"""Files and folders → a folder of de-identified copies, and a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from tumorlens.atomic import atomic_file, write_text
from tumorlens.deidentification.image import Deidentified, deidentify_image
from tumorlens.deidentification.pseudonyms import Pseudonyms
from tumorlens.deidentification.report import Report, SetAside
from tumorlens.deidentification.rules import basic_profile
from tumorlens.errors import ConfigError, InputError
from tumorlens.volumes.folders import is_folder, iter_inputs
from tumorlens.volumes.source import file_source
from tumorlens.volumes.volume import VOLUME_LIMITS

REPORT_NAME = "deidentification.json"
Outcome = Deidentified | InputError


def deidentify(
    source: str | Path,
    target: str | Path,
    *,
    key: bytes | None = None,
    keep_burned_in: bool = False,
    progress: Callable[[Path, Outcome], None] | None = None,
) -> Report:
    """Write de-identified copies of all DICOM images below ``source`` into ``target``.

    Each file is written whole or not at all, as ``study/series/object.dcm`` with names that say
    nothing. A file that cannot be de-identified is set aside and the others are done. Hidden
    files and DICOMDIR are left out. The report is also written, to `REPORT_NAME` in ``target``.

    Args:
        source: a file or a folder.
        target: a folder, made if missing; not inside ``source``.
        key: at least 16 secret bytes: the same key gives the same UIDs, pseudonyms and names.
        keep_burned_in: write also images that say that text is burned into them.
        progress: called with each file's path and what became of it.

    Raises:
        ConfigError: a short key, or ``target`` inside ``source``.
        InputError: nothing to read at ``source``.
        OutputError: a file cannot be written.
        MissingExtraError: the extra ``dicom`` is not installed.
    """
    source, target = Path(source), Path(target)
    basic_profile()
    _check_places(source, target)
    names = Pseudonyms(key)
    report = Report(stable=key is not None)
    for number, path in enumerate(_files(source), 1):
        report.read = number
        outcome = _outcome(path, names, f"file {number}", keep_burned_in)
        if isinstance(outcome, Deidentified):
            with atomic_file(target / outcome.path, parents=True) as file:
                file.write(outcome.content)
            report.written += 1
            report.elements.update(outcome.elements)
            report.warnings.update(outcome.warnings)
            report.pixel_data += outcome.pixel_data
        else:
            reason = str(outcome).removeprefix(f"file {number}: ")
            report.set_aside.append(SetAside(number, reason))
        if progress is not None:
            progress(path, outcome)
    text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False)
    write_text(target / REPORT_NAME, f"{text}\n", parents=True)
    return report


def _outcome(path: Path, names: Pseudonyms, name: str, keep_burned_in: bool) -> Outcome:
    try:
        content = file_source(path, name).read(VOLUME_LIMITS)
        return deidentify_image(content, names, name, keep_burned_in=keep_burned_in)
    except InputError as error:
        # What the file system says names the path, which may name the patient.
        text = str(error).replace(str(path), name)
        return error if text == str(error) else type(error)(text)


def _files(source: Path) -> Iterator[Path]:
    for path in iter_inputs([source]):
        if path.name.upper() != "DICOMDIR":
            yield path


def _check_places(source: Path, target: Path) -> None:
    try:
        there, here = source.resolve(), target.resolve()
        exists, has_files = source.exists(), not target.exists() or target.is_dir()
    except (OSError, ValueError) as error:
        raise ConfigError("the paths cannot be resolved; check them") from error
    if not exists:
        raise InputError(f"{source}: no such file or folder; check the path")
    if not has_files:
        raise ConfigError(f"{target}: is a file; give a folder for the copies")
    if is_folder(source) and here.is_relative_to(there):
        raise ConfigError(
            f"{target}: lies inside the source, and would be read with it; give another folder"
        )


__all__ = ["REPORT_NAME", "Outcome", "deidentify"]
