"""A model that finds bright balls, answered series, and their results."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

import pytest
from pydicom.dataset import Dataset

from tests.dicom.studies import answered, write_study
from tests.inference.series.drawn import write_bright_model
from tumorlens.dicom import result_datasets
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.series.run import SeriesRun


@pytest.fixture(scope="package")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    path = write_bright_model(tmp_path_factory.mktemp("model") / "bright.onnx")
    return Predictor.open(path, threads=1)


@pytest.fixture(scope="package")
def runs(bright: Predictor, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SeriesRun]:
    """Return answered series: each kind of source, and each kind of answer."""
    folder = tmp_path_factory.mktemp("studies")
    axial = write_study(folder / "axial")
    return {
        "axial": answered(bright, axial),
        "recut": answered(bright, axial, "sagittal"),
        "enhanced": answered(bright, write_study(folder / "enhanced", multi=True)),
        "coronal": answered(bright, write_study(folder / "coronal", plane="coronal")),
        "sagittal": answered(bright, write_study(folder / "sagittal", plane="sagittal")),
        "turned": answered(bright, write_study(folder / "turned", plane="turned")),
        "transposed": answered(bright, write_study(folder / "transposed", plane="transposed")),
        "healthy": answered(bright, write_study(folder / "healthy", tumour=False)),
        "refused": answered(bright, write_study(folder / "knee", BodyPartExamined="KNEE")),
    }


NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture(scope="package")
def results(runs: dict[str, SeriesRun]) -> Callable[[str], dict[str, Dataset]]:
    """Return a function that gives all results of one of the runs, by file name."""
    return cache(lambda kind: dict(result_datasets(runs[kind], now=NOW)))
