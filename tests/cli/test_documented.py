"""docs/cli.md lists every verb, and every verb exits as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tumorlens.cli.app import VERBS, run

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text("utf-8")


def test_the_table_lists_the_verbs_in_their_order() -> None:
    assert tuple(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_done_and_an_unknown_option_is_not_possible(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([verb, "--help"]) == 0
    assert "tumorlens" in capsys.readouterr().out
    assert run([verb, "--no-such-option"]) == 2
    assert "no-such-option" in "".join(capsys.readouterr()).replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["audit", "{missing}"], 2),
        (["split", "{missing}", "--out", "{missing}/split.json"], 2),
        (["evaluate", "{missing}", "{missing}"], 2),
        (["report", "{missing}"], 2),
        (["export", "{missing}", "--output", "{missing}/model.onnx"], 2),
        (["calibrate", "{missing}", "--out", "{missing}/site.onnx"], 2),
        (["predict", "{missing}"], 3),
        (["explain", "{missing}"], 3),
        (["serve", "--model", "{missing}"], 2),
        (["model", "{missing}"], 2),
        (["train", "nonsense=1"], 2),
        (["crossval", "nonsense=1"], 2),
        (["protocol", "{missing}"], 2),
        (["download", "{missing}"], 2),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_what_is_missing_is_named(
    arguments: list[str], status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing")
    assert run([each.replace("{missing}", missing) for each in arguments]) == status
    told = "".join(capsys.readouterr()).replace("\n", "")
    assert ("nonsense" if "nonsense=1" in arguments else "missing") in told
    assert not (tmp_path / "missing").exists()
