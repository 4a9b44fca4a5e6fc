"""The answer as Comprehensive 3D SR, by the template Measurement Report (PS3.16, TID 1500)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset

import tumorlens.dicom.codes as codes
from tumorlens import __version__
from tumorlens.dicom.equipment import (
    MANUFACTURER,
    Moment,
    device_attributes,
    series_attributes,
)
from tumorlens.dicom.regions import OutlinedRegion, outlined_regions
from tumorlens.dicom.sources import SourceSeries, to_patient
from tumorlens.inference.series.answer import Finding, SeriesPrediction

_Group = (
    sr.MeasurementsAndQualitativeEvaluations | sr.PlanarROIMeasurementsAndQualitativeEvaluations
)
_SIDES = {"left": codes.LEFT, "right": codes.RIGHT}


def structured_report(sources: SourceSeries, moment: Moment) -> Dataset:
    """Return the report: the series, its findings, and each of their outlines.

    Partial, unverified and preliminary. A series that was refused or has no findings is reported
    too, with the reason.
    """
    content = sr.MeasurementReport(
        observation_context=_context(sources),
        procedure_reported=codes.MR_BRAIN,
        imaging_measurements=_groups(sources),
    )
    return sr.Comprehensive3DSR(
        evidence=sources.headers,
        content=content,
        is_complete=False,
        is_final=False,
        is_verified=False,
        coding_schemes=codes.coding_schemes(),
        **series_attributes(sources, "sr"),
        **device_attributes(sources),
        **moment.content,
    )


def observer(sources: SourceSeries) -> sr.ObserverContext:
    """Return the program with its model file as the observer (PS3.16, TID 1004)."""
    model = sources.answer.model
    return sr.ObserverContext(
        observer_type=sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=sources.uids.uid("device"),
            name="TumorLens",
            manufacturer_name=MANUFACTURER,
            model_name=model.name,
            serial_number=model.sha256,
        ),
    )


def _context(sources: SourceSeries) -> sr.ObservationContext:
    return sr.ObservationContext(observer_device_context=observer(sources))


def _groups(sources: SourceSeries) -> list[_Group]:
    answer = sources.answer
    groups: list[_Group] = [_series_group(sources)]
    cuts = {each.cut.index: each.cut for each in sources.run.evidence}
    regions = list(outlined_regions(answer.findings, cuts))
    for number, finding in enumerate(answer.findings, 1):
        groups.append(_finding_group(sources, number, finding))
        groups += [
            _region_group(sources, finding, each) for each in regions if each.finding == number
        ]
    return groups


def _series_group(sources: SourceSeries) -> sr.MeasurementsAndQualitativeEvaluations:
    """Return what is said of the series as a whole (PS3.16, TID 1501)."""
    answer = sources.answer
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(sources, "Series"),
        algorithm_id=_algorithm(sources),
        measurements=[] if answer.prob is None else [_certainty(answer.prob)],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(codes.DECISION, codes.DECISIONS[answer.decision]),
            sr.QualitativeEvaluation(codes.NEOPLASM, codes.DETECTION[answer.decision]),
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup.from_source_image(each) for each in sources.headers
        ],
    )
    group[0].ContentSequence.extend(
        sr.TextContentItem(codes.COMMENT, text, sr.RelationshipTypeValues.CONTAINS)
        for text in remarks(answer)
    )
    return group


def _finding_group(
    sources: SourceSeries, number: int, finding: Finding
) -> sr.MeasurementsAndQualitativeEvaluations:
    """Return what is said of a finding in all its slices (PS3.16, TID 1501)."""
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(sources, f"Finding {number}"),
        finding_type=codes.MASS,
        finding_category=codes.MORPHOLOGICALLY_ABNORMAL,
        finding_sites=[_site(finding)],
        algorithm_id=_algorithm(sources),
        measurements=[
            sr.Measurement(codes.VOLUME, finding.volume_ml, codes.ML),
            sr.Measurement(codes.AREA, finding.area_mm2, codes.SQUARE_MM),
            sr.Measurement(codes.LONG_AXIS, finding.diameter_mm, codes.MM),
            _certainty(finding.prob),
        ],
        source_images=_images_of(sources, finding),
    )


def _region_group(
    sources: SourceSeries, finding: Finding, region: OutlinedRegion
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    """Return one outline with its measurements (PS3.16, TID 1410)."""
    prob = sources.answer.slices[region.index].prob
    label = f"Finding {region.finding}, slice {region.index}, outline {region.part}"
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(sources, label),
        referenced_region=_region(sources, region),
        finding_type=codes.MASS,
        finding_category=codes.MORPHOLOGICALLY_ABNORMAL,
        finding_sites=[_site(finding)],
        algorithm_id=_algorithm(sources),
        measurements=[
            sr.Measurement(codes.AREA, region.area_mm2, codes.SQUARE_MM),
            sr.Measurement(codes.LONG_AXIS, region.diameter_mm, codes.MM),
            *([] if prob is None else [_certainty(prob)]),
        ],
    )


def _region(sources: SourceSeries, region: OutlinedRegion) -> sr.ImageRegion | sr.ImageRegion3D:
    """Return an outline on its image, or in space where the series was cut in another plane."""
    source = sources.slices[region.index] if sources.in_acquisition_plane else None
    closed = np.concatenate([region.voxels, region.voxels[:1]])
    if source is None:
        return sr.ImageRegion3D(
            sr.GraphicTypeValues3D.POLYGON if len(closed) > 3 else sr.GraphicTypeValues3D.POLYLINE,
            to_patient(sources.volume, closed),
            frame_of_reference_uid=sources.frame_of_reference(),
        )
    return sr.ImageRegion(
        sr.GraphicTypeValues.POLYLINE,
        sources.order.pixels(closed) + source.corner,
        sr.SourceImageForRegion.from_source_image(source.header, source.frame_numbers),
    )


def _images_of(sources: SourceSeries, finding: Finding) -> list[sr.SourceImageForMeasurementGroup]:
    if not sources.in_acquisition_plane:
        return []
    shown = (sources.slices[each.index] for each in finding.outlines)
    return [
        sr.SourceImageForMeasurementGroup.from_source_image(each.header, each.frame_numbers)
        for each in shown if each is not None
    ]  # fmt: skip


def _site(finding: Finding) -> sr.FindingSite:
    return sr.FindingSite(
        codes.BRAIN,
        laterality=_SIDES.get(finding.laterality),
        topographical_modifier=codes.MIDLINE if finding.laterality == "midline" else None,
    )


def _tracking(sources: SourceSeries, name: str) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(sources.uids.uid("tracking", name), name)


def _certainty(prob: float) -> sr.Measurement:
    return sr.Measurement(codes.CERTAINTY, round(100 * prob, 1), codes.PERCENT)


def _algorithm(sources: SourceSeries) -> sr.AlgorithmIdentification:
    """Return program, version and what the answer depends on (PS3.16, TID 4019)."""
    answer, card = sources.answer, sources.run.predictor.card
    return sr.AlgorithmIdentification(
        name=f"TumorLens, model {answer.model.name}",
        version=f"{__version__}, model {answer.model.version}",
        parameters=[
            f"threshold of the series: {answer.threshold:.4g}",
            f"temperature: {card.temperature:.4g}",
            f"bias: {card.bias:.4g}",
            f"model SHA-256: {answer.model.sha256}",
        ],
    )


def remarks(answer: SeriesPrediction) -> Sequence[str]:
    """Return what a reader must know besides the numbers, in sentences."""
    aside = Counter(each.set_aside for each in answer.slices if each.set_aside is not None)
    answered = len(answer.slices) - aside.total()
    said = [answer.disclaimer]
    if not answer.in_domain:
        said.append(f"Not a usable series of a head's MRI: {answer.in_domain_reason}.")
    elif answer.prob is None:
        said.append("No slice could be answered.")
    elif answer.decision == "uncertain":
        said.append("The model cannot decide between tumour and healthy.")
    if not answer.findings:
        said.append("No finding was outlined.")
    said.append(f"{answered} of {len(answer.slices)} {answer.plane} slices were answered.")
    said += [f"{count} set aside: {reason}." for reason, count in aside.most_common()]
    return said
