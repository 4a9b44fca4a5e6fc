"""DICOM series of a drawn head with a bright ball, full of identifiers that may go nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom.uid import EnhancedMRImageStorage

from tests.imaging.dicoms import encode
from tests.inference.series.drawn import head
from tests.volumes.dicom_series import SERIES, Scan, enhanced, write_slices
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.series.run import SeriesRun

STUDY, FRAME = f"{SERIES}.1000", f"{SERIES}.2000"
SHAPE, SPACING = (64, 72, 20), (3.0, 3.0, 8.0)
TUMOUR = ((30.0, 10.0, 16.0), 25.0)
# In these elements PS3.3 asks for it in every object of a study.
REQUIRED = {
    "PatientName": "CANARY-NAME^JANE",
    "PatientID": "CANARY-ID",
    "PatientBirthDate": "19610203",
    "PatientSex": "F",
    "AccessionNumber": "CANARY-ACCESS",
    "ReferringPhysicianName": "CANARY-REFERRER",
    "StudyID": "CANARY-STUDY",
    "StudyDate": "20240102",
    "StudyTime": "101112",
}
# In none of these.
ELSEWHERE = {
    "PatientAddress": "CANARY-ADDRESS",
    "PatientTelephoneNumbers": "CANARY-PHONE",
    "PatientComments": "CANARY-COMMENT",
    "OtherPatientIDs": "CANARY-OTHER-ID",
    "InstitutionName": "CANARY-INSTITUTION",
    "OperatorsName": "CANARY-OPERATOR",
    "PerformingPhysicianName": "CANARY-PHYSICIAN",
    "StationName": "CANARY-STATION",
    "StudyDescription": "CANARY-STUDY-DESCRIPTION",
    "SeriesDescription": "CANARY-SERIES-DESCRIPTION",
    "ProtocolName": "CANARY-PROTOCOL",
    "DeviceSerialNumber": "CANARY-DEVICE",
    "ImageComments": "CANARY-IMAGE-COMMENT",
    "RequestedProcedureDescription": "CANARY-PROCEDURE",
}


def elements(**changes: Any) -> dict[str, Any]:
    """Return the elements of a study with an identifier in each place."""
    return {
        "StudyInstanceUID": STUDY, "FrameOfReferenceUID": FRAME, "Manufacturer": "Drawn",
        "SliceThickness": 8.0, **REQUIRED, **ELSEWHERE, **changes,
    }  # fmt: skip


def write_study(
    folder: Path, *, tumour: bool = True, plane: str = "axial", multi: bool = False,
    **changes: Any,
) -> Path:  # fmt: skip
    """Write one series of a drawn head: one file a slice, or Enhanced MR with ``multi``."""
    balls = [TUMOUR] if tumour else []
    volume = head(*balls, shape=SHAPE, spacing=SPACING)
    if plane in ("coronal", "sagittal"):
        axes = {"coronal": (0, 2, 1), "sagittal": (2, 1, 0)}[plane]
        volume = head(*[(tuple(c[a] for a in axes), r) for c, r in balls],
                      shape=tuple(SHAPE[a] for a in axes),
                      spacing=tuple(SPACING[a] for a in axes))  # fmt: skip
    scan = Scan(volume.data, volume.spacing_mm, plane)
    if not multi:
        write_slices(folder, scan, **elements(**changes))
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    made = enhanced(scan, order=list(range(len(scan.slices)))[::-1])
    for keyword, value in elements(**changes).items():
        if keyword != "SliceThickness":
            setattr(made, keyword, value)
    made.SOPClassUID = EnhancedMRImageStorage
    (folder / "enhanced.dcm").write_bytes(encode(made))
    return folder


def answered(predictor: Predictor, source: object, plane: Any = None) -> SeriesRun:
    """Return a run that was iterated to its end."""
    run = predictor.run_series(source, plane)  # type: ignore[arg-type]
    for _ in run:
        pass
    return run
