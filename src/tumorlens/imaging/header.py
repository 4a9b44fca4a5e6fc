"""What a scan's header says of it, whatever the file's format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SequenceName = Literal["T1", "T1C", "T2", "FLAIR", "PD", "DWI", "other", "unknown"]
SEQUENCES: tuple[SequenceName, ...] = (
    "T1", "T1C", "T2", "FLAIR", "PD", "DWI", "other", "unknown",
)  # fmt: skip


@dataclass(frozen=True)
class ScanHeader:
    """What a header says of one image; nothing in it identifies a person.

    Attributes:
        modality: ``MR``, ``CT``, ``PT``, … (DICOM PS3.3, C.7.3.1.1.1), from the SOP class where
            the two disagree; None if the header gives no known one.
        sop_class: SOP class UID, or None.
        body_part: in English from a fixed vocabulary (``head``, ``knee``, …); None if the header
            gives none of it.
        image_type: ``ORIGINAL``, ``PRIMARY``, …: the values of Image Type.
        series_uid: Series Instance UID, or None.
        instance_number: number of the image in its series, or None.
        spacing_mm: distance of rows and of columns in millimetres, as stored; None if unknown.
        position_mm: centre of the first pixel, in the patient's coordinates (left, posterior,
            superior), in millimetres.
        orientation: direction cosines of a row and of a column (six numbers).
        sequence: the sequence by its contrast; ``unknown`` if the header does not say.
        refusal: why this is no slice of a head's MRI to be answered (``the header says CT``), or
            None.
    """

    modality: str | None = None
    sop_class: str | None = None
    body_part: str | None = None
    image_type: tuple[str, ...] = ()
    series_uid: str | None = None
    instance_number: int | None = None
    spacing_mm: tuple[float, float] | None = None
    position_mm: tuple[float, float, float] | None = None
    orientation: tuple[float, float, float, float, float, float] | None = None
    sequence: SequenceName = "unknown"
    refusal: str | None = None
