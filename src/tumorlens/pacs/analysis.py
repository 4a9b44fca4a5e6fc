"""A folder of one series' images → DICOM results in another folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tumorlens.errors import InputError
from tumorlens.volumes.discover import discover
from tumorlens.volumes.entries import SeriesInput, Unreadable, VolumeInput

if TYPE_CHECKING:
    from tumorlens.dicom.results import Kind
    from tumorlens.inference.predictor import Predictor


class Outcome(StrEnum):
    """What became of a series that was read."""

    answered = "answered"
    out_of_domain = "out_of_domain"  # no series of a head's MRI: nothing is stored
    not_mr = "not_mr"  # no MR images, or results of ours


# Images' folder, results' folder → outcome; raises InputError for a series that cannot be read.
Analysis = Callable[[Path, Path], Outcome]


def make_analysis(predictor: Predictor, kinds: tuple[str, ...]) -> Analysis:
    """Return the analysis by a model, which writes results of these kinds.

    A series of several stacks has results for each. Single images are no series.

    Raises:
        ConfigError: an unknown kind.
        MissingExtraError: the extra ``dicom`` is not installed.
    """
    from tumorlens.dicom.results import check_kinds, write_results

    check_kinds(kinds)

    def analyse(images: Path, out: Path) -> Outcome:
        entries = discover([images])
        stacks = [each for each in entries if isinstance(each, SeriesInput | VolumeInput)]
        if not stacks:
            _raise_unreadable(entries)
        outcome = Outcome.out_of_domain
        for number, stack in enumerate(stacks):
            run = predictor.run_series(stack)
            for _ in run:
                pass
            if run.answer.in_domain:
                write_results(run, out / f"{number:03}", cast("tuple[Kind, ...]", kinds))
                outcome = Outcome.answered
        return outcome

    return analyse


def _raise_unreadable(entries: Sequence[object]) -> None:
    """Raise the error of the first file that could not be read, if there is one."""
    for each in entries:
        if isinstance(each, Unreadable):
            raise each.error
    if not entries:
        raise InputError("the series has no images")
