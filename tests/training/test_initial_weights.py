"""Starting from another run's weights: what is loaded, what is refused, what is written down."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.drawn_data import fitted, tiny_config
from tumorlens.data.splits import make_split, read_split, write_split
from tumorlens.errors import ConfigError, LeakageError, ModelNotFoundError
from tumorlens.export.onnx import to_onnx
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.models.quantization import round_weights
from tumorlens.models.registry import build
from tumorlens.models.weights import load_network
from tumorlens.runs.compose import compose_config
from tumorlens.runs.folder import run_folder
from tumorlens.runs.provenance import Provenance, recipe
from tumorlens.training.decoding import load_parts
from tumorlens.training.initial_weights import (
    check_start,
    init_path,
    load_start,
    starting_weights,
)
from tumorlens.workflows.crossval import crossvalidate

STILL = ("optimizer.lr=0", "optimizer.weight_decay=0", "trainer.max_epochs=1")


pytestmark = pytest.mark.usefixtures("own_cache")


def drawn(network: nn.Module, seed: int = 3) -> dict[str, Tensor]:
    """Other weights of the same names, none of them what a fresh network has."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(tensor.shape, generator=generator) + 0.5
        if tensor.is_floating_point()
        else torch.tensor(7)
        for name, tensor in network.state_dict().items()
    }


def cnn() -> nn.Module:
    return build("cnn", widths=[4, 8])


@pytest.mark.parametrize("kind", ["folder", "weights.pt", "weights.safetensors", "last.ckpt"])
def test_every_tensor_is_taken_over(kind: str, heads: Path, tmp_path: Path) -> None:
    weights, path = drawn(cnn()), tmp_path / kind
    if kind == "folder":
        path.mkdir()
        torch.save(weights, path / "weights.pt")
    elif kind == "weights.safetensors":
        save_file(weights, str(path))
    elif kind == "last.ckpt":
        inside = {f"network.{name}": tensor for name, tensor in weights.items()}
        torch.save({"state_dict": inside, "epoch": 1}, path)
    else:
        torch.save(weights, path)
    config = tiny_config(heads, tmp_path / "run", f"init={path}")
    network = cnn()
    load_start(network, config, starting_weights(config))
    loaded = network.state_dict()
    assert [name for name in weights if not torch.equal(loaded[name], weights[name])] == []


@pytest.mark.parametrize(
    ("architecture", "settings", "head"),
    [
        ("evidence", {"width": 8}, ["head.weight", "head.bias"]),
        ("resnet", {}, ["backbone.fc.weight", "backbone.fc.bias"]),
        ("cnn", {"widths": [4]}, ["head.weight", "head.bias"]),
        ("notebook", {}, ["fc_model.4.weight", "fc_model.4.bias"]),
    ],
)
def test_a_file_without_a_head_leaves_it_fresh(
    architecture: str, settings: dict[str, object], head: list[str], heads: Path, tmp_path: Path
) -> None:
    from tumorlens.models.weights import load_network

    network = build(architecture, **settings)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    weights = {name: tensor for name, tensor in drawn(network).items() if name not in head}
    torch.save(weights, tmp_path / "weights.pt")
    assert load_network(network, tmp_path / "weights.pt") == head
    after = network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in head)
    assert all(torch.equal(after[name], weights[name]) for name in weights)


def change(weights: dict[str, Tensor], how: str) -> str:
    """Corrupt the weights; return what the message has to say."""
    if how == "missing":
        del weights["features.5.running_mean"]
        return "missing: features.5.running_mean"
    if how == "half a head":
        del weights["head.bias"]
        return "missing: head.bias"
    if how == "misshapen":
        weights["features.0.weight"] = torch.zeros(4, 3, 3, 3)
        return r"of another shape: features.0.weight \[4, 3, 3, 3\], not \[4, 1, 3, 3\]"
    weights["layer5.weight"] = torch.zeros(1)
    return "unknown: layer5.weight"


@pytest.mark.parametrize("how", ["missing", "half a head", "misshapen", "unknown"])
def test_weights_of_another_network_are_refused_and_change_nothing(
    how: str, heads: Path, tmp_path: Path
) -> None:
    weights = drawn(cnn())
    told = change(weights, how)
    torch.save(weights, tmp_path / "weights.pt")
    config = tiny_config(heads, tmp_path / "run", f"init={tmp_path}/weights.pt")
    network = cnn()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(
        ConfigError, match=rf"not the weights of the configured network; .*{told}\."
    ):
        load_start(network, config)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_weights_that_are_not_there_are_named_before_data_is_read(tmp_path: Path) -> None:
    config = tiny_config(tmp_path / "no data", tmp_path / "run", f"init={tmp_path}")
    with pytest.raises(ModelNotFoundError, match=r"init: .*weights\.pt does not exist"):
        starting_weights(config)


def test_a_file_that_changes_under_way_is_noticed(heads: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(drawn(cnn()), path)
    config = tiny_config(heads, tmp_path / "run", f"init={path}")
    before = starting_weights(config)
    torch.save(drawn(cnn(), seed=4), path)
    with pytest.raises(ConfigError, match="changed while"):
        load_start(cnn(), config, before)


def test_a_run_starts_from_them_and_says_so(heads: Path, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "weights.pt"
    path.parent.mkdir()
    weights = drawn(cnn())
    torch.save(weights, path)
    config = tiny_config(heads, tmp_path / "run", f"init={path}", *STILL)
    run = fitted(config)
    network = run.network
    # At rate 0 every parameter stays; the running statistics move with the data.
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, weights[name]), name
    stated = recipe(config, run.provenance)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert stated["started_from"] == {"init": {"file": "weights.pt", "sha256": digest}}
    assert stated["init"] is None
    assert "elsewhere" not in str(stated)


def test_weights_that_have_seen_the_test_scans_are_refused(heads: Path, tmp_path: Path) -> None:
    first = tiny_config(heads, tmp_path / "first")
    folder = run_folder(first)
    folder.begin(first, Provenance())
    write_split(load_parts(first).split, folder.split)
    torch.save(drawn(cnn()), folder.weights)
    run_dir = folder.path
    other = tiny_config(heads, tmp_path / "other", f"init={run_dir}", "seed=5", *STILL)
    with pytest.raises(
        LeakageError, match=r"trained on \d+ of the \d+ scans .*test part.*held_out"
    ):
        fitted(other)
    # On its own split it may go on: what it is measured on it has not seen.
    same = (f"init={run_dir}", f"data.split.path={run_dir}/split.json", *STILL)
    config = tiny_config(heads, tmp_path / "same", *same)
    check_start(config, load_parts(config))


def test_folds_start_from_them_and_other_weights_are_another_plan(
    heads: Path, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    weights = drawn(cnn())
    torch.save(weights, path)
    config = tiny_config(heads, tmp_path / "cv", f"init={path}", *STILL)
    result = crossvalidate(config, 2)
    for fold in ("r0-f0", "r0-f1"):
        kept = torch.load(result.run_dir / fold / "weights.pt", weights_only=True)
        assert torch.equal(kept["features.0.weight"], weights["features.0.weight"])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in (result.run_dir / "crossval.json").read_text()
    torch.save(drawn(cnn(), seed=4), path)
    with pytest.raises(ConfigError, match="holds another cross-validation"):
        crossvalidate(config, 2)


def test_a_model_file_gives_the_weights_it_holds(tmp_path: Path) -> None:
    spec = PreprocessSpec(size=64)
    network, other = build("evidence", width=8), build("evidence", width=8)
    path = tmp_path / "model.onnx"
    round_weights(network)
    path.write_bytes(to_onnx(network, spec))
    assert load_network(other, path) == []
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(network.eval()(image).logit, other.eval()(image).logit)
    with pytest.raises(ConfigError, match="not the weights of the configured network"):
        load_network(cnn(), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ConfigError, match=r"not a model file, or damaged|configured network"):
        load_network(other, path)


@pytest.mark.parametrize("experiment", ["default", "finetune"])
def test_the_packaged_model_can_be_gone_on_from(experiment: str) -> None:
    path = init_path("packaged")
    config = compose_config([f"experiment={experiment}", "data.root=."])
    network = build(config.model.architecture, **config.model.arguments)
    assert load_network(network, path) == []
    assert read_split(path.with_name("split.json")).train


def test_scans_that_the_packaged_model_has_learnt_from_are_no_test(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(heads, tmp_path / "run", "init=packaged")
    parts = load_parts(config)
    beside = tmp_path / "weights"
    beside.mkdir()
    turned = {"train": parts.split.test, "test": parts.split.train}
    records = [record for members in parts.records.values() for record in members]
    write_split(make_split("other", 0, turned, records), beside / "split.json")
    monkeypatch.setattr(
        "tumorlens.training.initial_weights.find_model", lambda _: beside / "model.onnx"
    )
    with pytest.raises(LeakageError, match="init: the run it comes from was trained on"):
        check_start(config, parts)


@pytest.mark.parametrize("setting", ["init_member=-1", "init_member=second"])
def test_an_impossible_member_is_refused(setting: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"init_member is .*; it should be "):
        tiny_config(tmp_path, tmp_path / "run", setting, "init=x")
