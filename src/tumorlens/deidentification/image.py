"""One DICOM image → its de-identified bytes."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tumorlens import __version__
from tumorlens.deidentification.elements import Tally, clean
from tumorlens.deidentification.pixel_data import clean_pixel_data
from tumorlens.deidentification.pseudonyms import Pseudonyms
from tumorlens.deidentification.report import PROFILE
from tumorlens.deidentification.rules import EDITION, basic_profile
from tumorlens.deidentification.visible import SAYS_BURNED_IN, says_burned_in, warnings_of
from tumorlens.errors import UnsupportedFormatError
from tumorlens.imaging.foreign import foreign

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_DAMAGED = "not a DICOM image, or a damaged one; export it again"
# DCM codes of PS3.16, CID 7050, recorded in (0012,0064).
_BASIC_PROFILE = ("113100", PROFILE)
_IMPLEMENTATION = "2.25.210826817049398297862735164523826491743"


@dataclass(frozen=True)
class Deidentified:
    """A cleaned image.

    Attributes:
        content: the whole file.
        path: where it belongs, ``study/series/object.dcm``, of pseudonyms.
        elements: what was done.
        warnings: what to look at.
        pixel_data: whether the pixel data held more than pixels.
    """

    content: bytes
    path: str
    elements: Tally
    warnings: list[str]
    pixel_data: bool


def deidentify_image(
    content: bytes, names: Pseudonyms, name: str = "image", *, keep_burned_in: bool = False
) -> Deidentified:
    """De-identify one file by the Basic Profile.

    Args:
        content: the file, with or without preamble and file meta information.
        names: where new UIDs come from.
        name: what messages call it.
        keep_burned_in: write also what says that text is burned in.

    Raises:
        InputError: no DICOM image, a damaged one, or one with text burned in.
        MissingExtraError: the extra ``dicom`` is not installed.
    """
    rules = basic_profile()
    with foreign(name, _DAMAGED):
        dataset = _read(content)
        if says_burned_in(dataset) and not keep_burned_in:
            raise UnsupportedFormatError(
                f"{name}: {SAYS_BURNED_IN}; look at it, and use --keep-burned-in if there is none"
            )
        warnings = warnings_of(dataset)
        pixel_data = clean_pixel_data(dataset, name)
        uids = [str(dataset.get(f"{level}InstanceUID", "")) for level in ("Study", "Series", "SOP")]
        if not uids[2] or "SOPClassUID" not in dataset:
            raise UnsupportedFormatError(f"{name}: has no SOP Instance UID or class; leave it out")
        tally: Tally = Counter()
        clean(dataset, rules, names, tally)
        _record(dataset)
        parts = [names.file_name(uid) for uid in uids]
        path = "/".join(parts) + ".dcm"
        return Deidentified(_write(dataset), path, tally, warnings, pixel_data)


def _read(content: bytes) -> Dataset:
    from pydicom import dcmread
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import (
        UID,
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
    )

    dataset = dcmread(io.BytesIO(content), force=True)
    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if syntax is None:
        implicit, little = dataset.original_encoding
        syntax = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        syntax = ImplicitVRLittleEndian if implicit else syntax
    # A new one: the old may name application, sender and private information.
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(str(syntax))
    return dataset


def _record(dataset: Dataset) -> None:
    """Say in the header what was done (PS3.3, C.7.1.1)."""
    from pydicom.dataset import Dataset as Item

    code = Item()
    code.CodeValue, code.CodeMeaning = _BASIC_PROFILE
    code.CodingSchemeDesignator = "DCM"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = f"TumorLens {__version__}: PS3.15 {EDITION} Basic Profile"
    dataset.DeidentificationMethodCodeSequence = [code]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"


def _write(dataset: Dataset) -> bytes:
    from pydicom import dcmwrite
    from pydicom.uid import UID

    meta = dataset.file_meta
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = UID(_IMPLEMENTATION)
    meta.ImplementationVersionName = f"TUMORLENS {__version__}"[:16]
    dataset.preamble = bytes(128)
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()
