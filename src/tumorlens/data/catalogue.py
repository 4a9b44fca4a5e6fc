"""Catalogue of public data sets: licence, citation, origin.

The sources that can be named are listed here; those of the tables of further images and whole heads
are in `further_sources.csv`, whose licences are those that the data or their repository state.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

UNKNOWN_LICENCE = "unknown"


@dataclass(frozen=True)
class SourceInfo:
    """Licence, citation and origin of a data set.

    Attributes:
        name: short name, as in records.
        licence: SPDX identifier, or why it is unknown.
        citation: the citation its authors ask for.
        url: web page.
        handle: handle on Kaggle, if it can be downloaded there.
        subfolder: the part of the download that contains each image once.
        patient_runs: files are numbered patient by patient without patient ids; grouping keeps
            runs of neighbouring numbers together.
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
            name="nickparvar",
            licence="unclear: merges cheng2017, br35h and others; download, never redistribute",
            citation="M. Nickparvar, Brain Tumor MRI Dataset, Kaggle, 2021",
            url="https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset",
            handle="masoudnickparvar/brain-tumor-mri-dataset",
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
    """Return the catalogue entry of a source; for other sources one with an unknown licence."""
    unknown = SourceInfo(name, UNKNOWN_LICENCE, UNKNOWN_LICENCE, "")
    return KNOWN_SOURCES.get(name) or _further_sources().get(name, unknown)


@cache
def _further_sources() -> dict[str, SourceInfo]:
    with files("tumorlens.data").joinpath("further_sources.csv").open(encoding="utf-8") as table:
        return {
            row["name"]: SourceInfo(row["name"], row["licence"], row["citation"], row["url"])
            for row in csv.DictReader(table)
        }
