"""What a machine lacks is skipped by name; in CI the same skip is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = """
import pytest

@pytest.mark.system("promtool")
def test_a_program(): ...

@pytest.mark.browser
def test_a_browser(): ...

def test_images(data_root): ...

def test_further_images(more_root): ...

def test_a_library():
    pytest.importorskip("no_such_library")

@pytest.mark.xfail(strict=True)
def test_known(): raise ValueError

def test_nothing(): ...

@pytest.fixture
def data_root(): raise AssertionError("made although it is missing")

@pytest.fixture
def more_root(): raise AssertionError("made although it is missing")
"""
REASONS = [
    "needs promtool: `make test-system`, or apt-get install prometheus",
    "needs chromium: `make test-system`, or apt-get install chromium",
    "needs real images: set TUMORLENS_DATA to a folder",
    "further images: set TUMORLENS_MORE to a folder with images.csv and heads.csv",
    "could not import 'no_such_library'",
]


def run_pytest(folder: Path, *, ci: str) -> str:
    environment = {"PATH": "", "PYTHONPATH": str(ROOT), "CI": ci}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in ("SYSTEMROOT", "HOME", "LD_LIBRARY_PATH"):
        environment |= {name: os.environ[name]} if name in os.environ else {}
    options = ["-p", "tests.requirements", "-p", "no:cacheprovider", "-ra", "-W", "ignore"]
    options += ["--continue-on-collection-errors"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(folder)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    ).stdout


@pytest.mark.parametrize(
    ("ci", "counts"),
    [
        ("", "1 passed, 6 skipped, 1 xfailed"),
        ("true", "1 failed, 1 passed, 1 xfailed, 5 errors"),
    ],
)
def test_a_skip_says_how_to_get_what_is_missing_and_is_a_failure_in_ci(
    tmp_path: Path, ci: str, counts: str
) -> None:
    (tmp_path / "test_needs.py").write_text(TESTS, "utf-8")
    (tmp_path / "test_module.py").write_text(
        "import pytest\npytest.importorskip('no_such_library')\ndef test_it(): ...\n", "utf-8"
    )
    told = run_pytest(tmp_path, ci=ci)
    for reason in REASONS:
        assert reason in told
    assert counts in told
