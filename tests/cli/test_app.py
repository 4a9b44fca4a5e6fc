"""The command as a whole: its verbs, its version, its way of failing."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import tumorlens
from tumorlens import errors
from tumorlens.cli.app import VERBS, run

Capture = pytest.CaptureFixture[str]

# The order of the pipeline; verbs that do not exist yet are simply absent from VERBS.
PIPELINE = [
    *("download", "audit", "split", "train", "protocol", "crossval", "evaluate", "report"),
    *("export", "calibrate", "predict", "explain", "deidentify", "pacs", "serve"),
    *("bench", "model"),
]


def test_verbs_are_in_pipeline_order() -> None:
    assert [verb for verb in PIPELINE if verb in VERBS] == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_a_module_and_help(verb: str, capsys: Capture) -> None:
    assert callable(getattr(import_module(f"tumorlens.cli.{verb}"), verb))
    assert run([verb, "--help"]) == 0
    assert f"Usage: tumorlens {verb}" in capsys.readouterr().out


def test_help_lists_every_verb_in_order(capsys: Capture) -> None:
    assert run(["--help"]) == 0
    printed = capsys.readouterr().out
    commands = printed.partition("Commands:")[2].splitlines()
    assert [line.split()[0] for line in commands if line.startswith("  ") and line[2] != " "] == [
        *VERBS
    ]
    assert "not for clinical use" in printed


def test_version_is_the_package_version(capsys: Capture) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"tumorlens {tumorlens.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["predikt"], ["--verbose"]])
def test_a_usage_error_exits_with_2_and_prints_to_stderr(
    arguments: list[str], capsys: Capture
) -> None:
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Usage: tumorlens" in printed.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DecodeError("scan.png: cut off"), 3),
        (errors.ModelDamagedError("m.onnx: changed"), 2),
        (errors.ConfigError("no such setting"), 2),
        (errors.OutputError("disk full"), 2),
        (errors.LeakageError("group 7"), 2),
        (errors.MissingExtraError("training", "train"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_prints_one_line_and_sets_the_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail(path: object) -> None:
        raise error

    monkeypatch.setattr("tumorlens.inference.predictor.Predictor.open", fail)
    assert run(["model"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (f"tumorlens: {error}\n" if str(error) else "")


def test_an_unexpected_exception_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tumorlens.inference.predictor.Predictor.open", fail)
    with pytest.raises(ZeroDivisionError):
        run(["model"])


def test_the_installed_script_runs_this_command(tiny_model_path: Path) -> None:
    for command in (
        [sys.executable, "-m", "tumorlens"],
        [Path(sys.executable).parent / "tumorlens"],
    ):
        done = subprocess.run([*command, "model", "no.onnx"], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr == "tumorlens: no.onnx: no such model file; check the path\n"
