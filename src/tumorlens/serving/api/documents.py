"""``POST /report``, ``/dicom`` and ``/fhir``: the answer for one series as documents to keep."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Annotated, cast

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from tumorlens.dicom import KINDS, Kind, check_kinds, iter_results, require_extra
from tumorlens.errors import ConfigError, MissingExtraError, UnsupportedFormatError
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
from tumorlens.serving.problems import UPLOAD_NAME, ProblemError
from tumorlens.serving.processing.service import Service, service_of
from tumorlens.volumes.entries import Entry, SeriesInput, VolumeInput

router = APIRouter(tags=["predict"])

PlaneQuery = Annotated[
    Plane | None, Query(description="Plane to cut; by default the plane of acquisition.")
]
# The page brings its own policy, too; it needs styles of its own, and no script.
_PAGE_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
_ZIP = {"application/zip": {"schema": {"type": "string", "format": "binary"},
                            "example": "sr.dcm, pm.dcm, seg.dcm, sc-001.dcm, ko.dcm"}}  # fmt: skip
_FHIR = "application/fhir+json"
_EMPTY = {"resourceType": "Bundle", "type": "collection", "entry": []}
_BUNDLE = {_FHIR: {"schema": {"type": "object"}, "example": _EMPTY}}
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

    async with service.one_series:
        run = await finished_run(request, service, entry, plane)
        text = await in_pool(service, "encode", lambda: _page(run, identifiers))
    return Response(
        text,
        media_type="text/html",
        headers={"Content-Security-Policy": _PAGE_POLICY, **attachment("tumorlens-report.html")},
    )


@router.post(
    "/dicom",
    response_class=Response,
    responses={
        200: {"description": "A zip of DICOM files.", "content": _ZIP},
        **problem_responses(*UPLOAD_ROUTE, "dicom-unavailable"),
    },
    openapi_extra=upload_form(SERIES_FILES),
)
async def dicom(
    request: Request,
    plane: PlaneQuery = None,
    kinds: Annotated[
        str,
        Query(
            alias="as",
            description="Objects, with commas: sr (structured report), pm (parametric map), seg "
            "(segmentation), sc (secondary captures), ko (key object selection).",
        ),
    ] = ",".join(KINDS),
) -> Response:
    """Predict one DICOM series and return the answer as DICOM objects of its study, in a zip."""
    service = service_of(request)
    chosen = tuple(each.strip() for each in kinds.split(",") if each.strip())
    try:
        check_kinds(chosen)
        require_extra()
    except ConfigError as error:
        raise ProblemError("malformed-request", f"as: {error}.") from error
    except MissingExtraError as error:
        raise ProblemError("dicom-unavailable") from error
    entry = one_series(await read_entries(request, service))
    if not isinstance(entry, SeriesInput):
        raise UnsupportedFormatError(f"{UPLOAD_NAME}: not a DICOM series; /report takes volumes")
    async with service.one_series:
        run = await finished_run(request, service, entry, plane)
        content = await in_pool(
            service, "encode", lambda: _archive(run, cast("tuple[Kind, ...]", chosen))
        )
    return Response(
        content, media_type="application/zip", headers=attachment("tumorlens-dicom.zip")
    )


@router.post(
    "/fhir",
    response_class=Response,
    responses={
        200: {"description": "A Bundle of FHIR R4.", "content": _BUNDLE},
        **problem_responses(*UPLOAD_ROUTE),
    },
    openapi_extra=upload_form(SERIES_FILES),
)
async def fhir(
    request: Request,
    plane: PlaneQuery = None,
    identifiers: Annotated[
        bool, Query(description="Whether the patient is named, and the study's number and date.")
    ] = False,
) -> Response:
    """Predict one volume or DICOM series and return a FHIR R4 Bundle with a DiagnosticReport."""
    service = service_of(request)
    entry = one_series(await read_entries(request, service))
    async with service.one_series:
        run = await finished_run(request, service, entry, plane)
        text = await in_pool(service, "encode", lambda: _bundle(run, identifiers))
    return Response(text, media_type=_FHIR, headers={"Cache-Control": "no-store"})


def _page(run: SeriesRun, identifiers: bool) -> str:
    # Imported here, as below: templates and pydicom would make every start slower.
    from tumorlens.seriesreport import series_report
    from tumorlens.volumes.dicom.headers import read_identifiers

    return series_report(run, identifiers=read_identifiers(run.volume) if identifiers else None)


def _bundle(run: SeriesRun, identifiers: bool) -> str:
    from tumorlens.fhir import fhir_bundle

    return json.dumps(fhir_bundle(run, with_identifiers=identifiers))


def _archive(run: SeriesRun, kinds: tuple[Kind, ...]) -> bytes:
    """Return a zip of the results, one object in memory at a time."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, dataset in iter_results(run, kinds):
            with archive.open(name, "w", force_zip64=True) as member:
                stream = io.BytesIO()
                dataset.save_as(stream, enforce_file_format=True)
                member.write(stream.getbuffer())
    return packed.getvalue()


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
