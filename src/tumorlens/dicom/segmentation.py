"""The outlines of findings as a Segmentation on the source's slices: one segment a finding."""

from __future__ import annotations

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset

import tumorlens.dicom.codes as codes
from tumorlens import __version__
from tumorlens.dicom.equipment import (
    MANUFACTURER,
    Moment,
    device_attributes,
    series_attributes,
)
from tumorlens.dicom.multiframe import frames_of, placed, refer
from tumorlens.dicom.regions import fill, slice_size
from tumorlens.dicom.sources import SourceSeries


def segmentations(sources: SourceSeries, moment: Moment) -> list[Dataset]:
    """Return the segmentation; none where there is no finding."""
    frames = frames_of(sources, finding_labels(sources), empty=False)
    if frames is None:
        return []
    made = Segmentation(
        **placed(sources, frames),
        segmentation_type="BINARY",
        segment_descriptions=[
            _segment(sources, number) for number in range(1, len(sources.answer.findings) + 1)
        ],
        content_label="OUTLINES",
        content_description="Outlines of findings; research only",
        content_qualification="RESEARCH",
        **series_attributes(sources, "seg"),
        **device_attributes(sources),
        **moment.content,
    )
    refer(made, sources, "seg", frames, codes.SEGMENTED)
    return [made]


def finding_labels(sources: SourceSeries) -> NDArray[np.uint8]:
    """Return the number of the finding of each voxel, uint8 ``[X, Y, Z]``; 0: of none."""
    labels = np.zeros(sources.volume.data.shape, np.uint8)
    cuts = {each.cut.index: each.cut for each in sources.run.evidence}
    axis = {"sagittal": 0, "coronal": 1, "axial": 2}[sources.run.plane]
    for number, finding in enumerate(sources.answer.findings, 1):
        for outline in finding.outlines:
            cut = cuts[outline.index]
            inside = fill(outline, slice_size(cut)).astype(np.float32)
            section = np.moveaxis(labels, axis, 0)[outline.index]
            section[cut.to_grid(inside) >= 0.5] = number
    return labels


def _segment(sources: SourceSeries, number: int) -> SegmentDescription:
    answer = sources.answer
    return SegmentDescription(
        segment_number=number,
        segment_label=f"Finding {number}",
        segmented_property_category=codes.MORPHOLOGICALLY_ABNORMAL,
        segmented_property_type=codes.MASS,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=f"TumorLens, model {answer.model.name}"[:64],
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=f"{__version__}, model {answer.model.version}"[:64],
            source=MANUFACTURER,
            parameters={
                "threshold": f"{answer.threshold:.4g}",
                "model SHA-256": answer.model.sha256,
            },
        ),
        tracking_uid=sources.uids.uid("tracking", f"Finding {number}"),
        tracking_id=f"Finding {number}",
        anatomic_regions=[codes.BRAIN],
    )
