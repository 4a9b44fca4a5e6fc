"""``tumorlens evaluate``: the parts of its answer beyond the plain figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.drawn_data import draw_heads
from tests.models_for_tests import write_tiny_model
from tumorlens.cli.app import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("evaluate")
    heads = draw_heads(root, each=12) / "heads"
    model = write_tiny_model(root / "m.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORLENS_CACHE", str(root / "cache"))
        yield ["evaluate", str(model), str(heads), "--threads", "1"]


def test_shortcuts_and_robustness_as_json_and_picture(
    arguments: list[str], tmp_path: Path, capsys: Capture
) -> None:
    target, picture = tmp_path / "figures.json", tmp_path / "curves.svg"
    asked = ["--shortcuts", "--robustness", "--limit", "20", "--plot", str(picture)]
    assert run([*arguments, *asked, "--format", "json", "--output", str(target)]) == 0
    document = json.loads(target.read_text())
    assert {"model", "overall", "shortcuts", "robustness"} <= set(document)
    assert document["images"] == 24
    for part in ("shortcuts", "robustness"):
        assert (document[part]["images"], document[part]["drawn_from"]) == (20, 24)
        assert document[part]["part"] == "all records"
    assert {figure["test"] for figure in document["shortcuts"]["measurements"]} >= {
        "border only",
        "swapped background",
    }
    assert len(document["robustness"]["curves"]) == 10
    assert "burned-in text" in str(document["robustness"]["curves"])
    assert picture.read_bytes().startswith(b"<?xml")


def test_shortcuts_as_text(arguments: list[str], capsys: Capture) -> None:
    assert run([*arguments, "--shortcuts"]) == 0
    out = capsys.readouterr().out
    assert "shortcut tests: all records, 24 images\n" in out
    (line,) = [
        line for line in out.splitlines() if line.startswith("border only") and "AUC" in line
    ]
    assert "at most 0.6" in line
    assert "skipped: view among healthy: fewer than two classes" in out


def test_without_options_only_the_metrics_are_reported(
    arguments: list[str], capsys: Capture
) -> None:
    assert run([*arguments, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert not {"shortcuts", "robustness"} & set(document)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--plot", "curves.png"], "--plot"),
        (["--robustness", "--plot", "curves.gif"], "ends in .png or .svg"),
        (["--weights", "runs/a"], "--weights"),
        (["--shortcuts", "--limit", "3"], "--limit"),
    ],
)
def test_invalid_combinations_of_options_are_refused(
    arguments: list[str], options: list[str], message: str, capsys: Capture
) -> None:
    assert run([*arguments, *options]) == 2
    assert message in capsys.readouterr().err


def test_a_run_without_weights_is_refused(
    arguments: list[str], tmp_path: Path, capsys: Capture
) -> None:
    assert run([*arguments, "--shortcuts", "--weights", str(tmp_path)]) == 2
    assert capsys.readouterr().err != ""
