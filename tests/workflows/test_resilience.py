"""What a run survives: kill -9, a full disk, a folder it may not write, a foreign checkpoint."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.drawn_data import draw_heads, fitted, tiny_config, tiny_settings
from tumorlens.errors import ConfigError, OutputError
from tumorlens.export.onnx import to_onnx, write_weights
from tumorlens.modelfile import read_card
from tumorlens.models.weights import is_torch_archive, read_weights
from tumorlens.runs.folder import RunFolder, run_folder
from tumorlens.runs.provenance import Provenance
from tumorlens.training.decoding import load_parts
from tumorlens.training.fit import fit
from tumorlens.workflows.execution import Trained
from tumorlens.workflows.package import package_model
from tumorlens.workflows.train import train

# All sources of chance, so that each of them has to be taken up where it was.
RANDOM = ("augment.lesions.insertion.prob=0.5", "ema_decay=0.9",
          "model.arguments.dropout=0.3", "data.sampler=weighted", "score_test=true")  # fmt: skip

# The command itself, with a step that pulls the plug in the middle of the second epoch.
KILLED = """
import os, signal, sys
from tumorlens.cli.app import run
from tumorlens.training.module import Classifier
step = Classifier.training_step
def pulled(self, batch, batch_idx):
    if (self.current_epoch, batch_idx) == (1, 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_idx)
Classifier.training_step = pulled
run(["train", *sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_heads(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def chancy(heads: Path, run_dir: Path, *overrides: str) -> Trained:
    return fitted(tiny_config(heads, run_dir, *RANDOM, *overrides))


@pytest.fixture(scope="module")
def killed(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed in mid-epoch."""
    folder = tmp_path_factory.mktemp("killed")
    settings = tiny_settings(heads, folder / "run", *RANDOM)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *settings], cwd=folder, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    return folder / "run"


def test_a_killed_run_resumes_to_the_unbroken_one_bit_by_bit(
    killed: Path, heads: Path, tmp_path: Path
) -> None:
    assert not (killed / "weights.pt").exists()
    assert not (killed / "model.onnx").exists()
    last = killed / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["epoch"] == 0  # the last whole epoch
    unbroken = chancy(heads, tmp_path / "unbroken")
    again = chancy(heads, tmp_path / "again")
    resumed = chancy(heads, killed, f"resume={last}")
    assert resumed.fitted.epochs == unbroken.fitted.epochs
    assert resumed.fitted.best_epoch == unbroken.fitted.best_epoch
    expected = unbroken.network.state_dict()
    for run in (again, resumed):
        state = run.network.state_dict()
        assert [name for name in expected if not torch.equal(state[name], expected[name])] == []
        assert str(run.measured.metrics) == str(unbroken.measured.metrics)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model.arguments.widths=[8,8]"], r"of another shape: network\.features\.0\.weight"),
        (["model.arguments.widths=[4]"], r"unknown: network\.features\.4\.weight"),
        (["model.arguments.widths=[4,8,8]"], r"missing: network\.features\.8.* and \d+ more"),
    ],
)
def test_another_network_s_checkpoint_is_refused(
    overrides: list[str], told: str, killed: Path, heads: Path, tmp_path: Path
) -> None:
    last = killed / "checkpoints" / "last.ckpt"
    config = tiny_config(heads, tmp_path / "run", *overrides, f"resume={last}")
    with pytest.raises(ConfigError, match=rf"resume: .*last\.ckpt is of another network.*{told}"):
        train(config)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_weights_alone_are_no_checkpoint(heads: Path, tmp_path: Path) -> None:
    torch.save({"head.bias": torch.zeros(1)}, tmp_path / "weights.pt")
    config = tiny_config(heads, tmp_path / "run", f"resume={tmp_path}/weights.pt")
    with pytest.raises(ConfigError, match=r"holds weights alone.*init=.*weights\.pt"):
        train(config)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes: the system refuses the write, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def left_behind(folder: Path) -> set[str]:
    """Files below the folder that are not whole: temporary ones and damaged checkpoints."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    broken = {path.name for path in files if path.suffix in (".part", ".tmp")}
    return broken | {p.name for p in files if p.suffix == ".ckpt" and not is_torch_archive(p)}


def test_a_disk_that_is_full_while_training(heads: Path, tmp_path: Path) -> None:
    config = tiny_config(heads, tmp_path / "run")
    parts, folder = load_parts(config), run_folder(config)
    folder.begin(config, Provenance())
    with room_for(8000), pytest.raises(OutputError, match=r"run: the run cannot be written.*free"):
        fit(config, parts, folder)
    assert left_behind(folder.path) == set()


@pytest.fixture(scope="module")
def trained(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, bytes]:
    """A run that is ready to be packaged, and its graph."""
    config = tiny_config(heads, tmp_path_factory.mktemp("trained"), "trainer.max_epochs=1")
    run = fitted(config)
    return run, to_onnx(run.network, config.model.preprocess)


@pytest.mark.parametrize("full_at", ["weights.pt", "model.onnx"])
def test_a_disk_that_is_full_at_the_end_leaves_no_half_model(
    full_at: str, trained: tuple[Trained, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, onnx_bytes = trained
    monkeypatch.setattr("tumorlens.workflows.package.to_onnx", lambda *_: onnx_bytes)
    probe = tmp_path / "probe.pt"
    write_weights(run.network, probe)
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    run = replace(run, stage=replace(run.stage, folder=folder))
    # The model file is larger than the graph and the weights: the card is in it too.
    room = 500 if full_at == "weights.pt" else max(len(onnx_bytes), probe.stat().st_size)
    with room_for(room), pytest.raises(OutputError, match=rf"{full_at}: cannot be written.*space"):
        package_model(run)
    left = {path.name for path in folder.path.iterdir()}
    assert left == ({"weights.pt"} if full_at == "model.onnx" else set())
    if left:
        assert read_weights(folder.weights).keys() == run.network.state_dict().keys()
    # With room again it goes on from what was trained.
    package_model(run)
    assert read_card(folder.model).name == run.stage.config.name


def test_a_disk_that_is_full_while_the_graph_is_made(trained: tuple[Trained, bytes]) -> None:
    run, _ = trained
    with room_for(500), pytest.raises(OutputError, match=r"graph cannot be written.*TMPDIR"):
        to_onnx(run.network, run.stage.config.model.preprocess)


def test_a_folder_that_may_not_be_written_is_told_before_data_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    if os.geteuid() == 0:  # whom no mode keeps out, but whom the kernel's own folder does
        folder = Path("/proc")
    config = tiny_config(tmp_path / "no data", folder)
    with pytest.raises(OutputError, match=rf"{folder}.*cannot be written.*writable"):
        train(config)


def test_every_rank_but_the_first_ends_without_writing_a_model(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = SimpleNamespace(is_global_zero=False, num_devices=2)
    monkeypatch.setattr("tumorlens.training.fit.make_trainer", lambda *_, **__: (trainer, None))
    monkeypatch.setattr("tumorlens.training.fit.run_trainer", lambda *_, **__: None)
    with pytest.raises(SystemExit) as ended:
        train(tiny_config(heads, tmp_path / "run"))
    assert ended.value.code == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.yaml", "provenance.json", "split.json"
    }  # fmt: skip
