"""Processes that a launcher started, and one of them that is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import distributed

from tumorlens.errors import ConfigError, LostProcessError
from tumorlens.runs.compose import compose_config
from tumorlens.runs.folder import RunFolder, run_folder
from tumorlens.training.processes import translated_loss
from tumorlens.training.trainer import make_trainer


@pytest.fixture
def two_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the first of two processes that torchrun has started."""
    values = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}
    for name, value in {**values, "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("two_started")
@pytest.mark.parametrize(
    ("overrides", "asked"),
    [
        ([], "1 × 1"),
        (["trainer.devices=2", "trainer.num_nodes=2", "trainer.strategy=ddp"], "2 × 2"),
        (["trainer.devices=3", "trainer.strategy=ddp"], "3 × 1"),
    ],
)
def test_another_number_of_processes_than_torchrun_started_is_refused(
    tmp_path: Path, overrides: list[str], asked: str
) -> None:
    config = compose_config(["trainer=debug", "logger=none", *overrides])
    with pytest.raises(ConfigError, match=f"torchrun started 2 processes, .* ask for {asked}; set"):
        make_trainer(config, RunFolder(tmp_path), has_validation=True)


@pytest.mark.usefixtures("two_started")
@pytest.mark.parametrize("split", ["trainer.devices=2", "trainer.num_nodes=2"])
def test_processes_of_one_machine_and_of_two_are_accepted(tmp_path: Path, split: str) -> None:
    config = compose_config(["trainer=debug", "logger=none", split, "trainer.strategy=ddp"])
    trainer, _ = make_trainer(config, RunFolder(tmp_path), has_validation=True)
    assert trainer.world_size == 2


@pytest.mark.usefixtures("two_started")
def test_processes_of_torchrun_are_told_their_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run_dir: torchrun started 2 processes"):
        run_folder(compose_config())
    assert run_folder(compose_config([f"run_dir={tmp_path}"])).path == tmp_path


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error "
            "[127.0.0.1]:11946: Connection reset by peer."
        ),
        distributed.DistBackendError("NCCL communicator was aborted on rank 0."),
        distributed.DistNetworkError("failed to recv, got 0 bytes"),
    ],
)
def test_a_lost_process_is_told_with_what_to_do(error: RuntimeError) -> None:
    with (
        pytest.raises(LostProcessError, match=r"another process .* resume=run/c/last\.ckpt"),
        translated_loss(Path("run/c")),
    ):
        raise error


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), translated_loss(Path("run")):
        raise RuntimeError("shapes differ")
