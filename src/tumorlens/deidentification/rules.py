"""What becomes of an element: DICOM PS3.15, table E.1-1, column Basic Profile, and stricter rules.

The table is that of dicom-anonymizer, which follows the standard's editions. Where it gives a
choice by the object's type (``X/Z/D``), the stricter action that keeps every object valid is taken.
What the table does not name is kept only if the standard's dictionary knows it and its value
representation holds no text, name, date or address, or it is one of a few technical texts.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

from tumorlens.errors import MissingExtraError

EDITION = "2026c"  # of table E.1-1
_DATABASE = f"dicomfields_{EDITION}"
_PATIENT_NAME, _PATIENT_ID = (0x0010, 0x0010), (0x0010, 0x0020)
# Texts, names, dates, times, addresses: nothing that the table leaves needs them …
_NOT_KEPT = frozenset(
    {"PN", "LO", "SH", "LT", "ST", "UT", "UC", "UR", "DA", "TM", "DT", "AE", "AS", "UN"}
)
# … but these: codes and their meaning, the scanner's kind, and how it scanned.
_TECHNICAL_TEXTS = frozenset({
    (0x0008, 0x0100), (0x0008, 0x0102), (0x0008, 0x0103), (0x0008, 0x0104),  # of code sequences
    (0x0008, 0x0070), (0x0008, 0x1090), (0x0018, 0x1020),  # manufacturer, model, software
    (0x0018, 0x0024), (0x0018, 0x9005), (0x0018, 0x0085), (0x0018, 0x9100),  # sequence, nucleus
    (0x0018, 0x1250), (0x0018, 0x1251),  # coils
    (0x0020, 0x9056), (0x0020, 0x9421), (0x0040, 0x9210),  # stack, dimension and value labels
})  # fmt: skip


class Action(StrEnum):
    """What is done to an element; the letters are those of table E.1-1."""

    keep = "kept"  # K; of a sequence the items are cleaned
    remove = "removed"  # X
    empty = "emptied"  # Z
    dummy = "replaced"  # D
    uid = "UID replaced"  # U
    pseudonym = "pseudonym"  # D, the same for the same person


class Rules:
    """The action for every element."""

    def __init__(
        self,
        single: dict[tuple[int, int], Action],
        repeating: tuple[tuple[tuple[int, int, int, int], Action], ...],
    ) -> None:
        """``repeating`` holds group, element and the masks of both."""
        self._single = single
        self._repeating = repeating

    def action(self, group: int, element: int, vr: str, *, known: bool) -> Action:
        """Return the action for an element whose tag the standard's dictionary knows or not."""
        if group % 2 or element == 0 or not known or _is_drawn_over(group):
            return Action.remove
        named = self._single.get((group, element))
        if named is not None:
            return named
        for (g, e, group_mask, element_mask), action in self._repeating:
            if group & group_mask == g & group_mask and element & element_mask == e & element_mask:
                return action
        if (group, element) == (0xFFFC, 0xFFFC):
            return Action.remove
        if vr in _NOT_KEPT and (group, element) not in _TECHNICAL_TEXTS:
            return Action.remove
        return Action.uid if vr == "UI" else Action.keep


def _is_drawn_over(group: int) -> bool:
    """Whether a group holds curves (50xx) or overlays (60xx), which often are burned-in text."""
    return 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF


@cache
def basic_profile() -> Rules:
    """Return the Basic Application Confidentiality Profile.

    Raises:
        MissingExtraError: the extra ``dicom`` is not installed.
    """
    try:
        from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
    except ImportError as error:
        raise MissingExtraError("de-identification", "dicom") from error
    table = dicom_anonymization_database_selector(_DATABASE)
    single: dict[tuple[int, int], Action] = {}
    repeating = []
    for category, action in _ACTIONS.items():
        for tag in table[category]:
            if len(tag) == 2:
                single[tag] = action
            else:
                repeating.append((tag, action))
    single[_PATIENT_NAME] = single[_PATIENT_ID] = Action.pseudonym
    return Rules(single, tuple(repeating))


_ACTIONS = {
    "D_TAGS": Action.dummy,
    "Z_TAGS": Action.empty,
    "X_TAGS": Action.remove,
    "U_TAGS": Action.uid,
    "Z_D_TAGS": Action.dummy,
    "X_Z_TAGS": Action.empty,
    "X_D_TAGS": Action.dummy,
    "X_Z_D_TAGS": Action.dummy,
    # References to other objects: their items stay, with the UIDs replaced.
    "X_Z_U_STAR_TAGS": Action.keep,
}
