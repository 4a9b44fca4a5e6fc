"""Coded concepts of the results (PS3.16), and the few of our own."""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

SCHEME = "99TUMORLENS"

MR_BRAIN = Code("24590-2", "LN", "MR Brain")
MASS = Code("4147007", "SCT", "Mass")
NEOPLASM = Code("108369006", "SCT", "Neoplasm")
BRAIN = Code("12738006", "SCT", "Brain")
LEFT, RIGHT = Code("7771000", "SCT", "Left"), Code("24028007", "SCT", "Right")
MIDLINE = Code("261129000", "SCT", "Midline")
CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
AREA = Code("42798000", "SCT", "Area")
LONG_AXIS = Code("103339001", "SCT", "Long Axis")
VOLUME = Code("118565006", "SCT", "Volume")
COMMENT = Code("121106", "DCM", "Comment")
OF_INTEREST = Code("113000", "DCM", "Of Interest")
SOURCE_IMAGE = Code("121322", "DCM", "Source Image for Image Processing Operation")
DERIVED = Code("110001", "DCM", "Image Processing")
SEGMENTED = Code("113076", "DCM", "Segmentation")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
MORPHOLOGICALLY_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")

PERCENT = Code("%", "UCUM", "Percent")
SQUARE_MM = Code("mm2", "UCUM", "square millimeter")
MM = Code("mm", "UCUM", "millimeter")
ML = Code("ml", "UCUM", "milliliter")

DECISION = Code("decision", SCHEME, "Decision of the model")
EVIDENCE = Code("evidence", SCHEME, "Evidence for a tumour")
# The decision in our words, and whether a neoplasm was detected in those of SNOMED CT.
DECISIONS = {
    "tumor": Code("tumor", SCHEME, "Tumour"),
    "healthy": Code("healthy", SCHEME, "Healthy"),
    "uncertain": Code("uncertain", SCHEME, "Uncertain"),
}
DETECTION = {
    "tumor": Code("260373001", "SCT", "Detected"),
    "healthy": Code("260415000", "SCT", "Not detected"),
    "uncertain": Code("82334004", "SCT", "Indeterminate"),
}


def coding_schemes() -> list[CodingSchemeIdentificationItem]:
    """Return the identification of the scheme of our own codes (PS3.3, C.12.1.1.8)."""
    return [
        CodingSchemeIdentificationItem(
            SCHEME, name="TumorLens", responsible_organization="The TumorLens authors"
        )
    ]
