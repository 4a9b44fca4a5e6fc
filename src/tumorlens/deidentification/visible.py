"""What no change of the header can remove: text in the pixels, and a face in a head scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SAYS_BURNED_IN = "BurnedInAnnotation is YES: text of the patient may be in the pixels"
MAY_BE_BURNED_IN = (
    "of a kind that often has text in its pixels, and BurnedInAnnotation does not say NO"
)
FACE = "slices of a head: a face can be reconstructed from a volume; deface it before sharing"

# Kinds of object in whose pixels text of the patient is common: computed radiography, ultrasound,
# X-ray angiography, secondary capture, photographs (PS3.4, B.5).
_IMAGE = "1.2.840.10008.5.1.4.1.1."
_OFTEN = frozenset(_IMAGE + kind for kind in ("1", "3", "3.1", "6", "6.1", "6.2", "7", "12.1"))
_OFTEN_FAMILIES = (f"{_IMAGE}7.", f"{_IMAGE}77.1.")
_WORDS = frozenset({"SCREEN SAVE", "SCREENSAVE", "SCREEN", "REPORT", "CAPTURE"})


def says_burned_in(dataset: Dataset) -> bool:
    """Whether the header says that text is burned into the pixels."""
    return str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES"


def warnings_of(dataset: Dataset) -> list[str]:
    """Return what to warn of for one image, in fixed words; asked before it is cleaned."""
    found = []
    burned_in = str(dataset.get("BurnedInAnnotation", "")).strip().upper()
    if burned_in == "YES":
        found.append(SAYS_BURNED_IN)
    elif burned_in != "NO" and _is_a_kind_with_text(dataset):
        found.append(MAY_BE_BURNED_IN)
    if str(dataset.get("Modality", "")).strip().upper() in ("MR", "CT", "PT"):
        found.append(FACE)
    return found


def _is_a_kind_with_text(dataset: Dataset) -> bool:
    kind = str(dataset.get("SOPClassUID", ""))
    types = dataset.get("ImageType") or ()
    types = [types] if isinstance(types, str) else list(types)
    words = {str(each).strip().upper() for each in types}
    return kind in _OFTEN or kind.startswith(_OFTEN_FAMILIES) or bool(words & _WORDS)
