"""``tumorlens evaluate`` with all its options where no training package can be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2

from tests.data.drawn_sets import write_manifest
from tests.models_for_tests import write_tiny_model
from tumorlens.data.manifest import Record
from tumorlens.imaging.phantom import draw_phantom

WITHOUT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "lightning", "monai", "omegaconf", "matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from tumorlens.cli.app import run
sys.exit(run(sys.argv[1:]))
"""


def test_every_option_but_weights_works_without_torch(tmp_path: Path) -> None:
    records = []
    for number in range(24):
        drawn = draw_phantom(number, lesion=number % 2 == 0, size=96)
        path = tmp_path / "heads" / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), drawn.image)
        boxes = None if drawn.box is None else (drawn.box,)
        records.append(Record(f"heads:{number}", path, "heads", int(drawn.box is not None),
                              view="axial", boxes=boxes))  # fmt: skip
    write_manifest(records, tmp_path / "heads" / "manifest.csv")
    model, target = write_tiny_model(tmp_path / "model.onnx"), tmp_path / "evaluation.json"
    asked = ["evaluate", str(model), str(tmp_path / "heads"), "--shortcuts", "--robustness",
             "--explain", "--gallery", str(tmp_path / "page.html"), "--threads", "1",
             "--format", "json", "--output", str(target)]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT, *asked],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(target.read_text())
    assert {"overall", "shortcuts", "robustness", "explanations"} <= set(found)
    assert (tmp_path / "page.html").is_file()
    mirrored = [
        figure["n"]
        for figure in found["shortcuts"]["measurements"]
        if figure["test"] == "mirrored half"
    ]
    assert sum(mirrored) > 0
