"""Kills `tumorlens pacs` at random moments, and takes away what it depends on: is every
acknowledged series answered once?

Each series is a study of its own, so the archive tells how often it was answered. Needs Orthanc
with DICOMweb and dcmtk; `disk` needs root, `postgresql` Debian's PostgreSQL. Writes JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.dicom.studies import elements
from tests.imaging.dicoms import encode
from tests.inference.series.drawn import head, write_bright_model
from tests.pacs.orthanc import OrthancServer, free_port, orthanc, storescu
from tests.pacs.postgresql import postgresql
from tests.pacs.process import PacsProcess
from tests.volumes.dicom_series import Scan, one_slice

ROOT_UID = "1.2.826.0.1.3680043.8.498.9"
SCENARIOS = ("listen", "watch", "orthanc", "postgresql", "disk")


def write_series(folder: Path, count: int) -> list[Path]:
    """Write ``count`` small series of a drawn head with a tumour, each in a study of its own."""
    volume = head(((24.0, 10.0, 12.0), 25.0), shape=(64, 72, 10), spacing=(3.0, 3.0, 16.0))
    scan = Scan(volume.data, volume.spacing_mm)
    made = []
    for number in range(1, count + 1):
        uid = f"{ROOT_UID}.{number}"
        given = elements(StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1",
                         PatientID=f"CANARY-{number}")  # fmt: skip
        made.append(folder / f"{number:04}")
        made[-1].mkdir(parents=True)
        for k in range(len(scan.slices)):
            single = one_slice(scan, k, **given, SOPInstanceUID=f"{uid}.1.{k + 1}")
            (made[-1] / f"{k}.dcm").write_bytes(encode(single))
    return made


def answers(server: OrthancServer, count: int) -> Counter[int]:
    """Return how many series have so many reports in the archive."""
    reports = Counter(each["study"] for each in server.results() if each["modality"] == "SR")
    found = Counter(reports.values())
    missing = count - sum(found.values())
    return found + Counter({0: missing} if missing else {})


def send_until_acknowledged(series: list[Path], port: int, seconds: float = 300.0) -> int:
    """Send each series until all of it was acknowledged; return how often one had to be repeated.

    A sender that is not answered sends again: that is what archives and scanners do.
    """
    repeated, until = 0, time.monotonic() + seconds
    for folder in series:
        while storescu(folder, port, called="TUMORLENS", check=False).returncode:
            assert time.monotonic() < until, "no sender is answered"
            repeated += 1
            time.sleep(0.2)
    return repeated


@contextmanager
def killing(process: PacsProcess, kills: int, rng: random.Random, longest: float) -> Iterator[None]:
    """Kill and start a process so often, at random moments of at most ``longest`` seconds."""
    failed: list[BaseException] = []

    def kill() -> None:
        try:
            for _ in range(kills):
                time.sleep(rng.uniform(0.05, longest))
                process.kill()
                process.start()
        except BaseException as error:  # noqa: BLE001  told below
            failed.append(error)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failed:
        raise failed[0]


@contextmanager
def beside(
    verb: str, folder: Path, *options: str, state: Path | None = None, **environment: str
) -> Iterator[tuple[OrthancServer, PacsProcess, int]]:
    """Run an archive and a process beside it; yield both, and the port for senders."""
    model = write_bright_model(folder / "bright.onnx")
    with orthanc(folder / "orthanc") as server:
        port = free_port() if verb == "listen" else server.dicom_port
        more = ("--results", "sr", "--port", str(port)) if verb == "listen" else (
            "--results", "sr")  # fmt: skip
        process = PacsProcess(verb, server.url, folder / verb, model, (*more, *options),
                              dict(environment), state_folder=state)  # fmt: skip
        try:
            process.start()
            if verb == "watch":
                process.wait_for_first_question()
            yield server, process, port
        finally:
            process.close()


def killed(verb: str, folder: Path, *, series: int, kills: int, seed: int = 0) -> dict[str, Any]:
    """Kill ``listen`` or ``watch`` while series come; return what the archive has at the end."""
    rng, begun = random.Random(seed), time.monotonic()
    sent = write_series(folder / "in", series)
    with beside(verb, folder) as (server, process, port):
        with killing(process, kills, rng, longest=max(2.0, series / max(kills, 1) * 0.4)):
            repeated = send_until_acknowledged(sent, port, 60.0 + 10.0 * series)
        jobs = process.wait_until_done(series, 120.0 + 5.0 * series)
        found = answers(server, series)
        told = process.log
    return {
        "series": series, "kills": kills, "sent_again": repeated,
        "answered_once": found[1], "answered_more_than_once": sum(found.values()) - found[1] -
        found[0], "not_answered": found[0], "dead_letters": sum(j.state == "dead" for j in jobs),
        "canaries_in_the_log": told.count("CANARY") + told.count(ROOT_UID),
        "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip


def without(
    what: str, folder: Path, *, series: int, seconds: float, options: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Take the archive, the data base or the disk away in the middle of a run."""
    begun = time.monotonic()
    sent = write_series(folder / "in", series)
    with (
        taken_away(what, folder) as (environment, state, away, back),
        beside("listen", folder, *options, state=state, **environment) as here,
    ):
        server, process, port = here
        repeated = send_until_acknowledged(sent[: series // 3], port)
        (server.stop if what == "orthanc" else away)()
        refused = 0
        until = time.monotonic() + seconds
        waiting = sent[series // 3 :]
        while waiting and time.monotonic() < until:
            code = storescu(waiting[0], port, called="TUMORLENS", check=False).returncode
            refused += bool(code)
            waiting = waiting[bool(not code) :]
        time.sleep(max(0.0, until - time.monotonic()))
        (server.start if what == "orthanc" else back)()
        repeated += send_until_acknowledged(waiting, port)
        count, end = Counter[int](), time.monotonic() + 120.0 + 5.0 * series
        while count[1] < series and time.monotonic() < end:
            time.sleep(1.0)
            count = answers(server, series)
        told = process.log
    return {
        "series": series, "seconds_away": seconds, "refused_meanwhile": refused,
        "sent_again": repeated, "answered_once": count[1], "not_answered": count[0],
        "answered_more_than_once": sum(count.values()) - count[1] - count[0],
        "canaries_in_the_log": told.count("CANARY") + told.count(ROOT_UID),
        "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip


Away = tuple[dict[str, str], Path | None, Callable[[], object], Callable[[], object]]


@contextmanager
def taken_away(what: str, folder: Path) -> Iterator[Away]:
    """Yield environment and state folder of the process, and what takes away and gives back."""
    if what == "postgresql":
        with postgresql(folder / "pg") as base:
            yield {"TUMORLENS_PACS_QUEUE": base.url}, None, base.stop, base.start
    elif what == "disk":
        place = folder / "disk"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", place], check=True)
        ballast = place / "ballast"
        try:
            yield {}, place / "state", lambda: fill(ballast), lambda: ballast.unlink()
        finally:
            subprocess.run(["umount", "--lazy", place], check=True)
    else:
        yield {}, None, lambda: None, lambda: None


def fill(path: Path) -> None:
    """Take all space that is left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"some of {', '.join(SCENARIOS)}; none: all")
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--away", type=float, default=60.0, help="seconds")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    results: dict[str, Any] = {}
    for name in given.scenarios or SCENARIOS:
        folder = Path(tempfile.mkdtemp(prefix="tumorlens-faults-"))
        try:
            if name in ("listen", "watch"):
                results[name] = killed(name, folder, series=given.series, kills=given.kills)
            else:
                results[name] = without(name, folder, series=given.series // 5, seconds=given.away)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(name, json.dumps(results[name]), flush=True)
        if given.output:
            before = json.loads(given.output.read_text()) if given.output.is_file() else {}
            given.output.write_text(json.dumps(before | results, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
