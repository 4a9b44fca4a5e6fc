"""The evidence for a tumour as a Parametric Map on the source's slices."""

from __future__ import annotations

from highdicom import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.dataset import Dataset

import tumorlens.dicom.codes as codes
from tumorlens.dicom.equipment import Moment, device_attributes, series_attributes
from tumorlens.dicom.multiframe import frames_of, placed, refer
from tumorlens.dicom.sources import SourceSeries
from tumorlens.inference.series.evidence_map import evidence_volume

_PERCENT = 100


def parametric_maps(sources: SourceSeries, moment: Moment) -> list[Dataset]:
    """Return the map, percent as unsigned 16-bit integers; none where no slice was answered.

    The values are those of the map that ``tumorlens explain`` writes as NIfTI. Raises
    `ExplanationUnavailableError` for a model without a class map.
    """
    if not sources.run.answered:
        return []
    frames = frames_of(sources, evidence_volume(sources.run), empty=True)
    if frames is None:
        return []
    made = ParametricMap(
        **placed(sources, frames),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            RealWorldValueMapping(
                lut_label="EVIDENCE",
                lut_explanation="Evidence for a tumour, fixed scale",
                unit=codes.PERCENT,
                value_range=(0, _PERCENT),
                slope=1,
                intercept=0,
                quantity_definition=codes.EVIDENCE,
            )
        ],
        voi_lut_transformations=[
            VOILUTTransformation(window_center=_PERCENT / 2, window_width=_PERCENT)
        ],
        content_label="EVIDENCE",
        content_description="Evidence for a tumour, percent; research only",
        content_qualification="RESEARCH",
        coding_schemes=codes.coding_schemes(),
        **series_attributes(sources, "pm"),
        **device_attributes(sources),
        **moment.content,
    )
    made.BodyPartExamined = "HEAD"
    refer(made, sources, "pm", frames, codes.DERIVED)
    return [made]
