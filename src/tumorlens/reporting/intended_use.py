"""Intended use and limitations of every model of this project."""

from __future__ import annotations

INTENDED_USE = (
    "Research and teaching on two-dimensional brain MRI slices: tumour or healthy. "
    "Not a medical device; not for diagnosis or any clinical decision."
)


LIMITATIONS = (
    "Trained on public collections; labels come from those collections and were not checked by a "
    "radiologist.",
    "Few tumours in T1 without contrast and few healthy heads with contrast medium were available; "
    "small tumours are missed more often, vestibular schwannomas among them.",
    "Knows tumour against healthy only: stroke, haemorrhage, inflammation, surgery and "
    "age-related change may be called either.",
    "Judges one slice at a time; a tumour outside the slice is not seen.",
    "Some sources name no patients: groups of near-duplicates and of neighbouring slices stand in "
    "for them.",
)
