"""Applies the rules to a data set and to every item of every sequence in it."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from tumorlens.deidentification.pseudonyms import Pseudonyms
from tumorlens.deidentification.rules import Action, Rules

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Tally = Counter[tuple[str, str, Action]]  # tag, keyword, action → elements

_DUMMIES: dict[str, Any] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), "ANONYMIZED"),
    "AS": "000Y", "UR": "http://anonymized.invalid", "DA": "19000101", "TM": "000000",
    "DT": "19000101000000", "DS": "0", "IS": "0",
    **dict.fromkeys(("FD", "FL", "SS", "US", "SL", "UL", "SV", "UV"), 0),
}  # fmt: skip
# Identify what an object is, not which; these stay even when a maker defined them.
_CLASSES = re.compile(r".*(ClassUID|TransferSyntaxUID|CodingSchemeUID)")
_CODE_STRING = re.compile(r"[\w .\-/]{0,16}", re.ASCII)


def clean(dataset: Dataset, rules: Rules, names: Pseudonyms, tally: Tally) -> None:
    """De-identify ``dataset`` in place and count what was done in ``tally``.

    Elements that are kept stay as they are in the file. A number or code whose value is none is
    removed: there is no telling what it is. Raises what pydicom does; call it inside `foreign`.
    """
    for tag in list(dataset.keys()):
        vr, keyword = _kind(dataset, tag)
        action = rules.action(tag.group, tag.element, vr, known=bool(keyword))
        if action is Action.uid and _CLASSES.fullmatch(keyword):
            action = Action.keep
        if action is Action.keep and not _is_what_it_says(dataset, tag, vr):
            action = Action.remove
        if _apply(action, dataset, tag, vr, rules, names, tally):
            tally[_shown(tag), keyword, action] += 1


def _apply(
    action: Action, dataset: Dataset, tag: Any, vr: str, rules: Rules, names: Pseudonyms,
    tally: Tally,
) -> bool:  # fmt: skip
    """Carry one action out; return whether the element changed."""
    if action is Action.remove:
        del dataset[tag]
    elif action is Action.uid:
        _replace(dataset, tag, names.uid)
    elif action is Action.pseudonym:
        dataset.add_new(tag, vr, names.person(str(dataset[tag].value or "")))
    elif action is Action.empty:
        dataset.add_new(tag, vr, [] if vr == "SQ" else None)
    elif vr == "SQ":
        for item in dataset[tag].value:
            clean(item, _all_dummies if action is Action.dummy else rules, names, tally)
        return action is Action.dummy
    elif action is Action.dummy:
        if vr == "UI":
            _replace(dataset, tag, names.uid)
        else:
            dataset.add_new(tag, vr, _DUMMIES.get(vr, b"\0\0"))
    else:
        if dataset.get_item(tag).VR is None:  # implicit in a file that says explicit
            dataset[tag] = dataset[tag]
        return False
    return True


def _replace(dataset: Dataset, tag: Any, new: Any) -> None:
    value = dataset[tag].value
    if not isinstance(value, str):
        value = [new(str(each)) for each in value or ()]
    else:
        value = new(str(value))
    dataset.add_new(tag, "UI", value)


def _kind(dataset: Dataset, tag: Any) -> tuple[str, str]:
    """Return the value representation, that of the dictionary before UN, and the keyword."""
    from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag

    known = dictionary_has_tag(tag)
    vr = str(dataset.get_item(tag).VR or "UN")
    if known and vr == "UN":
        vr = dictionary_VR(tag)
    elif known and vr.startswith("O") and not dictionary_VR(tag).rpartition(" ")[2].startswith("O"):
        return "UN", ""  # bytes where the standard has none: nobody can tell what they hold
    return vr, (keyword_for_tag(tag) or "retired") if known else ""


def _is_what_it_says(dataset: Dataset, tag: Any, vr: str) -> bool:
    """Whether every value of a kept element of decimal, integer or code string is one."""
    if vr not in ("DS", "IS", "CS"):
        return True
    value = dataset.get_item(tag).value
    if isinstance(value, bytes):
        value = value.decode("latin-1").split("\\")
    elif isinstance(value, str) or not hasattr(value, "__iter__"):
        value = [value]
    texts = [str(each if each is not None else "").strip(" \0") for each in value]
    if vr == "CS":
        return all(_CODE_STRING.fullmatch(each) for each in texts)
    return all(not each or _is_number(each) for each in texts)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text.replace(",", ".")))
    except ValueError:
        return False


def _shown(tag: Any) -> str:
    """Return a tag as the standard writes it; the elements of private and drawn groups together."""
    if tag.is_private or 0x5000 <= tag.group <= 0x50FF or 0x6000 <= tag.group <= 0x60FF:
        return f"({tag.group:04X},xxxx)"
    return f"({tag.group:04X},{tag.element:04X})"


class _AllDummies(Rules):
    """For the items of a sequence that the table replaces: nothing in it is kept."""

    def action(self, group: int, element: int, vr: str, *, known: bool) -> Action:
        if group % 2 or not known:
            return Action.remove
        return Action.dummy


_all_dummies = _AllDummies({}, ())
