"""Nothing that was planted is left, and what an image needs is."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit

from tests.deidentification.planted import CANARY, DATES, KINDS, UIDS, file_of, planted
from tests.imaging.dicoms import encode
from tumorlens.deidentification.image import deidentify_image
from tumorlens.deidentification.pseudonyms import Pseudonyms
from tumorlens.deidentification.visible import FACE, MAY_BE_BURNED_IN
from tumorlens.errors import InputError, UnsupportedFormatError
from tumorlens.imaging.decode import decode

KEY = b"a secret that is long enough"
LEFT = [CANARY, *DATES, *UIDS, "093Y"]


def cleaned(content: bytes, **options: Any) -> Dataset:
    return dcmread(io.BytesIO(deidentify_image(content, Pseudonyms(KEY), **options).content))


def left_in(content: bytes) -> list[str]:
    return [each for each in LEFT if each.encode() in content or each.encode("utf-16") in content]


@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
def test_none_of_the_planted_identifiers_is_left(implicit: bool) -> None:
    before = file_of(planted(), implicit=implicit)
    assert left_in(before) == [each for each in LEFT if each != UIDS[4] and each != UIDS[10]]
    assert left_in(deidentify_image(before, Pseudonyms(KEY)).content) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_planted(kind: str) -> None:
    made = planted()
    assert KINDS[kind]
    assert all(keyword in made for keyword in KINDS[kind])


def test_the_image_stays_as_it_was_and_readable() -> None:
    made = cleaned(file_of(planted()))
    assert made.pixel_array.tolist() == (np.arange(24).reshape(4, 6) * 100).tolist()
    assert (made.Modality, made.BodyPartExamined, made.EchoTime) == ("MR", "HEAD", 3.0)
    assert list(made.ImageType) == ["ORIGINAL", "PRIMARY", "M"]
    assert made.AnatomicRegionSequence[0].CodeMeaning == "Brain"
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.4"
    assert made.SpacingBetweenSlices == 1.5
    content = deidentify_image(file_of(planted()), Pseudonyms(KEY)).content
    assert decode(content).pixels.shape == (4, 6)


def test_what_was_done_is_recorded_by_the_standards_code() -> None:
    made = cleaned(file_of(planted()))
    (code,) = made.DeidentificationMethodCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113100", "DCM")
    assert "Basic Profile" in made.DeidentificationMethod
    assert made.PatientIdentityRemoved == "YES"
    assert made.LongitudinalTemporalInformationModified == "REMOVED"


def test_uids_are_replaced_alike_everywhere_and_stay_uids() -> None:
    made = cleaned(file_of(planted()))
    assert made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID
    assert made.ReferencedImageSequence[0].ReferencedSOPInstanceUID == made.SOPInstanceUID
    uids = [made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID]
    assert len(set(uids)) == 3
    assert all(each.startswith("2.25.") and each.is_valid for each in uids)


def test_the_same_key_gives_the_same_and_another_key_another_file() -> None:
    content = file_of(planted())
    first, again = (deidentify_image(content, Pseudonyms(KEY)) for _ in range(2))
    other = deidentify_image(content, Pseudonyms())
    assert (first.content, first.path) == (again.content, again.path)
    assert first.path != other.path
    assert dcmread(io.BytesIO(other.content)).PatientID != cleaned(content).PatientID


def test_a_person_keeps_one_pseudonym_over_studies() -> None:
    one = cleaned(file_of(planted()))
    two = cleaned(file_of(planted(StudyInstanceUID="1.2.9", SOPInstanceUID="1.2.10")))
    assert one.PatientID == two.PatientID != ""
    assert one.StudyInstanceUID != two.StudyInstanceUID
    assert one.PatientID != cleaned(file_of(planted(PatientID="another"))).PatientID


def test_a_number_or_code_that_is_none_is_removed() -> None:
    content = file_of(planted())
    changed = content.replace(b"\x18\x00\x88\x00DS\x04\x001.5 ", b"\x18\x00\x88\x00DS\x04\x00Jane")
    assert changed != content
    assert "SpacingBetweenSlices" not in cleaned(changed)


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_code_string_with_a_name_is_removed() -> None:
    assert "Laterality" not in cleaned(file_of(planted(Laterality="DOE^JANE")))


def test_comments_of_a_jpeg_frame_are_removed() -> None:
    pixels = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    done, buffer = cv2.imencode(".jpg", pixels)
    assert done
    frame = buffer.tobytes()
    text = f"comment {CANARY}".encode()
    for marker in (b"\xff\xfe", b"\xff\xe1"):
        frame = frame[:2] + marker + (len(text) + 2).to_bytes(2, "big") + text + frame[2:]
    made = planted(Rows=64, Columns=64, BitsAllocated=8, BitsStored=8, HighBit=7)
    for group in (0x5000, 0x5002, 0x6000, 0x6002):
        for tag in [each for each in made.keys() if each.group == group]:  # noqa: SIM118
            del made[tag]
    content = encode(made, JPEGBaseline8Bit, frame=frame)
    assert left_in(content)
    found = deidentify_image(content, Pseudonyms(KEY))
    assert left_in(found.content) == []
    assert found.pixel_data
    assert np.array_equal(decode(found.content).pixels, decode(frame).pixels)


def test_text_burned_in_is_refused_unless_asked_for() -> None:
    content = file_of(planted(BurnedInAnnotation="YES"))
    with pytest.raises(UnsupportedFormatError, match="BurnedInAnnotation"):
        cleaned(content)
    assert cleaned(content, keep_burned_in=True).BurnedInAnnotation == "YES"


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, [FACE]),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, [MAY_BE_BURNED_IN, FACE]),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, [MAY_BE_BURNED_IN, FACE]),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1", "Modality": "US"}, [MAY_BE_BURNED_IN]),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, [MAY_BE_BURNED_IN, FACE]),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, [FACE]),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "BurnedInAnnotation": "NO"}, [FACE]),
    ],
)
def test_what_the_header_cannot_cure_is_warned_of(
    elements: dict[str, Any], expected: list[str]
) -> None:
    assert deidentify_image(file_of(planted(**elements)), Pseudonyms()).warnings == expected


def damaged() -> Iterator[bytes]:
    content = file_of(planted())
    yield b""
    yield f"{CANARY}".encode() * 100
    yield content[: len(content) // 2]
    yield content[:200]
    without = planted()
    del without.PixelData
    yield file_of(without)


@pytest.mark.parametrize(
    "content", [*damaged()], ids=["empty", "text", "half", "head", "no pixels"]
)
def test_what_is_no_image_is_refused_without_quoting_it(content: bytes) -> None:
    with pytest.raises(InputError, match="image: ") as caught:
        deidentify_image(content, Pseudonyms(KEY))
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.system("dcmdump")
def test_dcmtk_reads_the_result_without_an_error(tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(deidentify_image(file_of(planted()), Pseudonyms(KEY)).content)
    done = subprocess.run(["dcmdump", path], capture_output=True, text=True, check=True)
    assert not [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
    assert "113100" in done.stdout
    assert CANARY not in done.stdout
