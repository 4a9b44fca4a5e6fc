"""``POST /explain/series``: the answers of ``/predict/series`` with the pictures of every slice."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tumorlens.errors import TumorLensError
from tumorlens.imaging.anatomy import Plane
from tumorlens.inference.series.run import SeriesRun
from tumorlens.inference.series.scan import SliceEvidence
from tumorlens.inference.series.slice_images import (
    GreyScale,
    draw_evidence,
    draw_scan,
    grey_scale,
    shown_size,
)
from tumorlens.serving.api.batch import NDJSON
from tumorlens.serving.api.openapi import UPLOAD_ROUTE, problem_responses, upload_form
from tumorlens.serving.api.series import (
    SERIES_FILES,
    answer_of,
    in_pool,
    open_run,
    problem_record,
    read_entries,
    series_record,
    to_line,
)
from tumorlens.serving.api.series_schemas import SeriesProgress, SeriesView
from tumorlens.serving.problems import ProblemError
from tumorlens.serving.processing.service import Service, service_of
from tumorlens.volumes.entries import Entry
from tumorlens.volumes.slices import cut

router = APIRouter(tags=["predict"])

# Slices encoded in one job, so that single images are answered in between.
_AT_ONCE = 8
_LINES = {
    NDJSON: {
        "schema": {
            "oneOf": [
                {"$ref": f"#/components/schemas/{name}"}
                for name in ("SeriesViewLine", "SeriesProgress", "SliceLine", "SeriesLine")
            ]
        },
        "example": {"index": 0, "done": 12, "of": 150},
    }
}


@router.post(
    "/explain/series",
    response_class=Response,
    responses={
        200: {"description": "For each series its view, lines of progress and of slices, then its "
              "answer.", "content": _LINES},
        **problem_responses(*UPLOAD_ROUTE),
    },
    openapi_extra=upload_form(SERIES_FILES),
)  # fmt: skip
async def explain_series(
    request: Request,
    plane: Annotated[
        Plane | None, Query(description="Plane to cut; by default the plane of acquisition.")
    ] = None,
    size: Annotated[
        int, Query(ge=64, le=1024, description="Most pixels on a picture's longer side.")
    ] = 512,
) -> Response:
    """Predict volumes and DICOM series, and stream each slice with its evidence as PNG."""
    service = service_of(request)
    entries = await read_entries(request, service)
    return StreamingResponse(_lines(request, service, entries, plane, size), media_type=NDJSON)


async def _lines(
    request: Request, service: Service, entries: list[Entry], plane: Plane | None, size: int
) -> AsyncIterator[bytes]:
    for index, entry in enumerate(entries):
        last: dict[str, Any] = {"index": index, "prediction": None, "problem": None}
        try:
            async with service.one_series:
                run = await open_run(service, entry, plane)
                async for values in _slices(service, run, size):
                    yield to_line({"index": index, **values})
                answer = await answer_of(service, run)
                del run
                last["prediction"] = series_record(request, service, answer)
        except (TumorLensError, ProblemError) as exc:
            last["problem"] = problem_record(request, service, exc)
        yield to_line(last)


async def _slices(service: Service, run: SeriesRun, size: int) -> AsyncIterator[dict[str, Any]]:
    """Yield the view, and after each batch the progress and the pictures of its slices."""
    scale = await in_pool(service, "encode", lambda: grey_scale(run.volume))
    first = next(cut(run.volume, run.plane))
    shown = shown_size(first, size)
    yield {"view": _view(run, scale, shown).model_dump(mode="json")}
    steps, sent = iter(run), 0
    while (step := await in_pool(service, "forward", lambda: next(steps, None))) is not None:
        done, of = step
        progress = SeriesProgress(index=0, done=done, of=of)
        yield progress.model_dump(include={"done", "of"})
        for part in _parts(run.evidence[sent:]):
            for line in await in_pool(service, "encode", lambda: _drawn(part, scale, shown)):  # noqa: B023
                yield {"slice": line}
        sent = done


def _view(run: SeriesRun, scale: GreyScale, shown: tuple[int, int]) -> SeriesView:
    slices = list(cut(run.volume, run.plane))
    whole = slices[0].pixels().shape[1]
    return SeriesView(
        plane=run.plane,
        slices=len(slices),
        width=shown[0],
        height=shown[1],
        pixel_mm=slices[0].pixel_mm * whole / shown[0],
        slice_mm=slices[0].thickness_mm,
        oriented=run.volume.oriented,
        sequence=run.sequence,
        slope=scale.slope,
        intercept=scale.intercept,
        window=scale.window,
        slice_threshold=run.slice_threshold,
    )


def _parts(evidence: Iterable[SliceEvidence]) -> Iterator[list[SliceEvidence]]:
    left = iter(evidence)
    while part := list(islice(left, _AT_ONCE)):
        yield part


def _drawn(
    part: list[SliceEvidence], scale: GreyScale, shown: tuple[int, int]
) -> list[dict[str, Any]]:
    lines = []
    for each in part:
        evidence = draw_evidence(each, shown)
        lines.append(
            {
                "index": each.cut.index,
                "scan": base64.b64encode(draw_scan(each.cut, scale, shown)).decode("ascii"),
                "evidence": evidence and base64.b64encode(evidence).decode("ascii"),
            }
        )
    return lines
