"""`tumorlens pacs watch` beside a real Orthanc: by its own interface, and by DICOMweb."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.dicom.studies import ELSEWHERE, REQUIRED, STUDY, write_study
from tests.pacs.orthanc import OrthancServer, free_port, orthanc
from tests.pacs.process import PacsProcess, wait_for
from tests.volumes.dicom_series import SERIES
from tumorlens.cli.app import run

pytestmark = pytest.mark.system("orthanc", "storescu")
SECRETS = [
    *(value for value in (REQUIRED | ELSEWHERE).values() if "CANARY" in value),
    *("CANARY", "19610203", SERIES, STUDY),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OrthancServer]:
    with orthanc(tmp_path / "orthanc") as started:
        yield started


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "study")


def told(process: PacsProcess) -> str:
    """Return all that a process leaves behind for people: its log, and the names of its files."""
    names = "\n".join(str(path.relative_to(process.state)) for path in process.state.rglob("*"))
    return process.log + names


@pytest.mark.parametrize("interface", ["rest", "dicomweb"])
def test_results_come_back_into_the_same_study_once(
    interface: str, server: OrthancServer, study: Path, bright_path: Path, tmp_path: Path
) -> None:
    url = server.url if interface == "rest" else server.dicomweb
    port = free_port()
    options = ("--lookback-days", "0", "--metrics-port", str(port))
    process = PacsProcess("watch", url, tmp_path / "watch", bright_path, options)
    if interface == "rest":
        # Another image in the archive before the first start, which nobody asked about.
        server.send(write_study(tmp_path / "before", SeriesInstanceUID="1.2.3", SOPInstanceUID="1"))
        wait_for(lambda: server.get("/changes", limit=100)["Last"] > 0, "first image")
        wait_for(lambda: "StableSeries" in str(server.get("/changes")), "first series")
    try:
        process.start()
        process.wait_for_first_question()
        server.send(study)
        (job,) = process.wait_until_done(1)
        assert (job.state, job.outcome, job.series_uid) == ("done", "answered", SERIES)
        results = server.results()
        assert {each["modality"] for each in results} == {"SR", "OT"}
        assert len({each["study"] for each in server.instances()}) == 1
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        assert f"tumorlens_pacs_stored_results_total {len(results)}.0" in metrics
        assert 'tumorlens_pacs_queue_jobs{state="done"} 1.0' in metrics
        assert process.end() == 0

        # Another process that remembers nothing finds the results there, and stores no other.
        again = PacsProcess("watch", url, tmp_path / "again", bright_path,
                            (*options, "--backlog"))  # fmt: skip
        again.start()
        jobs = again.wait_until_done(1)
        assert {job.series_uid for job in jobs} <= {SERIES, "1.2.3"}
        assert again.end() == 0
        assert len([each for each in server.results() if each["modality"] == "SR"]) == len(
            [job for job in jobs if job.outcome == "answered"]
        )
        for secret in SECRETS:
            assert secret not in told(process) + told(again) + metrics
    finally:
        process.close()


def test_an_archive_that_goes_away_is_waited_for_and_the_log_tells_nothing(
    server: OrthancServer, study: Path, bright_path: Path, tmp_path: Path
) -> None:
    process = PacsProcess("watch", server.url, tmp_path / "watch", bright_path, ("--results", "sr"))
    try:
        process.start()
        process.wait_for_first_question()
        server.send(study)
        wait_for(process.jobs, "job")
        server.stop()
        wait_for(lambda: "away" in process.log or "postponed" in process.log, "complaint")
        server.start()
        (job,) = process.wait_until_done(1)
        assert (job.state, job.attempts) == ("done", 1)
        assert len([each for each in server.results() if each["modality"] == "SR"]) == 1
        assert process.end() == 0
        for secret in SECRETS:
            assert secret not in told(process)
        assert all(json.loads(line) for line in process.log.splitlines() if line[:1] == "{")
    finally:
        process.close()


def test_status_and_retry_show_numbers_and_uids_only_when_asked(
    server: OrthancServer, bright_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_study(tmp_path / "study")
    for path in folder.iterdir():
        content = path.read_bytes()
        path.write_bytes(content.replace(b"MONOCHROME2", b"PALETTE COL"))
    process = PacsProcess("watch", server.url, tmp_path / "watch", bright_path, ("--results", "sr"))
    place = ["--folder", str(process.state)]
    try:
        process.start()
        process.wait_for_first_question()
        server.send(folder)
        (job,) = process.wait_until_done(1)
        assert job.state == "dead", process.log
        assert run(["pacs", "status", *place]) == 0
        shown = capsys.readouterr().out
        assert "dead 1" in shown
        assert SERIES not in shown
        assert run(["pacs", "status", *place, "--state", "dead", "--json", "--uids"]) == 0
        assert json.loads(capsys.readouterr().out)["jobs"][0]["series"] == SERIES
        assert run(["pacs", "retry", *place, "--dead"]) == 0
        wait_for(lambda: process.log.count('"event": "dead"') == 2, "second failure")
        assert run(["pacs", "retry", *place, str(job.id), "--forget"]) == 0
        assert run(["pacs", "retry", *place, "77"]) == 2
        assert run(["pacs", "retry", *place]) == 2
        assert process.end() == 0
        for secret in SECRETS:
            assert secret not in told(process) + shown
    finally:
        process.close()
