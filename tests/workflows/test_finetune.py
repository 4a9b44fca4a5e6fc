"""A run with ``finetune``: one training after the other in one command, each of them once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from tests.drawn_data import tiny_config
from tumorlens.errors import ConfigError
from tumorlens.runs.compose import compose_config, read_config
from tumorlens.runs.config import RunConfig
from tumorlens.runs.folder import PRETRAIN
from tumorlens.runs.provenance import WeightsFile, read_provenance
from tumorlens.workflows.train import train

pytestmark = pytest.mark.usefixtures("own_cache")


def finetuned(heads: Path, run_dir: Path, *overrides: str) -> RunConfig:
    return tiny_config(
        heads, run_dir, "trainer.max_epochs=1", "score_test=true",
        "+finetune.optimizer.lr=0", "+finetune.optimizer.weight_decay=0", *overrides,
    )  # fmt: skip


def written(run_dir: Path) -> int:
    return (run_dir / "model.onnx").stat().st_mtime_ns


def test_the_second_training_goes_on_from_the_first(heads: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    result = train(finetuned(heads, run_dir))
    assert result.run_dir == run_dir
    first = read_config(run_dir / PRETRAIN / "config.yaml")
    second = read_config(run_dir / "config.yaml")
    assert first.optimizer.lr == 0.01
    assert second.optimizer.lr == 0
    assert first.finetune is second.finetune is None
    assert not first.score_test
    assert second.score_test
    assert "test" in result.metrics
    digest = hashlib.sha256((run_dir / PRETRAIN / "weights.pt").read_bytes()).hexdigest()
    provenance = read_provenance(run_dir / "provenance.json")
    assert provenance.started_from == {"init": WeightsFile("weights.pt", digest)}
    # At a rate of 0 the second leaves what the first has learnt as it was.
    before, after = (torch.load(run / "weights.pt") for run in (run_dir / PRETRAIN, run_dir))
    learnt = [name for name in before if name.endswith(("weight", "bias"))]
    assert learnt
    assert all(torch.equal(before[name], after[name]) for name in learnt)


def test_what_is_done_is_not_done_again(heads: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    train(finetuned(heads, run_dir))
    first, second = written(run_dir / PRETRAIN), written(run_dir)
    train(finetuned(heads, run_dir, f"resume={run_dir}/checkpoints/last.ckpt"))
    assert written(run_dir / PRETRAIN) == first
    assert written(run_dir) > second
    second = written(run_dir)
    train(finetuned(heads, run_dir, f"resume={run_dir}/{PRETRAIN}/checkpoints/last.ckpt"))
    assert written(run_dir / PRETRAIN) > first
    assert written(run_dir) > second


def test_settings_that_cannot_be_are_refused_before_anything_is_trained(
    heads: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"finetune: .*none_such"):
        train(finetuned(heads, tmp_path / "run", "+finetune.optimizer.none_such=1"))
    with pytest.raises(ConfigError, match="finetune trains one network after the other"):
        train(finetuned(heads, tmp_path / "run", "trainer.devices=2"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "file",
    ["elsewhere/checkpoints/last.ckpt", "run/other/checkpoints/last.ckpt", "last.ckpt"],
)
def test_a_checkpoint_of_neither_training_is_refused_before_anything_is_trained(
    file: str, heads: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    with pytest.raises(ConfigError, match="is of none of this run's trainings") as told:
        train(finetuned(heads, run_dir, f"resume={tmp_path / file}"))
    assert f"{run_dir / PRETRAIN / 'checkpoints'} or {run_dir / 'checkpoints'}," in str(told.value)
    assert not run_dir.exists()


def test_a_folder_of_checkpoints_may_be_a_link(heads: Path, tmp_path: Path) -> None:
    run_dir, kept = tmp_path / "run", tmp_path / "kept"
    kept.mkdir()
    (run_dir / PRETRAIN).mkdir(parents=True)
    (run_dir / PRETRAIN / "checkpoints").symlink_to(kept)
    train(finetuned(heads, run_dir))
    first, second = written(run_dir / PRETRAIN), written(run_dir)
    train(finetuned(heads, run_dir, f"resume={run_dir}/{PRETRAIN}/checkpoints/last.ckpt"))
    assert written(run_dir / PRETRAIN) > first
    assert written(run_dir) > second


def test_the_teacher_s_second_part_is_made_of_known_settings() -> None:
    config = compose_config(["experiment=teacher", "data.root=."])
    whole = config.changed(config.finetune or {})
    assert whole.trainer.max_epochs < config.trainer.max_epochs
    assert whole.augment.schedule.initial_size == 0
    assert compose_config(["experiment=quick", "data.root=."]).finetune is None
