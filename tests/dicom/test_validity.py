"""Each object that is written passes dciodvfy, dsrdump, dcm2xml and dcmdump without an error."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

KINDS_OF_RUN = ("axial", "recut", "enhanced", "transposed", "healthy", "refused")


def complaints(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines()
            if line.lstrip().startswith(("Error", "E:", "F:", "Abort"))]  # fmt: skip
    if done.returncode or said:
        return f"{' '.join(command[:-1])}: {done.returncode} {' '.join(said)}"
    return ""


@pytest.mark.system("dciodvfy", "dsrdump", "dcm2xml", "dcmdump")
@pytest.mark.parametrize("kind", KINDS_OF_RUN)
def test_every_object_is_valid(
    results: Callable[[str], dict[str, Dataset]], tmp_path: Path, kind: str
) -> None:
    wrong = []
    for name, made in results(kind).items():
        path = tmp_path / name
        made.save_as(path, enforce_file_format=True)
        programs = [["dciodvfy", "-new"], ["dcm2xml", "-q"], ["dcmdump", "-q"]]
        if path.name in ("sr.dcm", "ko.dcm"):
            programs.append(["dsrdump", "-q"])
        wrong += [
            f"{path.name}: {said}" for each in programs if (said := complaints(*each, str(path)))
        ]
    assert not wrong
