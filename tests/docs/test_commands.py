"""What README and docs show is held against the code, so that they promise what is there.

Every command in a block is parsed by the real command line, settings are composed by Hydra; blocks
are run in test_snippets.py. A command inside a sentence may leave things out: its verb and its
options must exist.
"""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any, Never

import cv2
import pytest

from tumorlens.cli.app import VERBS, VerbGroup, run
from tumorlens.imaging.phantom import draw_phantom

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks" / "README.md"]
WITH_SETTINGS = {"train", "crossval", "protocol"}

Words = tuple[str, ...]


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(*programs: str, pages: list[Path] = PAGES) -> list[Words]:
    """Return the words of the commands in ``sh`` blocks that start with one of ``programs``."""
    found = {}
    for page in pages:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = tuple(shlex.split(line, comments=True))
                if " ".join(words).startswith(programs):
                    found[words] = None
    return list(found)


def mentions(program: str) -> list[Words]:
    """Return the words of the commands inside sentences, between backquotes."""
    found = {}
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        for code in re.findall(rf"`{program} ([^`]+)`", text):
            found[tuple(shlex.split(code))] = None
    return list(found)


def parse(words: Words) -> dict[str, Any]:
    """Let the command line parse a verb and its arguments; a usage error is raised."""
    verb = VerbGroup().get_command(None, words[0])
    assert verb is not None, f"tumorlens has no verb {words[0]}"
    if words[0] == "pacs":
        words = words[1:]
        verb = verb.commands[words[0]]
    params: dict[str, Any] = verb.make_context(words[0], list(words[1:])).params
    return params


@pytest.mark.parametrize("line", commands("tumorlens "), ids=" ".join)
def test_a_command_of_a_block_is_taken_as_it_stands(line: Words) -> None:
    words = tuple(word for word in line[1:] if word != "…")
    given = parse(words)
    if words[0] in WITH_SETTINGS:
        pytest.importorskip("hydra", reason="training is an extra")
        settings = given.get("overrides") or given.get("arguments") or []
        composes([each for each in settings if "=" in each], sweep="-m" in settings)


def composes(settings: list[str], *, sweep: bool) -> None:
    from tumorlens.runs.compose import compose_config

    if sweep:  # one value of those that are tried
        settings = [each if "[" in each else each.partition(",")[0] for each in settings]
    compose_config(settings)


@pytest.mark.parametrize("words", mentions("tumorlens"), ids=" ".join)
def test_a_command_of_a_sentence_has_its_verb_and_options(
    words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    verb, options = words[0], [word for word in words if word.startswith("--")]
    if verb.startswith("-"):
        assert run([]) in (0, 2)
    else:
        assert verb in VERBS
        below = [word for word in words[1:2] if verb == "pacs"]
        assert run([verb, *below, "--help"]) == 0
    told = "".join(capsys.readouterr())
    for option in options:
        assert option.partition("=")[0] in told


class _ParsedError(Exception):
    pass


def _and_stop(parse: Callable[..., object]) -> Callable[..., Never]:
    def parsed(*given: Any, **named: Any) -> Never:
        parse(*given, **named)
        raise _ParsedError

    return parsed


@pytest.mark.parametrize(
    "line",
    [line[2:] for line in commands("python -m benchmarks.")]
    + [
        words for words in mentions("python -m") if words[0].startswith("benchmarks.") and words[1:]
    ],
    ids=" ".join,
)
def test_a_benchmark_takes_the_arguments_shown(
    line: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = line[0]
    for name in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(ArgumentParser, name, _and_stop(getattr(ArgumentParser, name)))
    monkeypatch.setattr(sys, "argv", [word for word in line if word != "…"])
    # Of a package its main module is run, which another test may have imported.
    for name in (module, f"{module}.__main__"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(_ParsedError):
        runpy.run_module(module, run_name="__main__")


def test_make_has_the_targets_shown() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    shown = {line[1] for line in commands("make ")} | {words[0] for words in mentions("make")}
    assert {"run", "test", "check"} <= shown
    for target in shown:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make has no target {target}"


def test_the_readmes_python_blocks_run(
    tiny_model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cv2.imwrite(str(tmp_path / "scan.png"), draw_phantom(7, lesion=True).image)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUMORLENS_MODEL", str(tiny_model_path))
    names: dict[str, Any] = {}
    shown = blocks(README, "python")
    assert shown
    for block in shown:
        exec(compile(block, "README.md", "exec"), names)
    label, prob, decision, hottest = capsys.readouterr().out.split()
    assert (label == "tumor") == (float(prob) >= names["answer"].threshold)
    assert decision in {"tumor", "healthy", "uncertain"}
    assert names["heatmap"].shape == (256, 256)
    assert 0 < float(hottest) <= 1


def test_the_service_has_the_paths_shown(tiny_model_path: Path) -> None:
    from tumorlens.inference.predictor import Predictor
    from tumorlens.serving.app import create_app
    from tumorlens.serving.settings import Settings

    paths = create_app(Predictor.open(tiny_model_path), Settings()).openapi()["paths"]
    text = "".join(page.read_text("utf-8") for page in PAGES)
    rows = re.findall(r"^\| `(GET|POST)` \| `(/[\w/]*)` \|", text, re.MULTILINE)
    rows += re.findall(r"`(GET|POST) (/[\w/]*)`", text)
    assert len(rows) > 5
    for method, path in rows:
        assert method.lower() in paths.get(path, {}), f"{method} {path}"
