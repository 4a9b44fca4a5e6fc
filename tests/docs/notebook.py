"""Executes the quick start notebook; ``python -m tests.docs.notebook`` writes its outputs anew.

What is written has no warnings of the machine it ran on, and no path of it.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "quickstart.ipynb"
SECONDS = 300  # for one cell


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def executed(folder: Path) -> Any:
    """Return the notebook with the outputs of a fresh kernel that works in ``folder``."""
    notebook = read()
    NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=SECONDS,
        startup_timeout=SECONDS,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    return notebook


def cleaned(notebook: Any) -> Any:
    """Drop what belongs to this machine: warnings, and the folder of temporary files."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output["output_type"] == "stream":
                output["text"] = re.sub(r"\S*/quickstart-\w+/", "", output["text"])
        if "outputs" in cell:
            cell["outputs"] = [each for each in cell.outputs if each.get("name") != "stderr"]
    notebook.metadata = {
        "kernelspec": notebook.metadata.kernelspec,
        "language_info": {"name": "python"},
    }
    return notebook


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        nbformat.write(cleaned(executed(Path(made))), NOTEBOOK)
