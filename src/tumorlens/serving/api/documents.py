"""``POST /report``: the answer for one series as a document to keep."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from tumorlens.imaging.anatomy import Plane
from tumorlens.inference.series.run import SeriesRun
from tumorlens.serving.api.openapi import UPLOAD_ROUTE, problem_responses, upload_form
from tumorlens.serving.api.series import (
    SERIES_FILES,
    in_pool,
    open_run,
    read_entries,
    series_record,
)
from tumorlens.serving.problems import ProblemError
from tumorlens.serving.processing.service import Service, service_of
from tumorlens.volumes.entries import Entry, SeriesInput, VolumeInput

router = APIRouter(tags=["predict"])

PlaneQuery = Annotated[
    Plane | None, Query(description="Plane to cut; by default the plane of acquisition.")
]
# The page brings its own policy, too; it needs styles of its own, and no script.
_PAGE_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
_PAGE = {"text/html": {"schema": {"type": "string"}, "example": "<!doctype html>…"}}


@router.post(
    "/report",
    response_class=Response,
    responses={
        200: {"description": "One self-contained page.", "content": _PAGE},
        **problem_responses(*UPLOAD_ROUTE),
    },
    openapi_extra=upload_form(SERIES_FILES),
)
async def report(
    request: Request,
    plane: PlaneQuery = None,
    identifiers: Annotated[
        bool, Query(description="Whether the page names the patient and the study.")
    ] = False,
) -> Response:
    """Predict one volume or DICOM series and return its report: a page to read, keep and print."""
    service = service_of(request)
    entry = one_series(await read_entries(request, service))

    def page(run: SeriesRun) -> str:
        # Imported here: templates and pydicom are not needed to start.
        from tumorlens.seriesreport import series_report
        from tumorlens.volumes.dicom.headers import read_identifiers

        return series_report(run, identifiers=read_identifiers(run.volume) if identifiers else None)

    async with service.one_series:
        run = await finished_run(request, service, entry, plane)
        text = await in_pool(service, "encode", lambda: page(run))
    return Response(
        text,
        media_type="text/html",
        headers={"Content-Security-Policy": _PAGE_POLICY, **attachment("tumorlens-report.html")},
    )


def one_series(entries: list[Entry]) -> VolumeInput | SeriesInput:
    """Return the only series of a request; files that belong to none are passed over."""
    found = [each for each in entries if isinstance(each, VolumeInput | SeriesInput)]
    if len(found) != 1:
        raise ProblemError(
            "malformed-request", f"The files hold {len(found)} series; send one at a time."
        )
    return found[0]


async def finished_run(
    request: Request, service: Service, entry: Entry, plane: Plane | None
) -> SeriesRun:
    """Answer a series, also one that is out of domain: a document says so."""
    run = await open_run(service, entry, plane)
    steps = iter(run)
    while await in_pool(service, "forward", lambda: next(steps, None)) is not None:
        pass
    series_record(request, service, await in_pool(service, "encode", lambda: run.answer))
    return run


def attachment(name: str) -> dict[str, str]:
    """Return the headers of a file to download, which no cache keeps."""
    return {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
    }
