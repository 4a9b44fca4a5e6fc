"""A run with ``members``: each trained once, their ensemble calibrated, measured and packaged."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.drawn_data import evidence_settings
from tumorlens.data.splits import make_split, read_split, write_split
from tumorlens.errors import ConfigError, LeakageError
from tumorlens.evaluation.localization.sanity import cascading_randomisation, untrained_network
from tumorlens.inference.predictor import Predictor
from tumorlens.models.registry import build
from tumorlens.models.weights import load_network, read_weights
from tumorlens.runs.compose import compose_config, read_config
from tumorlens.runs.config import RunConfig
from tumorlens.training.decoding import load_parts
from tumorlens.workflows.reexport import reexport
from tumorlens.workflows.train import RunResult, main, train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]


def settings(root: Path, run_dir: Path, *overrides: str) -> list[str]:
    return evidence_settings(root, run_dir, "score_test=true", "weight_bits=8", *overrides)


def with_members(root: Path, run_dir: Path, *overrides: str) -> RunConfig:
    other = "{optimizer:{lr:0.0003},model:{arguments:{instance_norm:true}}}"
    members = f"members=[{{}},{other}]"
    return compose_config(settings(root, run_dir, members, *overrides))


@pytest.fixture(scope="module")
def joined(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return train(with_members(heads, tmp_path_factory.mktemp("members") / "run"))


def test_each_member_is_trained_with_its_own_settings(joined: RunResult) -> None:
    folders = [joined.run_dir / f"member_{at}" for at in (1, 2)]
    configs = [read_config(folder / "config.yaml") for folder in folders]
    assert [each.seed for each in configs] == [0, 1]
    assert [each.optimizer.lr for each in configs] == [0.001, 0.0003]
    assert not any(each.score_test or each.ood_detector or each.members for each in configs)
    splits = [read_split(folder / "split.json") for folder in (*folders, joined.run_dir)]
    assert splits[0] == splits[1] == splits[2]


def test_the_run_s_network_is_their_ensemble(joined: RunResult) -> None:
    weights = read_weights(joined.weights)
    for at in (1, 2):
        own = read_weights(joined.run_dir / f"member_{at}" / "weights.pt")
        for name, tensor in own.items():
            kept = weights[f"members.{at - 1}.{name}"]
            near = 0.005 * float(tensor.abs().max()) if tensor.is_floating_point() else 0
            assert torch.allclose(kept, tensor, atol=near, rtol=0), name
    assert "test" in joined.metrics
    tested = read_split(joined.run_dir / "split.json").test
    assert joined.metrics["test"]["accuracy"].n == len(tested)
    card = Predictor.open(joined.model, threads=1).card
    assert card.architecture == "ensemble"
    assert card.architecture_args["members"] == 2
    assert card.architecture_args["own"] == [{}, {"instance_norm": True}]
    digests = [
        hashlib.sha256((joined.run_dir / f"member_{at}" / "weights.pt").read_bytes()).hexdigest()
        for at in (1, 2)
    ]
    assert [each["sha256"] for each in card.recipe["joined_from"]] == digests
    claim = (joined.run_dir / "CLAIM.md").read_text()
    assert "2 networks, their maps averaged" in claim
    assert digests[1] in claim


def test_the_file_holds_the_weights_in_8_bits_and_answers_as_torch(
    joined: RunResult, heads: Path
) -> None:
    predictor = Predictor.open(joined.model, threads=1)
    network = build(predictor.card.architecture, **predictor.card.architecture_args)
    load_network(network, joined.model)
    kept = read_weights(joined.weights)
    assert all(
        torch.equal(tensor, kept[name])
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    )
    parts = load_parts(compose_config(settings(heads, joined.run_dir)))
    inputs = np.asarray(parts.inputs["test"])
    logits, maps, *_ = predictor.infer(inputs)
    with torch.no_grad():
        wanted = network.eval()(torch.from_numpy(inputs))
    assert np.abs(logits - wanted.logit.numpy()).max() < 1e-4
    assert maps is not None
    assert np.abs(maps - wanted.map.numpy()).max() < 1e-4
    members = [joined.run_dir / f"member_{at}" / "model.onnx" for at in (1, 2)]
    assert joined.model.stat().st_size < 0.3 * sum(each.stat().st_size for each in members)


def test_members_start_each_from_its_own_of_an_ensemble(
    joined: RunResult, heads: Path, tmp_path: Path
) -> None:
    still = (
        "members=[{},{model:{arguments:{instance_norm:true}}}]",
        "optimizer.lr=0",
        "optimizer.weight_decay=0",
        f"data.split.path={joined.run_dir}/split.json",
    )
    again = train(with_members(heads, tmp_path / "run", f"init={joined.run_dir}", *still))
    theirs, ours = read_weights(joined.weights), read_weights(again.weights)
    assert all(
        torch.allclose(ours[name], tensor, atol=0.005 * float(tensor.abs().max()), rtol=0)
        for name, tensor in theirs.items()
        if name.endswith((".weight", ".bias"))
    )
    configs = [read_config(again.run_dir / f"member_{at}" / "config.yaml") for at in (1, 2)]
    assert [each.init_member for each in configs] == [0, 1]


def test_a_single_network_takes_the_member_it_is_told(joined: RunResult) -> None:
    arguments = {"width": 8, "stride": 8, "k": 3}
    second = build("evidence", instance_norm=True, **arguments)
    load_network(second, joined.model, member=1)
    whole = read_weights(joined.weights)
    own = second.state_dict()
    assert all(
        torch.equal(own[name], whole[f"members.1.{name}"])
        for name in own
        if not name.endswith("num_batches_tracked")
    )
    with pytest.raises(ConfigError, match="an ensemble of 2 networks; there is no number 3"):
        load_network(second, joined.weights, member=2)


def test_it_is_exported_again_from_its_folder(joined: RunResult, tmp_path: Path) -> None:
    card = reexport(joined.run_dir, tmp_path / "again.onnx", name="again")
    assert Predictor.open(tmp_path / "again.onnx", threads=1).card == card


def test_a_member_that_is_done_is_not_trained_again(heads: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    train(with_members(heads, run_dir))

    def written() -> list[int]:
        folders = (run_dir / "member_1", run_dir / "member_2", run_dir)
        return [(folder / "model.onnx").stat().st_mtime_ns for folder in folders]

    before = written()
    (run_dir / "member_2" / "model.onnx").unlink()  # as if it had been cut off
    train(with_members(heads, run_dir, f"resume={run_dir}/member_2/checkpoints/last.ckpt"))
    after = written()
    assert after[0] == before[0]
    assert after[1] > before[1]
    assert after[2] > before[2]


def test_members_may_be_fine_tuned(heads: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    fine_tuned = ("members=[{},{}]", "+finetune.optimizer.lr=0.0002")
    [result] = main(settings(heads, run_dir, *fine_tuned))  # Hydra, as from the command line
    for at in (1, 2):
        assert (run_dir / f"member_{at}" / "pretrain" / "model.onnx").is_file()
        assert (run_dir / f"member_{at}" / "model.onnx").is_file()
    assert Predictor.open(result.model, threads=1).card.recipe["optimizer"]["lr"] == 0.0002


def test_a_member_that_learnt_from_the_test_is_refused(
    joined: RunResult, heads: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(joined.run_dir, run_dir)
    split, beside = read_split(run_dir / "split.json"), run_dir / "member_2" / "split.json"
    parts = load_parts(read_config(run_dir / "config.yaml"))
    records = [record for members in parts.records.values() for record in members]
    beside.unlink()
    write_split(make_split("t", 0, {"train": split.test, "test": split.train}, records), beside)
    before = contents(run_dir)
    with pytest.raises(LeakageError, match="members: the run it comes from was trained on"):
        train(with_members(heads, run_dir, "name=other", "target_sensitivity=0.9"))
    assert contents(run_dir) == before
    for name in ("config.yaml", "split.json", "model.onnx"):  # as if it had never been joined
        (run_dir / name).unlink()
    before = contents(run_dir)
    with pytest.raises(LeakageError, match="members: the run it comes from was trained on"):
        train(with_members(heads, run_dir))
    assert contents(run_dir) == before


def contents(run_dir: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file below a folder: when it was written, and what is in it."""
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


POLISHED = ("+finetune.optimizer.lr=0.0002",)


@pytest.mark.parametrize(
    ("file", "overrides", "listed"),
    [
        ("elsewhere/checkpoints/last.ckpt", (), ("member_1", "member_2")),
        ("run/checkpoints/last.ckpt", (), ("member_1", "member_2")),
        ("run/member_3/checkpoints/last.ckpt", (), ("member_1", "member_2")),
        ("run/member_2/pretrain/checkpoints/last.ckpt", (), ("member_1", "member_2")),
        (
            "run/member_2/other/checkpoints/last.ckpt", POLISHED,
            [f"member_{at}{each}" for at in (1, 2) for each in ("/pretrain", "")],
        ),
    ],
)  # fmt: skip
def test_a_checkpoint_of_no_member_is_refused_before_anything_is_trained(
    file: str, overrides: tuple[str, ...], listed: list[str], heads: Path, tmp_path: Path
) -> None:
    resume = f"resume={tmp_path / file}"
    with pytest.raises(ConfigError, match=r"resume: .* is of none of this run's trainings") as told:
        train(with_members(heads, tmp_path / "run", *overrides, resume))
    assert str(tmp_path / file) in str(told.value)
    named = str(told.value).split("name the last.ckpt in ")[1].split(", or set run_dir")[0]
    folders = named.replace(" or ", ", ").split(", ")
    assert folders == [str(tmp_path / "run" / each / "checkpoints") for each in listed]
    assert not (tmp_path / "run").exists()


def test_a_member_s_checkpoint_that_is_missing_is_told_before_anything_is_trained(
    heads: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    resume = f"resume={run_dir}/member_2/checkpoints/last.ckpt"
    with pytest.raises(ConfigError, match=r"resume: .*last\.ckpt is missing"):
        train(with_members(heads, run_dir, resume))
    assert not run_dir.exists()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["members=[{},{none_such: 1}]"], "members: .*none_such"),
        (["members=[{},{optimizer: {none_such: 1}}]"], "members: .*none_such"),
        (
            ["members=[{},{model: {preprocess: {size: 64}}}]"],
            "number 2 has its own model.prep",
        ),
        (
            ["members=[{model: {architecture: resnet}},{}]"],
            "number 1 has its own model.arch",
        ),
        (["members=2"], "members is 2; it should be a list"),
        (["model.architecture=resnet"], "members are evidence networks, not resnet"),
        (["+finetune.optimizer.none_such=1"], "finetune: .*none_such"),
        (["trainer.devices=2"], "members trains one network after the other"),
        (["weight_bits=4"], "weight_bits is 4; it should be 32, 16 or 8"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    overrides: list[str], words: str, heads: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        train(with_members(heads, tmp_path / "run", *overrides))
    assert not (tmp_path / "run").exists()


def test_randomising_replaces_a_layer_in_every_member(joined: RunResult) -> None:
    card = Predictor.open(joined.model, threads=1).card
    network, fresh = untrained_network(card, 1), untrained_network(card, 2)
    steps = cascading_randomisation(network, fresh)
    name, changed = next(steps)
    assert name == "head"
    for at in (0, 1):
        ours, theirs = changed.members[at], fresh.members[at]  # type: ignore[index]
        assert torch.equal(ours.head.weight, theirs.head.weight)
        assert not torch.equal(ours.smooth[0].weight, theirs.smooth[0].weight)
    names = [name, *(each for each, _ in steps)]
    assert names[-1] == "backbone.conv1"
    assert len(names) == len(set(names))


def test_the_teacher_s_members_are_made_of_known_settings() -> None:
    config = compose_config(["experiment=teacher", "data.root=."])
    assert config.weight_bits == 8
    assert config.members is not None
    assert len(config.members) == 2
    assert config.finetune is not None
    for own in config.members:
        longest = config.finetune["trainer"]["max_epochs"]
        assert config.changed(own).trainer.max_epochs > longest
    for name in ("default", "quick", "finetune"):
        other = compose_config([f"experiment={name}", "data.root=."])
        assert other.members is None
        assert other.weight_bits == 16


def test_the_recipe_for_a_source_left_out_trains_the_default_network() -> None:
    names = ("leave_source_out", "default")
    config, default = (compose_config([f"experiment={name}", "data.root=."]) for name in names)
    assert config.score_test
    assert config.data == default.data
    assert config.model == default.model
    assert config.weight_bits == default.weight_bits
    assert config.trainer.max_epochs < default.trainer.max_epochs
    assert config.members is config.finetune is None
