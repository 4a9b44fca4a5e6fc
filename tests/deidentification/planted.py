"""A DICOM image with the 18 kinds of identifier of HIPAA planted wherever a file can hold them.

45 CFR 164.514(b)(2)(i), A to R. Every planted text contains `CANARY`, which nothing else does, so
one search finds whatever is left; UIDs and dates cannot hold it and are listed by themselves.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.imaging.dicoms import dataset

CANARY = "QZJX"
DATES = ("19570307", "20210413", "20210412")
UIDS = tuple(f"1.3.6.1.4.1.5962.99.1.{k}" for k in range(101, 112))
KINDS: dict[str, dict[str, Any]] = {
    "A names": {
        "PatientName": f"{CANARY}^Jane", "OtherPatientNames": f"{CANARY}^Joan",
        "PatientMotherBirthName": f"{CANARY}^Eve", "ReferringPhysicianName": f"{CANARY}^Doc",
        "PerformingPhysicianName": f"{CANARY}^Per", "OperatorsName": f"{CANARY}^Op",
        "ResponsiblePerson": f"{CANARY}^Kin",
    },
    "B places": {
        "PatientAddress": f"1 {CANARY} Road", "InstitutionAddress": f"2 {CANARY} Road",
        "RegionOfResidence": CANARY, "CountryOfResidence": CANARY,
        "CurrentPatientLocation": f"Ward {CANARY}",
    },
    "C dates": {
        "PatientBirthDate": DATES[0], "StudyDate": DATES[1], "SeriesDate": DATES[1],
        "ContentDate": DATES[1], "AcquisitionDateTime": f"{DATES[1]}101010", "PatientAge": "093Y",
        "AdmittingDate": DATES[2], "StudyTime": "101010",
    },
    "D telephone": {"PatientTelephoneNumbers": f"+1 {CANARY}"},
    "E fax": {"ReferringPhysicianTelephoneNumbers": f"fax {CANARY}"},
    "F electronic mail": {"PatientTelecomInformation": f"jane@{CANARY}.org"},
    "G social security": {"OtherPatientIDs": f"SSN {CANARY}"},
    "H medical record": {"PatientID": f"MRN-{CANARY}", "MedicalRecordLocator": CANARY},
    "I health plan": {"PatientComments": f"plan {CANARY}"},
    "J account": {"AccessionNumber": CANARY, "AdmissionID": CANARY, "StudyID": CANARY},
    "K licence": {"AdditionalPatientHistory": f"licence {CANARY}"},
    "L vehicle": {"ImageComments": f"plate {CANARY}"},
    "M device": {"DeviceSerialNumber": CANARY, "StationName": CANARY, "GantryID": CANARY},
    "N web address": {"RetrieveURL": f"http://{CANARY}.org"},
    "O network address": {"RetrieveAETitle": CANARY},
    "P biometric": {"RequestAttributesSequence": Sequence([])},
    "Q photograph": {"IconImageSequence": Sequence([])},
    "R any other": {
        "StudyDescription": f"knows {CANARY}", "SeriesDescription": f"of {CANARY}",
        "ProtocolName": CANARY, "RequestedProcedureDescription": CANARY,
        "PerformedProcedureStepID": CANARY, "FrameComments": CANARY, "DeviceUID": UIDS[9],
    },
}  # fmt: skip


def planted(**more: Any) -> Dataset:
    """Return the data set, an image of 4 × 6 pixels with 12 bits stored."""
    pixels = np.arange(24, dtype=np.uint16).reshape(4, 6) * 100
    elements = {key: value for kind in KINDS.values() for key, value in kind.items()}
    made = dataset(pixels | 0x8000, **elements)  # an overlay in the bits that are not used
    made.BitsStored, made.HighBit = 12, 11
    made.PixelData += f"{CANARY}!!".encode()  # after the last pixel
    made.Modality, made.BodyPartExamined, made.EchoTime = "MR", "HEAD", 3.0
    made.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID = UIDS[:3]
    made.FrameOfReferenceUID = UIDS[3]
    _plant_sequences(made)
    _plant_drawings(made)
    for block in (made, made.ReferencedImageSequence[0]):
        private = block.private_block(0x0029, f"{CANARY} HEADER", create=True)
        private.add_new(0x10, "LO", f"private {CANARY}")
        private.add_new(0x11, "SQ", Sequence([_item(PatientName=f"{CANARY}^Priv")]))
    made.add_new(0x00100003, "LO", f"no such element {CANARY}")  # the dictionary has none
    made.add_new(0x00281055, "LO", f"explains {CANARY}")
    made.add_new(0xFFFCFFFC, "OB", f"padding {CANARY}!".encode())
    made.add_new(0x00180088, "DS", "1.5")
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


def _item(**elements: Any) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def _plant_sequences(made: Dataset) -> None:
    deep = _item(PatientName=f"{CANARY}^Deep", ReferencedSOPInstanceUID=UIDS[5])
    deep.TextValue = f"deep {CANARY}"
    source = _item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.4",
                   ReferencedSOPInstanceUID=UIDS[2], PersonName=f"{CANARY}^Ref",
                   PurposeOfReferenceCodeSequence=Sequence([deep]))  # fmt: skip
    made.ReferencedImageSequence = Sequence([source])
    made.RequestAttributesSequence = Sequence([_item(
        ScheduledProcedureStepDescription=CANARY, RequestedProcedureID=CANARY)])  # fmt: skip
    made.OriginalAttributesSequence = Sequence([_item(
        ModifyingSystem=CANARY, SourceOfPreviousValues=CANARY,
        ModifiedAttributesSequence=Sequence([_item(PatientID=CANARY)]))])  # fmt: skip
    made.IconImageSequence = Sequence([_item(
        Rows=1, Columns=4, PixelData=CANARY.encode(), BitsAllocated=8)])  # fmt: skip
    made.ReferencedStudySequence = Sequence([_item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=UIDS[6])])  # fmt: skip
    made.DigitalSignaturesSequence = Sequence([_item(
        CertificateOfSigner=f"{CANARY}!!".encode(), DigitalSignatureUID=UIDS[7])])  # fmt: skip
    made.AnatomicRegionSequence = Sequence([_item(
        CodeValue="12738006", CodingSchemeDesignator="SCT", CodeMeaning="Brain")])  # fmt: skip


def _plant_drawings(made: Dataset) -> None:
    made.add_new(0x60000010, "US", 4)
    made.add_new(0x60000011, "US", 6)
    made.add_new(0x60000100, "US", 1)
    made.add_new(0x60000102, "US", 15)
    made.add_new(0x60003000, "OW", f"{CANARY}{CANARY}".encode())
    made.add_new(0x60024000, "LT", f"overlay {CANARY}")
    made.add_new(0x60021500, "LO", f"label {CANARY}")
    made.add_new(0x50003000, "OW", f"{CANARY}{CANARY}".encode())
    made.add_new(0x50022500, "LO", f"curve {CANARY}")


def file_of(made: Dataset, *, implicit: bool = False) -> bytes:
    """Return the file, with canaries in preamble and file meta information."""
    made.preamble = f"preamble {CANARY}".encode().ljust(128, b"!")
    meta = made.file_meta = FileMetaDataset()
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    meta.SourceApplicationEntityTitle = meta.SendingApplicationEntityTitle = CANARY
    meta.ImplementationVersionName = CANARY
    meta.PrivateInformationCreatorUID = UIDS[8]
    meta.PrivateInformation = f"{CANARY}!!".encode()
    stream = io.BytesIO()
    dcmwrite(stream, made, enforce_file_format=True)
    return stream.getvalue()
