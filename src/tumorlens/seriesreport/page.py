"""An answered series → one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from tumorlens.inference.series.run import SeriesRun
from tumorlens.pages.render import data_uri, render
from tumorlens.seriesreport.facts import (
    finding_row,
    model_rows,
    reason,
    remarks,
    scan_rows,
    set_aside_rows,
    verdict,
)
from tumorlens.seriesreport.figures import probability_curve, slice_figures

FINDING_HEADS = (
    "finding", "slices", "peak", "side", "longest diameter", "largest area", "volume",
    "probability",
)  # fmt: skip


def series_report(
    run: SeriesRun, *, identifiers: Mapping[str, str] | None = None, now: datetime | None = None
) -> str:
    """Return the report: one HTML page without scripts, requests or anything outside of it.

    Args:
        run: from `Predictor.run_series`, iterated to its end.
        identifiers: what names the patient and the study, to be shown at the top, such as from
            `tumorlens.volumes.dicom.headers.read_identifiers`. None: nothing does, no file name
            either.
        now: when the report was made; None: at the call.
    """
    answer = run.answer
    made = now or datetime.now().astimezone()
    return render(
        "series_report.html",
        title="Brain MRI: report of one series",
        made=made.isoformat(timespec="minutes"),
        answer=answer,
        verdict=verdict(answer),
        reason=reason(answer),
        identifiers=list((identifiers or {}).items()),
        answered=sum(each.set_aside is None for each in answer.slices),
        finding_heads=FINDING_HEADS,
        findings=[finding_row(number, each) for number, each in enumerate(answer.findings, 1)],
        slices=list(slice_figures(run)),
        curve=probability_curve(answer, run.slice_threshold),
        scan=scan_rows(run),
        set_aside=set_aside_rows(answer),
        remarks=remarks(run),
        model=model_rows(run),
        limitations=run.predictor.card.limitations,
        data_uri=data_uri,
    )
