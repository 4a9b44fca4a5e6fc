"""An answered series → DICOM objects of the same study, in memory or as files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

Kind = Literal["sr", "pm", "seg", "sc", "ko"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def result_datasets(
    run: SeriesRun, kinds: Sequence[Kind] = KINDS, *, now: datetime | None = None
) -> list[tuple[str, Dataset]]:
    """Return the results of an answered DICOM series as pydicom data sets.

    Args:
        run: from `Predictor.run_series`, iterated to its end.
        kinds: ``sr`` (structured report), ``pm`` (parametric map of the evidence), ``seg``
            (segmentation of the outlines), ``sc`` (secondary capture), ``ko`` (key object
            selection). There is no map where no slice was answered, no segmentation without a
            finding, and no selection without one or in another plane than that of acquisition.
        now: date and time of the content; None: those of the call.

    Returns:
        File name (``sr.dcm``, ``sc-001.dcm`` …) and data set of each object, in the order of
        ``kinds``. All identifiers are the same for the same images, model and plane.

    Raises:
        MissingExtraError: without the extra ``dicom``.
        ConfigError: an unknown kind, or none.
        UnsupportedFormatError: the series was not read from DICOM files, or its files lack
            identifiers.
        ExplanationUnavailableError: a map of a model without one.
        UnreadableFileError: a file of it is gone.
    """
    return list(iter_results(run, kinds, now=now))


def iter_results(
    run: SeriesRun, kinds: Sequence[Kind] = KINDS, *, now: datetime | None = None
) -> Iterator[tuple[str, Dataset]]:
    """Yield what `result_datasets` returns one by one: a map is as large as its scan.

    Everything that is wrong with ``kinds`` or the source is raised before the first.
    """
    check_kinds(kinds)
    require_extra()
    from tumorlens.dicom.equipment import Moment
    from tumorlens.dicom.sources import find_sources

    sources = find_sources(run)
    moment = Moment(now or datetime.now().astimezone())
    for kind in dict.fromkeys(kinds):
        for number, each in enumerate(_maker(kind)(sources, moment), 1):
            for keyword, value in sources.names.items():
                # Not assigned: highdicom lets results share the elements of the header.
                each.add_new(keyword, "PN", value)
            yield (f"{kind}.dcm" if kind != "sc" else f"{kind}-{number:03}.dcm"), each


def write_results(
    run: SeriesRun, out: Path, kinds: Sequence[Kind] = KINDS, *, now: datetime | None = None
) -> list[Path]:
    """Write the results of an answered DICOM series into the folder ``out``, created if absent.

    Each file is written whole or not at all; a rerun replaces it. Arguments and errors otherwise
    as for `result_datasets`, and `OutputError` where a file cannot be written.

    Returns the files, in the order of ``kinds``.
    """
    paths = []
    for name, dataset in iter_results(run, kinds, now=now):
        path = out / name
        with atomic_file(path, parents=True) as file:
            dataset.save_as(file, enforce_file_format=True)
        paths.append(path)
    return paths


def require_extra() -> None:
    """Raise `MissingExtraError` without the extra ``dicom``."""
    if find_spec("highdicom") is None:
        raise MissingExtraError("DICOM results", "dicom")


def check_kinds(kinds: Sequence[str]) -> None:
    """Raise `ConfigError` for no kind or an unknown one."""
    unknown = [each for each in kinds if each not in KINDS]
    if unknown or not kinds:
        raise ConfigError(
            f"DICOM results {', '.join(unknown) or 'of no kind'}: give some of {', '.join(KINDS)}"
        )


def _maker(kind: Kind) -> Callable[[SourceSeries, Moment], list[Dataset]]:
    from tumorlens.dicom.key_objects import key_objects
    from tumorlens.dicom.parametric_map import parametric_maps
    from tumorlens.dicom.secondary_capture import secondary_captures
    from tumorlens.dicom.segmentation import segmentations
    from tumorlens.dicom.structured_report import structured_report

    makers: dict[Kind, Callable[[SourceSeries, Moment], list[Dataset]]] = {
        "sr": lambda sources, moment: [structured_report(sources, moment)],
        "pm": parametric_maps,
        "seg": segmentations,
        "sc": secondary_captures,
        "ko": key_objects,
    }
    return makers[kind]
