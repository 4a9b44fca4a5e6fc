"""Pictures for viewers that show no reports."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydicom.dataset import Dataset

from tumorlens.inference.series.run import SeriesRun

Runs = dict[str, SeriesRun]
BANNER, OUTLINE = (138, 20, 20), (0, 230, 230)


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture.astype(int) - colour).max(axis=2) < 40


Results = Callable[[str], dict[str, Dataset]]


def captures(made: dict[str, Dataset]) -> list[Dataset]:
    return [each for name, each in made.items() if name.startswith("sc-")]


def test_a_page_and_each_key_slice_with_a_banner_in_it(runs: Runs, results: Results) -> None:
    run = runs["axial"]
    page, *slices = captures(results("axial"))
    assert len(slices) >= len(run.answer.findings[0].outlines)
    for number, each in enumerate((page, *slices), 1):
        assert (each.Modality, each.SOPClassUID) == ("OT", "1.2.840.10008.5.1.4.1.1.7")
        assert each.BurnedInAnnotation == "YES"
        assert each.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert each.InstanceNumber == number
        picture = each.pixel_array
        assert near(picture[:44], BANNER).mean() > 0.8
        assert (picture[:44] > 200).all(axis=2).sum() > 500  # its words
    assert len({each.SeriesInstanceUID for each in (page, *slices)}) == 1
    assert len({each.SOPInstanceUID for each in (page, *slices)}) == 1 + len(slices)


def test_the_outline_is_on_the_patients_right_which_is_left(results: Results) -> None:
    for kind in ("axial", "coronal", "enhanced"):
        outlined = [
            each for each in captures(results(kind))[1:] if near(each.pixel_array, OUTLINE).any()
        ]
        assert len(outlined) >= 3
        for each in outlined:
            across = np.argwhere(near(each.pixel_array, OUTLINE))[:, 1].mean()
            assert across < each.Columns / 2
            assert each.PatientOrientation == ["L", "P" if kind != "coronal" else "F"]


def test_a_slice_names_its_source(results: Results) -> None:
    for kind, frames in (("axial", False), ("enhanced", True)):
        sources = [each.SourceImageSequence[0] for each in captures(results(kind))[1:]]
        assert all(("ReferencedFrameNumber" in each) == frames for each in sources)
        named = {
            (each.ReferencedSOPInstanceUID, each.get("ReferencedFrameNumber")) for each in sources
        }
        assert len(named) == len(sources)


def test_healthy_and_refused_series_have_pictures_without_outlines(results: Results) -> None:
    for kind in ("healthy", "refused"):
        made = captures(results(kind))
        assert len(made) >= 2
        assert not any(near(each.pixel_array, OUTLINE).any() for each in made)


def test_the_page_is_derived_from_all_files(runs: Runs, results: Results) -> None:
    for kind in ("axial", "enhanced", "recut"):
        page = captures(results(kind))[0]
        named = {each.ReferencedSOPInstanceUID for each in page.SourceImageSequence}
        assert len(named) == len(runs[kind].volume.files)
