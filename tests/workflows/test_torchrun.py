"""Two nodes of one process each, joined by torchrun on this machine."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import torch

from tests.drawn_data import draw_heads, tiny_settings
from tests.workflows import recorded_train
from tumorlens.data.splits import read_split

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]

# Without BatchNorm, whose running statistics differ between processes until the next step.
SETTINGS = (
    "model=notebook", "augment=none", "data.split.train=0.5", "data.split.validation=0.35",
    "data.split.test=0.15", "trainer.num_nodes=2", "trainer.strategy=ddp",
)  # fmt: skip
PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """43 heads: 22 for training, and 15 for validation, which two processes cannot halve."""
    root = draw_heads(tmp_path_factory.mktemp("drawn"), each=22)
    (root / "heads" / "yes" / "21.png").unlink()
    return root


class Nodes:
    """The programs of the nodes, and the folder in which their processes note what they draw."""

    def __init__(self, folder: Path, programs: list[subprocess.Popen[str]]) -> None:
        self.folder, self.programs = folder, programs

    def drawn(self, rank: int) -> list[str]:
        """The keys of the scans that a process has drawn, in order."""
        notes = self.folder / f"{rank}.txt"
        return notes.read_text("utf-8").splitlines() if notes.is_file() else []

    def kill(self, rank: int) -> None:
        """Kill a node: its program and the process that it started."""
        process = int((self.folder / f"{rank}.pid").read_text("utf-8"))
        self.programs[rank].kill()
        os.kill(process, signal.SIGKILL)

    def ends(self) -> list[tuple[int, str]]:
        """Exit status and messages of each node, when all have ended."""
        messages = [program.communicate(timeout=PATIENCE_SECONDS)[0] for program in self.programs]
        return [
            (program.returncode, message)
            for program, message in zip(self.programs, messages, strict=True)
        ]


@contextmanager
def joined(folder: Path, settings: list[str]) -> Iterator[Nodes]:
    """Start two nodes that train together; whatever is left of them at the end is killed."""
    folder.mkdir()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    environment = {**os.environ, "SEEN": str(folder)}
    with ExitStack() as stack:
        programs = [
            stack.enter_context(
                subprocess.Popen(
                    [
                        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2",
                        "--node-rank", str(rank), "--nproc-per-node", "1",
                        "--rdzv-endpoint", f"localhost:{port}",
                        recorded_train.__file__, "train", *settings,
                    ],
                    cwd=folder, env=environment, text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                )
            )
            for rank in range(2)
        ]  # fmt: skip
        nodes = Nodes(folder, programs)
        try:
            yield nodes
        finally:
            for rank, program in enumerate(programs):
                if program.poll() is None:
                    with suppress(OSError):
                        nodes.kill(rank)
                    program.kill()


def eventually(happened: Callable[[], bool]) -> None:
    """Poll until ``happened``; the processes under test have no event to wait for."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def settings(heads: Path, run_dir: Path, *overrides: str) -> list[str]:
    theirs = ("model=cnn", "model.arguments", "model.preprocess")  # of another network
    given = [one for one in tiny_settings(heads, run_dir) if not one.startswith(theirs)]
    return [*given, *SETTINGS, *overrides]


def last_value(run_dir: Path, name: str) -> float:
    """The last value of a column in the log of a run; epochs leave it empty in some lines."""
    with (run_dir / "logs" / "version_0" / "metrics.csv").open(encoding="utf-8") as file:
        return float([row[name] for row in csv.DictReader(file) if row[name]][-1])


def epochs_of(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True)["epoch"]) + 1


def test_two_nodes_share_the_scans_and_write_one_run(heads: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "shared"
    with joined(tmp_path / "seen", settings(heads, run_dir, "trainer.max_epochs=1")) as nodes:
        ends = nodes.ends()
    assert [status for status, _ in ends] == [0, 0], ends
    assert [message.count("model file: ") for _, message in ends] == [1, 0]

    split = read_split(run_dir / "split.json")
    first, second = nodes.drawn(0), nodes.drawn(1)
    assert len(first) == len(second) == len(split.train) // 2
    assert sorted(first + second) == sorted(split.train)

    # One scan fills up the second process's share, and must not count twice.
    assert (len(split.train), len(split.validation)) == (22, 15)
    with (run_dir / "predictions.csv").open(encoding="utf-8") as file:
        predicted = [row["key"] for row in csv.DictReader(file) if row["part"] == "validation"]
    assert sorted(predicted) == sorted(split.validation)
    # Measured by the first process alone, and during training by both together.
    measured = json.loads((run_dir / "metrics.json").read_text("utf-8"))["parts"]["validation"]
    assert measured["nll"]["n"] == len(split.validation)
    assert last_value(run_dir, "val/loss") == pytest.approx(measured["nll"]["value"], rel=1e-5)
    assert last_value(run_dir, "val/accuracy") == pytest.approx(measured["accuracy"]["value"])

    assert list(run_dir.parent.iterdir()) == [run_dir]
    assert [path.name for path in run_dir.rglob("*.onnx")] == ["model.onnx"]
    assert [path.name for path in (run_dir / "logs").iterdir()] == ["version_0"]
    assert not list(run_dir.rglob("*.part"))


def test_a_killed_node_ends_the_other_which_says_how_to_go_on(heads: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "shared"
    checkpoint = run_dir / "checkpoints" / "last.ckpt"
    endless = settings(heads, run_dir, "trainer.max_epochs=100000")
    with joined(tmp_path / "killed", endless) as nodes:
        eventually(lambda: checkpoint.is_file() or nodes.programs[0].poll() is not None)
        nodes.kill(1)
        (status, message), _ = nodes.ends()
    assert status == 1
    assert "tumorlens: the connection to another process of this training was lost" in message
    assert f"resume={checkpoint}" in message
    assert not (run_dir / "model.onnx").exists()

    epochs = epochs_of(checkpoint) + 2
    resumed = settings(heads, run_dir, f"resume={checkpoint}", f"trainer.max_epochs={epochs}")
    with joined(tmp_path / "resumed", resumed) as nodes:
        ends = nodes.ends()
    assert [status for status, _ in ends] == [0, 0], ends
    assert (run_dir / "model.onnx").is_file()
    assert epochs_of(checkpoint) == epochs
