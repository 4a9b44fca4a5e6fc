"""Weights of several trainings averaged: the mean itself, what is refused, what is written down."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from tests.training.drawn_data import tiny_config
from tumorlens.data.splits import make_split, write_split
from tumorlens.errors import ConfigError, LeakageError, ModelNotFoundError
from tumorlens.modelfile import read_card
from tumorlens.models.registry import build
from tumorlens.training.config import compose_config
from tumorlens.training.parts import load_parts
from tumorlens.training.run import fit, train
from tumorlens.training.rundir import prepare_run_dir
from tumorlens.training.soup import average_with_soup, check_soup, note_soup
from tumorlens.training.stages import FIRST

pytestmark = pytest.mark.usefixtures("own_cache")


def cnn() -> nn.Module:
    return build("cnn", widths=[4, 8])


def drawn(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(tensor.shape, generator=generator)
        if tensor.is_floating_point()
        else torch.tensor(seed)
        for name, tensor in cnn().state_dict().items()
    }


def saved(folder: Path, seed: int) -> Path:
    folder.mkdir(parents=True)
    torch.save(drawn(seed), folder / "weights.pt")
    return folder


def with_soup(root: Path, run_dir: Path, *runs: Path) -> DictConfig:
    return tiny_config(root, run_dir, f"soup=[{','.join(map(str, runs))}]")


def test_each_training_weighs_the_same(tmp_path: Path) -> None:
    config = with_soup(tmp_path, tmp_path, *(saved(tmp_path / str(at), at) for at in (1, 2)))
    note_soup(config)
    network = cnn()
    network.load_state_dict(drawn(3))
    average_with_soup(network, config)
    each = [drawn(seed) for seed in (1, 2, 3)]
    for name, tensor in network.state_dict().items():
        mean = torch.stack([weights[name].double() for weights in each]).mean(0)
        counter = not tensor.is_floating_point()
        assert torch.allclose(tensor.double(), torch.tensor(3.0).double() if counter else mean)


def test_without_a_soup_nothing_is_touched(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, tmp_path)
    note_soup(config)
    assert config.averaged_with is None
    network = cnn()
    network.load_state_dict(drawn(3))
    average_with_soup(network, config)
    assert all(torch.equal(each, drawn(3)[name]) for name, each in network.state_dict().items())


def test_weights_changed_meanwhile_are_not_averaged(tmp_path: Path) -> None:
    run = saved(tmp_path / "a", 1)
    config = with_soup(tmp_path, tmp_path, run)
    note_soup(config)
    torch.save(drawn(2), run / "weights.pt")
    network = cnn()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ConfigError, match="was changed while the run was under way"):
        average_with_soup(network, config)
    assert all(torch.equal(each, before[name]) for name, each in network.state_dict().items())


def test_what_cannot_be_averaged_is_refused_before_training(heads: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with pytest.raises(ModelNotFoundError, match=r"soup: .*nowhere does not exist"):
        prepare_run_dir(with_soup(heads, run_dir, tmp_path / "nowhere"), run_dir)
    with pytest.raises(ConfigError, match="give a list of run folders"):
        prepare_run_dir(tiny_config(heads, run_dir, "soup=runs/A"), run_dir)
    assert not run_dir.exists()
    config = with_soup(heads, run_dir, saved(tmp_path / "a", 1))
    parts = load_parts(config)
    with pytest.raises(ConfigError, match="weights of another network"):
        check_soup(build("cnn", widths=[4, 4]), config, parts)
    headless = {name: each for name, each in drawn(1).items() if not name.startswith("head.")}
    torch.save(headless, tmp_path / "a" / "weights.pt")
    with pytest.raises(ConfigError, match=r"lacks the last layer \(head.weight, head.bias\)"):
        check_soup(cnn(), config, parts)


def test_weights_that_have_seen_the_test_are_refused(heads: Path, tmp_path: Path) -> None:
    run = saved(tmp_path / "a", 1)
    config = with_soup(heads, tmp_path / "run", run)
    parts = load_parts(config)
    turned = {"train": parts.split.test, "test": parts.split.train}
    records = [record for members in parts.records.values() for record in members]
    write_split(make_split("other", 0, turned, records), run / "split.json")
    prepare_run_dir(config, tmp_path / "run")
    with pytest.raises(LeakageError, match="soup: the run it comes from was trained on"):
        fit(config, parts, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_polishing_several_times_averages_them(heads: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    config = tiny_config(
        heads, run_dir, "trainer.max_epochs=1", "score_test=true",
        "+polish.optimizer.lr=0.02", "polish_runs=3", "weight_bits=32",
    )  # fmt: skip
    result = train(config)
    folders = [run_dir / "polish_1", run_dir / "polish_2", run_dir]
    configs = [OmegaConf.load(folder / "config.yaml") for folder in folders]
    assert [each.seed for each in configs] == [1, 2, 0]
    assert [each.score_test for each in configs] == [False, False, True]
    first = hashlib.sha256((run_dir / FIRST / "weights.pt").read_bytes()).hexdigest()
    assert {each.started_from.init.sha256 for each in configs} == {first}
    trained = torch.load(result.checkpoint, weights_only=True)["state_dict"]
    others = [torch.load(folder / "weights.pt") for folder in folders[:2]]
    final = torch.load(run_dir / "weights.pt")
    name = "head.weight"
    own = trained[f"network.{name}"]
    assert not torch.allclose(own, others[0][name])
    assert not torch.allclose(others[0][name], others[1][name])
    assert torch.allclose(final[name], (own + others[0][name] + others[1][name]) / 3, atol=1e-6)
    recipe = read_card(run_dir / "model.onnx").recipe
    digests = [hashlib.sha256((f / "weights.pt").read_bytes()).hexdigest() for f in folders[:2]]
    assert [each["sha256"] for each in recipe["averaged_with"]] == digests
    assert recipe["soup"] == []
    assert digests[0] in (run_dir / "CLAIM.md").read_text()


def test_a_polishing_that_is_done_is_not_done_again(heads: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    one = ("trainer.max_epochs=1", "+polish.optimizer.lr=0.02", "polish_runs=2")
    train(tiny_config(heads, run_dir, *one))

    def written() -> list[int]:
        folders = (run_dir / FIRST, run_dir / "polish_1", run_dir)
        return [(folder / "model.onnx").stat().st_mtime_ns for folder in folders]

    first, second, whole = written()
    train(tiny_config(heads, run_dir, *one, f"resume={run_dir}/checkpoints/last.ckpt"))
    assert written()[:2] == [first, second]
    assert written()[2] > whole
    train(tiny_config(heads, run_dir, *one, f"resume={run_dir}/polish_1/checkpoints/last.ckpt"))
    assert written()[0] == first
    assert written()[1] > second
    second = written()[1]
    train(tiny_config(heads, run_dir, *one, f"resume={run_dir}/{FIRST}/checkpoints/last.ckpt"))
    assert written()[1] > second


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "true", "few"])
def test_a_number_of_polishings_that_is_none_is_refused(count: str, tmp_path: Path) -> None:
    config = tiny_config(
        tmp_path, tmp_path / "run", "+polish.optimizer.lr=0", f"polish_runs={count}"
    )
    with pytest.raises(ConfigError, match=r"polish_runs is .*; give a whole number from 1"):
        train(config)
    assert not (tmp_path / "run").exists()


def test_other_recipes_average_nothing() -> None:
    for name in ("quick", "refine", "finetune", "notebook"):
        config = compose_config([f"experiment={name}", "data.root=."])
        assert config.polish is None
        assert list(config.soup) == []
