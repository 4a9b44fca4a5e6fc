"""The quick start notebook runs from its first cell to its last, and is committed as it ran."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nbclient", reason="notebooks are executed with the extra 'dev'")

from tests.docs.notebook import NOTEBOOK, executed, read
from tumorlens.inference.prediction import DISCLAIMER


def shown(notebook: Any) -> list[list[list[str]]]:
    """Return, for each cell of code, the kinds of its outputs but for standard error."""
    return [
        [
            sorted(output["data"]) if "data" in output else [output["name"]]
            for output in cell.outputs
            if output.get("name") != "stderr"
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def answers(notebook: Any) -> list[str]:
    return [
        output["data"]["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]


@pytest.mark.slow
def test_every_cell_runs_and_shows_what_the_committed_one_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("TUMORLENS_MODEL", "TUMORLENS_DATA", "TUMORLENS_MORE"):
        monkeypatch.delenv(variable, raising=False)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    notebook = executed(tmp_path)
    assert shown(notebook) == shown(read())
    assert len(answers(notebook)) == 4
    assert all(DISCLAIMER in answer for answer in answers(notebook))
    assert notebook.cells[-1].outputs[0]["data"]["text/plain"] == "'stopped with 0'"
    assert not list(temporary.glob("quickstart-*"))


def test_the_committed_notebook_is_of_one_run_and_of_no_machine() -> None:
    notebook = read()
    text = NOTEBOOK.read_text("utf-8")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not re.search(r"\"/|site-packages|/(home|tmp|root|usr)/", text)
    assert not re.search(r"\"(error|stderr)\"", text)
    assert len(text) < 1_000_000
    assert all(DISCLAIMER in answer for answer in answers(notebook))


def test_the_steps_are_all_there_in_their_order() -> None:
    headings = [
        line.removeprefix("## ")
        for cell in read().cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("## ")
    ]
    assert headings[1:] == ["Data", "Audit", "Train", "Evaluate", "Explain", "Export", "Serve"]
