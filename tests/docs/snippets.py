"""The ``sh`` and ``python`` blocks of a page, and how they are run.

Blocks of a page run in their order in one folder, which holds the drawn files that pages speak of.
A block that cannot be run says why in a comment above it: ``<!-- not run: needs a GPU -->``. The
pages of the repository's root are kept free of such comments; their reasons stand here.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = Path(__file__).parent / "stand_ins"
ADDRESS = "http://127.0.0.1:8000"
# The packaged model's route, and that of the model that answers in tests.
ROUTES = ("/models/tumorlens-default/", "/models/tiny/")
SECONDS = 300
# First words of blocks in pages of the root, and why they are not run.
ELSEWHERE = {
    "make run": "starts a server that ends with the reader; its target is held by a test",
    "make check": "is what runs this test",
    "tumorlens audit scans/ ": "trains for minutes; docs/tutorial.md runs the same verbs",
}
# `serve` stays in the foreground for a reader, who has another terminal. Packages are installed
# already, and a test holds the names of extras against pyproject.toml. A refusal of the service is
# a failure.
_PREAMBLE = """
set -euo pipefail
pip() { :; }
curl() { command curl --fail-with-body --silent --show-error "$@"; }
tumorlens() {
  if [ "$1" = serve ]; then
    python -m tumorlens "$@" 2>serve.log &
    until grep -q "answers on" serve.log; do kill -0 $!; sleep 0.1; done
  else
    python -m tumorlens "$@"
  fi
}
"""


@dataclass(frozen=True)
class Block:
    """A block of code: where it stands, and why it is not run, if so."""

    page: Path
    line: int
    language: str
    code: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page that are commands or Python."""
    comment = ""
    for token in MarkdownIt().parse(page.read_text("utf-8")):
        if token.type == "fence" and token.info.split(" ")[0] in ("sh", "python"):
            assert token.map is not None
            code = token.content
            found = re.fullmatch(r"<!-- not run: (.+) -->", comment.strip())
            reason = found[1] if found else None
            if page.parent == ROOT:
                reason = next(
                    (why for words, why in ELSEWHERE.items() if code.startswith(words)), None
                )
            yield Block(page, token.map[0] + 1, token.info.split(" ")[0], code, reason)
        comment = token.content if token.type == "html_block" else ""


def run(block: Block, folder: Path, server: str) -> None:
    """Run a block in ``folder``; `AssertionError` with its output when it fails.

    ``server`` answers where the page says http://127.0.0.1:8000, unless the block starts one.
    """
    code = block.code
    if "tumorlens serve" in code:
        code = code.replace("8000", str(_free_port()))
    else:
        code = code.replace(*ROUTES)
    code = code.replace(ADDRESS, server)
    if block.language == "sh":
        command = ["bash", "-c", _PREAMBLE + code]
    else:
        script = folder / "block.py"
        script.write_text(code, "utf-8")
        command = [sys.executable, str(script)]
    told = folder / "told.log"
    with told.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=_environment(folder), stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            status: int | str = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            status = f"nothing after {SECONDS} s"
        finally:
            _end(process)
    assert status == 0, f"{block} ends with {status}:\n{told.read_text('utf-8', 'replace')}"


def _environment(folder: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if name[:9] != "TUMORLENS"}
    return clean | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(STAND_INS)]),
        "TUMORLENS_MODEL": str(folder / "model.onnx"),
        "TUMORLENS_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a block's processes: the server that it left, too."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def copied(sandbox: Path, folder: Path) -> Path:
    """Return a fresh copy of the drawn files."""
    return Path(shutil.copytree(sandbox, folder / "here"))
