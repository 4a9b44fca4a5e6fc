"""Orthanc by its REST interface: series by ``/changes``, results by ``/instances``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tumorlens.errors import ArchiveError, InputError, TooLargeError
from tumorlens.pacs.archives.archive import MR_CLASSES, OUR_MANUFACTURER, News
from tumorlens.pacs.archives.http import HttpClient, asking
from tumorlens.pacs.outbox import Result
from tumorlens.pacs.queue import Found, Job

_CHANGES = 100  # a question


class Orthanc:
    """An Orthanc server."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    @staticmethod
    def answers(http: HttpClient) -> bool:
        """Whether the server is Orthanc; raises `ArchiveError` when there is none."""
        import requests

        with asking("say what it is"):
            try:
                found = http.get("/system").json()
            except (requests.HTTPError, ValueError):
                return False
            return isinstance(found, dict) and "ApiVersion" in found

    def start(self, *, backlog: bool) -> tuple[str, tuple[Found, ...]]:
        """Return the number of the last change, or 0."""
        if backlog:
            return "0", ()
        with asking("tell its last change"):
            return str(int(self._http.get("/changes", params={"last": ""}).json()["Last"])), ()

    def news(self, cursor: str) -> News:
        """Return the MR series that became stable since the change of that number.

        An archive that was made anew counts from 1 again: then all is looked at again, and the
        queue knows what it has.
        """
        since = int(cursor)
        with asking("list its changes"):
            asked = {"since": since, "limit": _CHANGES}
            changes = self._http.get("/changes", params=asked).json()
            last = int(changes["Last"])
            if last < since:
                return News((), "0", more=True)
            stable = [str(each["ID"]) for each in changes["Changes"]
                      if each["ChangeType"] == "StableSeries"]  # fmt: skip
            found = (self._look_at(number) for number in dict.fromkeys(stable))
            return News(
                tuple(each for each in found if each is not None), str(last),
                more=not changes["Done"],
            )  # fmt: skip

    def fetch(self, job: Job, folder: Path, max_files: int) -> int:
        """Write the images of a series, as the archive has them."""
        with asking("give a series"):
            numbers = self._instances(job.place)
            if not numbers:
                raise InputError("the series is no longer in the archive")
            if len(numbers) > max_files:
                raise TooLargeError(f"{len(numbers)} objects are over the limit of {max_files}")
            for k, number in enumerate(sorted(numbers)):
                content = self._http.get(f"/instances/{number}/file").content
                (folder / f"{k:05}.dcm").write_bytes(content)
        return len(numbers)

    def missing(self, results: Iterable[Result]) -> list[Result]:
        """Return those results whose SOP Instance UID the archive does not know."""
        return [each for each in results if not self._has(each.object_uid)]

    def store(self, result: Result) -> None:
        """Store one result; an archive that has it already answers so, and keeps what it has."""
        with asking("store a result"):
            content = result.path.read_bytes()
            sent = {"Content-Type": "application/dicom"}
            answer = self._http.post("/instances", data=content, headers=sent).json()
            if answer["Status"] not in ("Success", "AlreadyStored"):
                raise ArchiveError("the archive did not store a result")

    def _has(self, uid: str) -> bool:
        with asking("look up a result"):
            found = self._http.post("/tools/lookup", data=uid.encode()).json()
            return any(each["Type"] == "Instance" for each in found)

    def _instances(self, series: str) -> list[str]:
        import requests

        try:
            found = self._http.get(f"/series/{series}").json()
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code == 404:
                return []
            raise
        return [str(each) for each in found["Instances"]]

    def _look_at(self, number: str) -> Found | None:
        """Return a series of MR images that are not ours; None if it is deleted or another."""
        import requests

        try:
            series: dict[str, Any] = self._http.get(f"/series/{number}").json()
            tags = series["MainDicomTags"]
            if tags.get("Modality") != "MR" or tags.get("Manufacturer") == OUR_MANUFACTURER:
                return None
            instances = series["Instances"]
            kind = self._http.get(f"/instances/{instances[0]}/metadata/SopClassUid").text.strip()
            if kind not in MR_CLASSES:
                return None
            study = self._http.get(f"/series/{number}/study").json()["MainDicomTags"]
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code == 404:
                return None
            raise
        return Found(
            tags["SeriesInstanceUID"], study["StudyInstanceUID"], str(number), len(instances)
        )
