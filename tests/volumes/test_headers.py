"""What results take over from a source header: little, valid, and in any character set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.imaging.dicoms import dicom
from tests.volumes.dicom_series import Scan, write_slices
from tumorlens.errors import UnsupportedFormatError
from tumorlens.volumes.dicom.headers import (
    read_identifiers,
    read_identity,
    read_references,
    read_source_header,
)
from tumorlens.volumes.discover import discover
from tumorlens.volumes.entries import SeriesInput
from tumorlens.volumes.source import bytes_source
from tumorlens.volumes.volume import Volume

UIDS = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"}


def header(**elements: Any) -> Any:
    return read_source_header(bytes_source("a.dcm", dicom(np.zeros((4, 4), np.uint16),
                                                          **{**UIDS, **elements})))  # fmt: skip


def test_only_what_results_need_is_taken_over() -> None:
    found = header(PatientAddress="Street 1", InstitutionName="Clinic", PatientSex="F")
    assert found.names["PatientName"] == "DOE^JANE"
    assert found.dataset.PatientSex == "F"
    assert not found.dataset.PatientName
    assert {"PatientAddress", "InstitutionName", "PixelData"} & set(found.dataset.dir()) == set()


def test_values_that_are_none_of_their_kind_are_empty() -> None:
    found = header(PatientSex="X", SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    assert found.dataset.PatientSex == ""
    assert found.names["PatientName"] == "Müller^Jörg"
    assert found.dataset.StudyDate == ""


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_file_without_an_identifier_is_refused(keyword: str) -> None:
    with pytest.raises(UnsupportedFormatError, match=f"a.dcm: has no valid {keyword}"):
        header(**{keyword: ""})


@pytest.mark.parametrize("plane", ["axial", "turned", "transposed", "coronal", "sagittal"])
def test_a_volume_keeps_the_frame_of_each_slice(tmp_path: Path, plane: str) -> None:
    data = np.arange(10 * 12 * 8).reshape(10, 12, 8)
    scan = Scan(data, (2.0, 2.0, 4.0), plane)
    write_slices(tmp_path, scan, skip=(3,), StudyInstanceUID="1.2.3")
    (entry,) = discover([tmp_path])
    assert isinstance(entry, SeriesInput)
    volume = entry.load()
    axis = {"sagittal": 0, "coronal": 1}.get(volume.plane, 2)
    assert len(volume.frames) == volume.data.shape[axis]
    assert sum(each is None for each in volume.frames) == 1
    for index, frame in enumerate(volume.frames):
        section = np.moveaxis(volume.data, axis, 0)[index]
        if frame is None:
            assert not section.any()
            continue
        number = (frame.scan.instance_number or 0) - 1
        assert sorted(section.ravel()) == sorted(scan.slices[number].ravel())
    references = read_references(volume)
    assert references is not None
    assert (references.study, len(references.images)) == ("1.2.3", len(scan.slices) - 1)
    assert read_identity(volume)["PatientID"] == "DOE^JANE"
    assert read_identifiers(volume)["Patient"] == "DOE^JANE"


def test_other_formats_name_nobody() -> None:
    volume = Volume.aligned(np.zeros((4, 4, 4), np.uint8), (1.0, 1.0, 1.0), "drawn")
    assert (volume.frames, read_identity(volume), read_references(volume)) == ((), {}, None)
