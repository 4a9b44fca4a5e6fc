"""Two processes on one machine, started as a user starts them, beside one."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

from tests.drawn_data import draw_heads, fitted, tiny_config, tiny_settings
from tumorlens.data.splits import read_split
from tumorlens.errors import ConfigError
from tumorlens.models.weights import read_weights
from tumorlens.runs.compose import compose_config
from tumorlens.workflows.crossval import crossvalidate
from tumorlens.workflows.train import main

# No BatchNorm, no chance and whole batches, so that two halves of one make its step.
PLAIN = ("model=notebook", "augment=none", "optimizer.name=sgd", "optimizer.lr=0.05",
         "trainer.limit_train_batches=2", "score_test=true")  # fmt: skip


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_heads(tmp_path_factory.mktemp("drawn"))


def settings(heads: Path, run_dir: Path, *overrides: str) -> list[str]:
    theirs = ("model=cnn", "model.arguments", "model.preprocess")  # of another network
    given = [one for one in tiny_settings(heads, run_dir) if not one.startswith(theirs)]
    return [*given, *PLAIN, *overrides]


def test_two_processes_agree_with_one(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUMORLENS_CACHE", str(tmp_path / "cache"))
    config = compose_config(settings(heads, tmp_path / "one", "data.batch_size=8"))
    one = fitted(config)
    parts = one.parts

    script = Path(sysconfig.get_path("scripts")) / "tumorlens"
    command = [str(script)] if script.is_file() else [sys.executable, "-m", "tumorlens"]
    ddp = ("data.batch_size=4", "trainer.devices=2", "trainer.strategy=ddp")
    run_dir = tmp_path / "two"
    done = subprocess.run(
        [*command, "train", *settings(heads, run_dir, *ddp)],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model file: ") == 1

    assert read_split(run_dir / "split.json").sha256 == parts.split.sha256
    assert len(parts.records["train"]) >= 16  # two whole batches
    weights, expected = read_weights(run_dir / "weights.pt"), one.network.state_dict()
    moved = torch.load(tmp_path / "one" / "checkpoints" / "best.ckpt", weights_only=True)
    assert moved["global_step"] > 0
    for name, tensor in expected.items():
        assert torch.allclose(weights[name], tensor, atol=1e-5), name
    found = json.loads((run_dir / "metrics.json").read_text())["parts"]
    for part, values in one.measured.metrics.items():
        for name, estimate in values.items():
            assert found[part][name]["n"] == estimate.n
            if estimate.value == estimate.value:
                assert found[part][name]["value"] == pytest.approx(estimate.value, abs=1e-3)
    # Written by the first process alone.
    assert [path.name for path in run_dir.rglob("*.onnx")] == ["model.onnx"]
    assert [path.name for path in (run_dir / "logs").iterdir()] == ["version_0"]
    assert not list(run_dir.rglob("*.part"))
    logged = (run_dir / "logs" / "version_0" / "metrics.csv").read_text()
    single = (tmp_path / "one" / "logs" / "version_0" / "metrics.csv").read_text()
    assert last_value(logged, "val/loss") == pytest.approx(last_value(single, "val/loss"), abs=1e-4)
    assert last_value(logged, "train/loss") == pytest.approx(
        last_value(single, "train/loss"), abs=0.02
    )


def last_value(table: str, name: str) -> float:
    """The last value of a column; epochs leave it empty in the lines of other columns."""
    header, *lines = (line.split(",") for line in table.splitlines())
    return float([line[header.index(name)] for line in lines if line[header.index(name)]][-1])


def test_several_networks_in_one_command_take_one_process_each(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"cross-validation.*trainer\.devices=1"):
        crossvalidate(tiny_config(heads, tmp_path / "cv", "trainer.devices=2"), 2)
    with pytest.raises(ConfigError, match=r"a sweep.*trainer\.devices=1"):
        main(["-m", *tiny_settings(heads, tmp_path / "run", "trainer.devices=2"), "seed=1,2"])
    assert not (tmp_path / "cv").exists()
