"""What a test may need that Python does not bring: programs, and the real images.

A test says so with a marker: ``real``, ``browser`` or ``system("promtool")``. Where the thing is
missing the test is skipped with the way to get it. With ``CI`` set, every skip is a failure.

``python -m tests.requirements`` prints the Debian packages of the programs missing here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@dataclass(frozen=True)
class Program:
    """Names it may have on PATH, and where it comes from."""

    names: tuple[str, ...]
    packages: str = ""  # of Debian and Ubuntu
    page: str = ""  # for what these have not, or not new enough

    def find(self) -> str | None:
        return next((path for path in map(shutil.which, self.names) if path), None)


# Ubuntu's is a snap behind a package of another name. A page without fonts is a page of boxes.
_CHROMIUM = "chromium-browser" if shutil.which("snap") else "chromium"
PROGRAMS = {
    "chromium": Program(
        ("chromium", "chromium-browser", "google-chrome"), f"{_CHROMIUM} fonts-dejavu-core"
    ),
    "storescu": Program(("storescu",), "dcmtk"),
    "dsrdump": Program(("dsrdump",), "dcmtk"),
    "dcm2xml": Program(("dcm2xml",), "dcmtk"),
    "dcmdump": Program(("dcmdump",), "dcmtk"),
    "dciodvfy": Program(("dciodvfy",), "dicom3tools"),
    # Debian puts it where only root looks.
    "orthanc": Program(("Orthanc", "/usr/sbin/Orthanc"), "orthanc orthanc-dicomweb"),
    "prometheus": Program(("prometheus",), "prometheus"),
    "promtool": Program(("promtool",), "prometheus"),
    "curl": Program(("curl",), "curl"),
    "openssl": Program(("openssl",), "openssl"),
    "setpriv": Program(("setpriv",), "util-linux"),
    "kubectl": Program(("kubectl",), page="https://kubernetes.io/docs/tasks/tools/"),
}


def real_images() -> Path | None:
    """Return the folder that ``TUMORLENS_DATA`` names, if it holds the real images."""
    root = os.environ.get("TUMORLENS_DATA")
    if root and (Path(root) / "manifest.csv").is_file():
        return Path(root).resolve()
    return None


def further_images() -> Path | None:
    """Return the folder that ``TUMORLENS_MORE`` names, if it holds the tables of the wide data."""
    root = os.environ.get("TUMORLENS_MORE")
    if root and all((Path(root) / name).is_file() for name in ("images.csv", "heads.csv")):
        return Path(root).resolve()
    return None


def lacking(item: pytest.Item) -> Iterator[str]:
    """Yield what this machine lacks to run a test, each with the way to get it."""
    if item.get_closest_marker("real") and real_images() is None:
        yield "real images: set TUMORLENS_DATA to a folder of them that has a manifest.csv"
    if "more_root" in getattr(item, "fixturenames", ()) and further_images() is None:
        yield "further images: set TUMORLENS_MORE to a folder with images.csv and heads.csv"
    names = [name for marker in item.iter_markers("system") for name in marker.args]
    if item.get_closest_marker("browser"):
        names.append("chromium")
    for name in names:
        program = PROGRAMS[name]
        if program.find() is None:
            yield f"{name}: " + (
                f"`make test-system`, or apt-get install {program.packages}"
                if program.packages
                else program.page
            )


# --- hooks of pytest, imported by conftest.py ---------------------------------------------------


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for the real images or for a page, so that ``-m`` finds all of it.

    Files with slow tests, and those of a browser, come first, so that no process is left alone
    with one at the end.
    """
    marks = ("slow", "browser")
    slow = {item.path for item in items if any(map(item.get_closest_marker, marks))}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        names = getattr(item, "fixturenames", ())
        if {"data_root", "more_root"} & set(names):
            item.add_marker("real")
        if "browser" in names:
            item.add_marker("browser")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test before its fixtures are made when this machine lacks what it needs."""
    missing = list(lacking(item))
    if missing:
        pytest.skip("needs " + "; ".join(missing))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, turn the skip of a test into a failure."""
    return _no_skip_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI, turn the skip of a module into a failure."""
    return _no_skip_in_ci((yield))


def _no_skip_in_ci(report: Report) -> Report:
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"In CI a skip is a failure. {reason}"
    return report


if __name__ == "__main__":
    print(*sorted({p.packages for p in PROGRAMS.values() if p.find() is None}))  # noqa: T201
