"""An answered series → DICOM objects of the same study, in memory or as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from tumorlens.atomic import atomic_file
from tumorlens.errors import ConfigError, MissingExtraError
from tumorlens.inference.series.run import SeriesRun

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from tumorlens.dicom.equipment import Moment
    from tumorlens.dicom.sources import SourceSeries

Kind = Literal["sr", "sc"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def result_datasets(
    run: SeriesRun, kinds: Sequence[Kind] = KINDS, *, now: datetime | None = None
) -> list[tuple[str, Dataset]]:
    """Return the results of an answered DICOM series as pydicom data sets.

    Args:
        run: from `Predictor.run_series`, iterated to its end.
        kinds: ``sr`` (structured report) and ``sc`` (secondary capture).
        now: date and time of the content; None: those of the call.

    Returns:
        File name (``sr.dcm``, ``sc-001.dcm`` …) and data set of each object, in the order of
        ``kinds``. All identifiers are the same for the same images, model and plane.

    Raises:
        MissingExtraError: without the extra ``dicom``.
        ConfigError: an unknown kind, or none.
        UnsupportedFormatError: the series was not read from DICOM files, or its files lack
            identifiers.
        UnreadableFileError: a file of it is gone.
    """
    check_kinds(kinds)
    if find_spec("highdicom") is None:
        raise MissingExtraError("DICOM results", "dicom")
    from tumorlens.dicom.equipment import Moment
    from tumorlens.dicom.sources import find_sources

    sources = find_sources(run)
    moment = Moment(now or datetime.now().astimezone())
    found = []
    for kind in dict.fromkeys(kinds):
        objects = _maker(kind)(sources, moment)
        for number, each in enumerate(objects, 1):
            for keyword, value in sources.names.items():
                # Not assigned: highdicom lets results share the elements of the header.
                each.add_new(keyword, "PN", value)
            name = f"{kind}.dcm" if kind != "sc" else f"{kind}-{number:03}.dcm"
            found.append((name, each))
    return found


def write_results(
    run: SeriesRun, out: Path, kinds: Sequence[Kind] = KINDS, *, now: datetime | None = None
) -> list[Path]:
    """Write the results of an answered DICOM series into the folder ``out``, created if absent.

    Each file is written whole or not at all; a rerun replaces it. Arguments and errors otherwise
    as for `result_datasets`, and `OutputError` where a file cannot be written.

    Returns the files, in the order of ``kinds``.
    """
    paths = []
    for name, dataset in result_datasets(run, kinds, now=now):
        path = out / name
        with atomic_file(path, parents=True) as file:
            dataset.save_as(file, enforce_file_format=True)
        paths.append(path)
    return paths


def check_kinds(kinds: Sequence[str]) -> None:
    """Raise `ConfigError` for no kind or an unknown one."""
    unknown = [each for each in kinds if each not in KINDS]
    if unknown or not kinds:
        raise ConfigError(
            f"DICOM results {', '.join(unknown) or 'of no kind'}: give some of {', '.join(KINDS)}"
        )


def _maker(kind: Kind) -> Callable[[SourceSeries, Moment], list[Dataset]]:
    from tumorlens.dicom.secondary_capture import secondary_captures
    from tumorlens.dicom.structured_report import structured_report

    makers: dict[Kind, Callable[[SourceSeries, Moment], list[Dataset]]] = {
        "sr": lambda sources, moment: [structured_report(sources, moment)],
        "sc": secondary_captures,
    }
    return makers[kind]
