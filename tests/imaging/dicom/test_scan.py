"""What the header says of a scan: body part, modality, kind of image, sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from tests.imaging.dicoms import SECRET, dataset, encode
from tumorlens.imaging.decode import decode
from tumorlens.imaging.dicom.body_parts import body_part
from tumorlens.imaging.header import ScanHeader

CT = "1.2.840.10008.5.1.4.1.1.2"
US = "1.2.840.10008.5.1.4.1.1.6.1"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
RAMP = np.arange(384, dtype=np.uint8).reshape(16, 24)


def header_of(**elements: Any) -> ScanHeader:
    found = decode(encode(dataset(RAMP, **elements))).header
    assert found is not None
    return found


def region(meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeMeaning = meaning
    return [item]


@pytest.mark.parametrize(
    ("elements", "refusal"),
    [
        ({}, None),
        ({"Modality": "MR", "BodyPartExamined": "HEAD"}, None),
        ({"Modality": "MR", "BodyPartExamined": "BRAIN"}, None),
        ({"Modality": "OT", "SOPClassUID": CAPTURE}, None),
        ({"Modality": "MR", "BodyPartExamined": "WARD 7"}, None),  # says nothing we know
        ({"Modality": "MR", "BodyPartExamined": ""}, None),
        ({"Modality": "CT", "SOPClassUID": CT}, "the header says CT"),
        ({"Modality": "CT", "SOPClassUID": CT, "BodyPartExamined": "HEAD"}, "the header says CT"),
        ({"Modality": "MR", "SOPClassUID": CT}, "the header says CT"),  # the class is not typed in
        ({"Modality": "CT", "BodyPartExamined": "KNEE"}, "the header says CT, knee"),
        ({"Modality": "MR", "BodyPartExamined": "KNEE"}, "the header says knee"),
        ({"Modality": "MR", "BodyPartExamined": "LSPINE"}, "the header says spine"),
        ({"Modality": "MR", "BodyPartExamined": "C SPINE"}, "the header says spine"),
        ({"Modality": "MR", "AnatomicRegionSequence": region("Prostate")},
         "the header says pelvis"),
        ({"Modality": "PT"}, "the header says PET"),
        ({"Modality": "US", "SOPClassUID": US}, "the header says ultrasound (US)"),
        ({"SOPClassUID": US}, "the header says ultrasound (US)"),
        ({"Modality": "DX"}, "the header says X-ray (DX)"),
        ({"Modality": "MG"}, "the header says mammography (MG)"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]}, None),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "the header says a localizer"),
        ({"SeriesDescription": "3-Plane Localizer"}, "the header says a localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}, "the header says a derived image"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "the header says a projection"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "PROJECTION IMAGE"]},
         "the header says a projection"),
        ({"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]},
         "the header says diffusion (DWI)"),
        ({"ImageType": ["DERIVED", "PRIMARY", "ADC", "ND"]}, "the header says an ADC map"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "the header says a phase image"),
        ({"SeriesDescription": "ep2d_diff_ADC"}, "the header says an ADC map"),
        ({"DiffusionBValue": 1000.0}, "the header says diffusion (DWI)"),
        # Lossy compression makes an image derived, and changes no anatomy.
        ({"ImageType": ["DERIVED", "PRIMARY", "M"], "LossyImageCompression": "01"}, None),
        ({"ImageType": ["DERIVED", "PRIMARY", "M"]}, "the header says a derived image"),
    ],
)  # fmt: skip
def test_what_is_no_slice_of_a_head_is_named(elements: dict[str, Any], refusal: str | None) -> None:
    assert header_of(**elements).refusal == refusal


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("HEAD", "head"), ("Brain w/o", "head"), ("HEADNECK", "head"), ("HEAD AND NECK", "head"),
        ("Schädel", "head"), ("SCHAEDEL", "head"), ("Tête", "head"), ("CRÂNE", "head"),
        ("ENCEFALO", "head"), ("NECK", "neck"), ("TSPINE", "spine"), ("C-SPINE", "spine"),
        ("L SPINE", "spine"),
        ("THORACIC SPINE", "spine"), ("LWS", "spine"), ("Knie re", "knee"), ("GENOU", "knee"),
        ("RODILLA", "knee"), ("ABDOMEN", "abdomen"), ("WHOLE BODY", "whole body"),
        ("PROSTATE", "pelvis"), ("HEART", "heart"), ("BREAST", "breast"), ("", None),
        (SECRET, None), ("HEADLEY^KNEELAND", None),
    ],
)  # fmt: skip
def test_body_parts_are_known_in_several_languages_and_never_repeated(
    words: str, part: str | None
) -> None:
    assert body_part(words) == part


def test_the_geometry_and_the_place_in_the_series() -> None:
    found = header_of(
        Modality="MR", PixelSpacing=["0.9", "1.1"], ImagePositionPatient=[-90, -120, 7.5],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0], SeriesInstanceUID="1.2.3", InstanceNumber="17",
        ImageType=["ORIGINAL", "PRIMARY"],
    )  # fmt: skip
    assert found.modality == "MR"
    assert found.spacing_mm == (0.9, 1.1)
    assert found.position_mm == (-90, -120, 7.5)
    assert found.orientation == (1, 0, 0, 0, 1, 0)
    assert (found.series_uid, found.instance_number) == ("1.2.3", 17)
    assert found.image_type == ("ORIGINAL", "PRIMARY")


def test_nothing_that_may_name_a_person_is_kept() -> None:
    made = dataset(RAMP, Modality="MR", SeriesDescription=SECRET)
    for keyword in ("SeriesInstanceUID", "InstanceNumber", "ImageType", "BodyPartExamined"):
        made.add_new(keyword, "LO", SECRET)
    for keyword in ("SequenceName", "ContrastBolusAgent"):
        made.add_new(keyword, "LO", SECRET)
    assert SECRET not in repr(decode(encode(made)).header)
