"""What the README shows is run here, so that it cannot promise what is not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import pytest

from tumorlens.cli.app import run
from tumorlens.imaging.phantom import draw_phantom

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found, f"the README has no {language} block"
    return found


def commands(program: str) -> list[list[str]]:
    lines = "\n".join(blocks("sh")).splitlines()
    return [line.partition("#")[0].split()[1:] for line in lines if line.startswith(program + " ")]


def test_the_python_blocks_run(
    tiny_model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cv2.imwrite(str(tmp_path / "scan.png"), draw_phantom(7, lesion=True).image)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUMORLENS_MODEL", str(tiny_model_path))
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    label, prob, decision = capsys.readouterr().out.splitlines()[0].split()
    assert (label == "tumor") == (float(prob) >= names["answer"].threshold)
    assert decision in {"tumor", "healthy", "uncertain"}
    assert names["heat"].shape == (256, 256)


@pytest.mark.parametrize("verb", sorted({line[0] for line in commands("tumorlens")}))
def test_the_command_line_has_the_verbs_shown(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([verb, "--help"]) == 0
    told = capsys.readouterr().out
    words = [word for line in commands("tumorlens") if line[0] == verb for word in line[1:]]
    for option in (word for word in words if word.startswith("--")):
        assert option in told


@pytest.mark.parametrize("line", [line for line in commands("tumorlens") if line[0] == "train"])
def test_training_takes_the_settings_shown(line: list[str]) -> None:
    pytest.importorskip("hydra", reason="training is an extra")
    assert run([*line, "--show-config"]) == 0


def test_make_has_the_targets_shown() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    shown = {line[0] for line in commands("make")} | set(re.findall(r"`make ([a-z]+)`", README))
    assert shown
    for target in shown:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make has no target {target}"


def test_the_service_has_the_paths_shown(tiny_model_path: Path) -> None:
    from tumorlens.inference.predictor import Predictor
    from tumorlens.serving.app import create_app
    from tumorlens.serving.settings import Settings

    paths = create_app(Predictor.open(tiny_model_path), Settings()).openapi()["paths"]
    rows = re.findall(r"^\| `(GET|POST)` \| `(/[\w/]*)` \|", README, re.MULTILINE)
    assert len(rows) > 5
    for method, path in rows:
        assert method.lower() in paths.get(path, {}), f"{method} {path}"
