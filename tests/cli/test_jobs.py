"""``tumorlens predict --out`` as a user meets it."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import pytest

from tests.jobs.conftest import InProcess
from tests.jobs.drawn import draw
from tumorlens.cli import jobs
from tumorlens.cli.app import run
from tumorlens.cli.jobs import describe, duration
from tumorlens.jobs.run import Progress

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _model(tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORLENS_MODEL", str(tiny_model_path))
    monkeypatch.setattr("tumorlens.jobs.run.answer_locally", InProcess())


def test_a_job_tells_its_progress_and_where_the_answers_are(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_SECONDS_BETWEEN_LINES", 0.0)
    scans, out = draw(tmp_path / "s", 5), tmp_path / "out"
    command = ["predict", str(scans), "--out", str(out), "--shard-size", "2"]
    assert run(command) == 0
    told = capsys.readouterr()
    assert told.out == f"5 answers in {out}/results\n"
    lines = told.err.splitlines()
    assert lines[0] == "0 of 5 inputs"
    assert lines[1].startswith("2 of 5 inputs, ")
    assert lines[1].endswith(" left")
    assert lines[3].startswith("5 of 5 inputs, ")
    rows = list(csv.DictReader(io.StringIO((out / "results/part-00000002.csv").read_text())))
    assert [row["path"] for row in rows] == [f"{scans}/04.png"]
    assert run(command) == 0
    assert capsys.readouterr().err == "5 of 5 inputs (5 of them before)\n"


def test_unreadable_inputs_are_counted_and_exit_with_three(tmp_path: Path, capsys: Capture) -> None:
    scans = draw(tmp_path / "s", 2)
    (scans / "text.png").write_text("text")
    out = tmp_path / "out"
    assert run(["predict", str(scans), "--out", str(out), "--format", "parquet"]) == 3
    told = capsys.readouterr()
    assert told.out == f"2 answers in {out}/results\n"
    assert f"tumorlens: 1 inputs could not be read: see {out}/errors" in told.err
    assert run(["predict", str(scans), "--out", str(out), "--format", "parquet"]) == 3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--format", "parquet"], "need --out FOLDER"),
        (["--engine", "ray"], "need --out FOLDER"),
        (["--out", "out", "--format", "table"], "leave out --output, --format table"),
        (["--out", "out", "--output", "x.csv"], "leave out --output, --format table"),
        (["--out", "out", "--threads", "2"], "leave out --output, --format table and --threads"),
        (["--out", "out", "-"], "standard input cannot be read again"),
        (["--out", "out", "--provider", "cuda"], "provider 'cuda' is not available"),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: list[str], told: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "s", 1)
    assert run(["predict", "s", *options]) == 2
    assert told in capsys.readouterr().err.replace("\n", " ")
    assert not list(Path().glob("out/results/*"))


@pytest.mark.parametrize(
    ("module", "extra", "options"),
    [("pyarrow", "tables", ["--format", "parquet"]), ("ray", "cluster", ["--engine", "ray"])],
)
def test_a_missing_extra_is_named_before_anything_is_written(
    module: str, extra: str, options: list[str], tmp_path: Path, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, module, None)
    scans = draw(tmp_path / "s", 1)
    assert run(["predict", str(scans), "--out", str(tmp_path / "out"), *options]) == 2
    assert f"pip install 'tumorlens[{extra}]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (3700, "1 h 1 min"),
        (90_000, "1 d 1 h"),
        (9e6, "104 d 4 h"),
    ],
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_job_not_begun_tells_no_rate() -> None:
    assert describe(Progress(inputs=1_000_000, size=5, left=5)) == "0 of 1,000,000 inputs"
