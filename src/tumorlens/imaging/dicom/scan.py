"""The header of a DICOM data set → `ScanHeader`: what the scan is, and why it is not answered."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tumorlens.imaging.dicom import elements
from tumorlens.imaging.dicom.body_parts import HEAD, body_part
from tumorlens.imaging.dicom.geometry import orientation, position_mm, spacing_mm
from tumorlens.imaging.dicom.sequence import Acquisition, classify
from tumorlens.imaging.header import ScanHeader, SequenceName

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Modality (PS3.3, C.7.3.1.1.1) in the words of a refusal; empty: not refused.
_MODALITIES = {
    "MR": "", "OT": "", "SC": "",
    "CT": "CT", "PT": "PET", "NM": "nuclear medicine (NM)", "ST": "SPECT (ST)",
    "US": "ultrasound (US)", "IVUS": "ultrasound (IVUS)", "BDUS": "ultrasound (BDUS)",
    "EC": "echocardiography (EC)", "CR": "X-ray (CR)", "DX": "X-ray (DX)", "RF": "X-ray (RF)",
    "XA": "angiography (XA)", "DS": "angiography (DS)", "DSA": "angiography (DSA)",
    "RG": "X-ray (RG)", "DR": "X-ray (DR)", "IO": "dental X-ray (IO)", "PX": "dental X-ray (PX)",
    "MG": "mammography (MG)", "BMD": "bone density (BMD)", "ES": "endoscopy (ES)",
    "XC": "photography (XC)", "GM": "microscopy (GM)", "SM": "microscopy (SM)",
    "CF": "fluoroscopy (CF)", "DF": "fluoroscopy (DF)", "OP": "photography of the eye (OP)",
    "OPT": "tomography of the eye (OPT)", "OCT": "optical tomography (OCT)",
    "IVOCT": "optical tomography (IVOCT)", "TG": "thermography (TG)", "DG": "diaphanography (DG)",
    "ECG": "an ECG", "HD": "haemodynamics (HD)", "EPS": "electrophysiology (EPS)",
    "RTIMAGE": "a radiotherapy image", "RTDOSE": "a radiotherapy dose",
    "RTSTRUCT": "radiotherapy structures", "RTPLAN": "a radiotherapy plan",
    "SEG": "a segmentation", "SR": "a report", "PR": "a presentation state",
    "KO": "a selection of images", "DOC": "a document", "REG": "a registration", "M3D": "a model",
    "XAPROTOCOL": "a protocol", "FID": "fiducials",
}  # fmt: skip
_STORAGE = "1.2.840.10008.5.1.4.1.1."
# SOP classes of one modality (PS3.4, B.5), below the root of the storage classes.
_MODALITY_OF_CLASS = {
    "1": "CR", "1.1": "DX", "1.1.1": "DX", "1.2": "MG", "1.2.1": "MG", "1.3": "IO", "1.3.1": "IO",
    "2": "CT", "2.1": "CT", "2.2": "CT", "3": "US", "3.1": "US", "6": "US", "6.1": "US",
    "6.2": "US", "12.1": "XA", "12.1.1": "XA", "12.2": "RF", "12.2.1": "RF", "12.3": "XA",
    "13.1.1": "XA", "13.1.2": "DX", "13.1.3": "MG", "20": "NM", "66.4": "SEG", "77.1.1": "ES",
    "77.1.2": "GM", "77.1.3": "SM", "77.1.4": "XC", "77.1.5.1": "OP", "77.1.5.4": "OPT",
    "77.1.6": "SM", "128": "PT", "130": "PT", "128.1": "PT", "481.1": "RTIMAGE",
    "481.2": "RTDOSE", "481.3": "RTSTRUCT", "481.5": "RTPLAN", "4": "MR", "4.1": "MR", "4.3": "MR",
    "4.4": "MR",
}  # fmt: skip
_PROJECTIONS = frozenset({
    "PROJECTION IMAGE", "MIP", "MINIP", "MIN IP", "MAX_IP", "MIN_IP", "MEAN_IP", "MPR", "CPR",
    "CURVED", "VOLUME RENDERING", "VOLREN", "VR", "SSD",
})  # fmt: skip
_DIFFUSION_MAPS = {
    "ADC": "an ADC map", "EADC": "an ADC map", "FA": "a diffusion map (FA)",
    "TRACEW": "diffusion (DWI)", "TRACE": "diffusion (DWI)", "DIFFUSION": "diffusion (DWI)",
    "TENSOR": "a diffusion map", "ISOTROPIC": "diffusion (DWI)", "EXP": "a diffusion map",
}  # fmt: skip
_NOT_MAGNITUDE = {
    "P": "a phase image", "PHASE": "a phase image", "PHASE MAP": "a phase image",
    "VELOCITY": "a velocity map", "R": "a real part", "I": "an imaginary part",
    "REAL": "a real part", "IMAGINARY": "an imaginary part", "T1 MAP": "a T1 map",
    "T2 MAP": "a T2 map", "T2_STAR MAP": "a T2* map", "CBF": "a perfusion map",
    "CBV": "a perfusion map", "MTT": "a perfusion map", "TTP": "a perfusion map",
    "RELCBF": "a perfusion map", "RELCBV": "a perfusion map", "SUBTRACT": "a difference image",
    "SUB": "a difference image", "SUBTRACTION": "a difference image", "FMRI": "a functional map",
    "T TEST": "a functional map", "MOSAIC": "several slices in one picture",
}  # fmt: skip
_ADC = re.compile(r"\b(e?adc|apparent)\b")
_LOCALIZER = re.compile(r"locali[sz]er|\b(3|three).?(plane|pl)\b|\bscouts?\b|\bsurvey\b|\baahead|"
                        r"smart ?brain|\bloc\b|topogram")  # fmt: skip
_PROJECTED = re.compile(r"\bm(in|ax|)ips?\b|projection|volume rend")


def read_header(dataset: Dataset) -> ScanHeader:
    """Return what a data set of `reading.ALLOWED` elements says of its image.

    Descriptions are read for the sequence and for localizers where nothing else says so, and are
    not kept.
    """
    sop_class = elements.text(dataset, "SOPClassUID")
    modality = _modality(dataset, sop_class)
    part = _body_part(dataset)
    image_type = tuple(value.upper() for value in elements.texts(dataset, "ImageType"))
    names = " ".join(elements.text(dataset, key) for key in ("SequenceName", "SeriesDescription"))
    sequence = _sequence(dataset, modality, image_type, names)
    series = elements.text(dataset, "SeriesInstanceUID")
    spoken = re.sub(r"[_\-.]+", " ", names.lower())
    image = _image_kind(dataset, image_type, sequence, spoken)
    return ScanHeader(
        modality=modality,
        sop_class=sop_class if re.fullmatch(r"[0-9.]{1,64}", sop_class) else None,
        body_part=part,
        image_type=tuple(each for each in image_type if re.fullmatch(r"[A-Z0-9_ ]{1,16}", each)),
        series_uid=series if re.fullmatch(r"[0-9.]{1,64}", series) else None,
        instance_number=elements.integer(dataset, "InstanceNumber"),
        spacing_mm=spacing_mm(dataset),
        position_mm=position_mm(dataset),
        orientation=orientation(dataset),
        sequence=sequence,
        refusal=_refusal(modality, part, image),
    )


def _modality(dataset: Dataset, sop_class: str) -> str | None:
    of_class = _MODALITY_OF_CLASS.get(sop_class.removeprefix(_STORAGE))
    stated = elements.text(dataset, "Modality").upper()
    if of_class is not None and of_class != "MR":
        return of_class
    return stated if stated in _MODALITIES else of_class


def _body_part(dataset: Dataset) -> str | None:
    found = body_part(elements.text(dataset, "BodyPartExamined"))
    regions = elements.items(dataset, "AnatomicRegionSequence")
    if found is None and regions:
        found = body_part(elements.text(regions[0], "CodeMeaning"))
    return found


def _sequence(
    dataset: Dataset, modality: str | None, image_type: tuple[str, ...], names: str
) -> SequenceName:
    if modality not in ("MR", None):
        return "unknown"
    if any(value in _DIFFUSION_MAPS for value in image_type[2:]):
        return "DWI"
    return classify(
        Acquisition(
            echo_ms=elements.number(dataset, "EchoTime"),
            repetition_ms=elements.number(dataset, "RepetitionTime"),
            inversion_ms=elements.number(dataset, "InversionTime"),
            kinds=elements.texts(dataset, "ScanningSequence"),
            variants=elements.texts(dataset, "SequenceVariant"),
            contrast=elements.text(dataset, "AcquisitionContrast"),
            agent=elements.text(dataset, "ContrastBolusAgent")
            if "ContrastBolusAgent" in dataset else None,
            b_value=elements.number(dataset, "DiffusionBValue"),
            names=names,
        )
    )  # fmt: skip


def _image_kind(
    dataset: Dataset, image_type: tuple[str, ...], sequence: SequenceName, spoken: str
) -> str | None:
    """Return what the image is where it is no plain slice, or None."""
    flavours = image_type[2:]
    if "LOCALIZER" in image_type or _LOCALIZER.search(spoken):
        return "a localizer"
    if any(value in _PROJECTIONS for value in flavours) or _PROJECTED.search(spoken):
        return "a projection"
    for kinds in (_DIFFUSION_MAPS, _NOT_MAGNITUDE):
        for value in flavours:
            if value in kinds:
                return kinds[value]
    if sequence == "DWI":
        return "an ADC map" if _ADC.search(spoken) else "diffusion (DWI)"
    compressed = elements.text(dataset, "LossyImageCompression") == "01"
    # Lossy compression alone makes an image derived, too (PS3.3, C.7.6.1.1.2).
    if image_type[:1] == ("DERIVED",) and not (compressed and image_type[1:2] == ("PRIMARY",)):
        return "a derived image"
    return None


def _refusal(modality: str | None, part: str | None, image: str | None) -> str | None:
    said = [
        _MODALITIES.get(modality or "", ""),
        part if part not in (None, HEAD) else "",
        image or "",
    ]
    words = ", ".join(word for word in said if word)
    return f"the header says {words}" if words else None
