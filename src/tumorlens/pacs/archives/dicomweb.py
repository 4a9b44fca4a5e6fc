"""Any archive by DICOMweb (PS3.18): QIDO-RS by polling, WADO-RS, STOW-RS."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tumorlens.errors import ArchiveError, TooLargeError
from tumorlens.imaging.foreign import foreign
from tumorlens.pacs.archives.archive import MR_CLASSES, OUR_MANUFACTURER, News
from tumorlens.pacs.archives.http import HttpClient, asking
from tumorlens.pacs.outbox import Result
from tumorlens.pacs.queue import Found, Job
from tumorlens.pacs.settings import PacsSettings

if TYPE_CHECKING:
    from dicomweb_client.api import DICOMwebClient
    from pydicom.dataset import Dataset

_PAGE = 200
_STUDY, _SERIES, _MAKER = "0020000D", "0020000E", "00080070"
_STUDY_IMAGES, _SERIES_IMAGES = "00201208", "00201209"


@dataclass
class _Study:
    """What is remembered of a study: its number of objects, since when, and whether looked at."""

    images: int | None
    since: float
    looked_at: bool = False


class DicomWeb:
    """A DICOMweb server. Its series are complete when their study did not grow for a while."""

    def __init__(self, http: HttpClient, settings: PacsSettings) -> None:
        self._http = http
        self._settings = settings
        self._studies: dict[str, _Study] = {}

    def start(self, *, backlog: bool) -> tuple[str, tuple[Found, ...]]:
        """Return what the archive has of the last days, unless the backlog is asked for."""
        if backlog:
            return "", ()
        with asking("list its studies"):
            earlier = [each for uid, _ in self._list_studies() for each in self._list_series(uid)]
        return "", tuple(earlier)

    def news(self, cursor: str) -> News:
        """Return the MR series of studies that did not grow for ``settle_seconds``.

        The cursor says nothing: after a start all studies of the last days are looked at again.
        """
        found: list[Found] = []
        with asking("list its studies"):
            studies = self._list_studies()
            now = time.monotonic()
            for uid, images in studies:
                known = self._studies.get(uid)
                if known is None or known.images != images:
                    known = self._studies[uid] = _Study(images, now)
                if known.looked_at or now - known.since < self._settings.settle_seconds:
                    continue
                found += self._list_series(uid)
                # Without a number, growth cannot be seen: such studies are looked at each time.
                known.looked_at = images is not None
            for uid in self._studies.keys() - {uid for uid, _ in studies}:
                del self._studies[uid]
        return News(tuple(found), cursor)

    def fetch(self, job: Job, folder: Path, max_files: int) -> int:
        """Write the MR images of a series."""
        count = 0
        with asking("give a series"), foreign("a series", "cannot be written"):
            for dataset in self._client().iter_series(job.study_uid, job.series_uid):
                if not _is_wanted(dataset):
                    continue
                if count == max_files:
                    raise TooLargeError(f"more objects than the limit of {max_files}")
                dataset.save_as(folder / f"{count:05}.dcm", enforce_file_format=True)
                count += 1
        return count

    def missing(self, results: Iterable[Result]) -> list[Result]:
        """Return those results that QIDO-RS does not find."""
        with asking("look up a result"):
            return [each for each in results if not self._has(each)]

    def store(self, result: Result) -> None:
        """Store one result by STOW-RS."""
        from pydicom import dcmread

        with asking("store a result"):
            with foreign("a result", "cannot be read back"):
                dataset = dcmread(result.path)
            answer = self._client().store_instances([dataset], result.study_uid)
            if "FailedSOPSequence" in answer and answer.FailedSOPSequence:
                raise ArchiveError("the archive did not store a result")

    def _client(self) -> DICOMwebClient:
        from dicomweb_client.api import DICOMwebClient

        # A new one a call: it belongs to the session of this thread, and is cheap.
        client = DICOMwebClient(
            self._http.url, session=self._http.session, permissive_uid=True,
            timeout=self._settings.archive_timeout,
        )  # fmt: skip
        client.set_http_retry_params(retry=False)
        return client

    def _has(self, result: Result) -> bool:
        wanted = {"SOPInstanceUID": result.object_uid}
        found = self._client().search_for_instances(
            result.study_uid, result.series_uid, search_filters=wanted
        )
        return bool(found)

    def _list_studies(self) -> list[tuple[str, int | None]]:
        """Return the UIDs of studies with MR of the last days, and their numbers of objects."""
        filters: dict[str, Any] = {"ModalitiesInStudy": "MR"}
        if self._settings.lookback_days:
            # Dates are local to the scanner, which may be a day behind.
            first = datetime.now(UTC) - timedelta(days=self._settings.lookback_days + 1)
            filters["StudyDate"] = f"{first:%Y%m%d}-"
        found: dict[str, int | None] = {}
        while True:
            page = self._client().search_for_studies(
                limit=_PAGE, offset=len(found), search_filters=filters, fields=[_STUDY_IMAGES]
            )
            before = len(found)
            found |= {str(_value(each, _STUDY)): _number(each, _STUDY_IMAGES) for each in page}
            if len(page) < _PAGE or len(found) == before:
                return list(found.items())

    def _list_series(self, study: str) -> list[Found]:
        series = self._client().search_for_series(
            study, search_filters={"Modality": "MR"}, fields=[_MAKER, _SERIES_IMAGES]
        )
        return [
            Found(str(_value(each, _SERIES)), study, "", _number(each, _SERIES_IMAGES) or 0)
            for each in series
            if _value(each, _MAKER) != OUR_MANUFACTURER
        ]


def _is_wanted(dataset: Dataset) -> bool:
    kind, maker = (dataset.get(name, "") for name in ("SOPClassUID", "Manufacturer"))
    return str(kind) in MR_CLASSES and str(maker) != OUR_MANUFACTURER


def _value(found: dict[str, Any], tag: str) -> Any:
    values = found.get(tag, {}).get("Value") or [None]
    return values[0]


def _number(found: dict[str, Any], tag: str) -> int | None:
    value = _value(found, tag)
    return None if value is None else int(value)
