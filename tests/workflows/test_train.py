"""A whole run on drawn heads: what it leaves, that it repeats, resumes, and is what is served."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from tests.drawn_data import draw_heads, fitted, tiny_config
from tumorlens.data.splits import make_split, read_split, write_split
from tumorlens.errors import ConfigError, LeakageError, OutputError, SourceNotFoundError
from tumorlens.imaging.preprocess import preprocess
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics import binary as metrics
from tumorlens.metrics.calibration import sigmoid
from tumorlens.metrics.summary import SCHEMES, ece_estimate
from tumorlens.modelfile import read_card
from tumorlens.models.registry import build
from tumorlens.models.weights import load_weights
from tumorlens.runs.records import load_records
from tumorlens.training.decoding import load_parts
from tumorlens.training.module import Classifier
from tumorlens.workflows.execution import Trained
from tumorlens.workflows.measure import logits_of
from tumorlens.workflows.train import RunResult, train

# Everything at once, so that every source of chance has to repeat itself.
RANDOM = (
    "augment.lesions.insertion.prob=0.5",
    "ema_decay=0.9",
    "model.arguments.dropout=0.3",
    "score_test=true",
)


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_heads(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def finished(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    run_dir = tmp_path_factory.mktemp("run") / "first"
    return train(tiny_config(heads, run_dir, *RANDOM, "logger=tensorboard"))


def weights_of(run: RunResult | Trained) -> dict[str, Tensor]:
    if isinstance(run, Trained):
        return run.network.state_dict()
    return dict(torch.load(run.weights, weights_only=True))


def assert_same_weights(one: RunResult, other: Trained) -> None:
    first, second = weights_of(one), weights_of(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def network_of(run: RunResult) -> torch.nn.Module:
    card = read_card(run.model)
    network = build(card.architecture, **card.architecture_args)
    load_weights(network, run.weights)
    return network


def test_the_run_folder_holds_what_is_promised(finished: RunResult) -> None:
    folder = finished.run_dir
    for name in (
        *("config.yaml", "split.json", "metrics.json", "predictions.csv", "curves.png"),
        *("weights.pt", "model.onnx", "checkpoints/best.ckpt", "checkpoints/last.ckpt"),
        "logs/version_0/metrics.csv",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    assert not list(folder.rglob("*.part"))
    assert not list(folder.rglob("*.tmp"))
    assert finished.weights == folder / "weights.pt"
    assert finished.model == folder / "model.onnx"
    assert finished.checkpoint == folder / "checkpoints" / "best.ckpt"
    assert finished.epochs == 2
    assert finished.best_epoch in (0, 1)
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_config_and_metrics_say_what_was_done(finished: RunResult, heads: Path) -> None:
    config = yaml.safe_load((finished.run_dir / "config.yaml").read_text())
    assert config["data"]["root"] == str(heads)
    assert config["model"]["arguments"]["widths"] == [4, 8]
    assert config["seed"] == 0
    assert "logger" not in config
    stated = json.loads((finished.run_dir / "metrics.json").read_text())
    assert set(stated["parts"]) == {"train", "validation", "test"}
    for part, values in finished.metrics.items():
        for name, estimate in values.items():
            assert stated["parts"][part][name]["n"] == estimate.n
            if np.isfinite(estimate.value):
                assert stated["parts"][part][name]["value"] == estimate.value
    split = read_split(finished.run_dir / "split.json")
    assert {part: len(keys) for part, keys in split.parts().items()} == {
        part: finished.metrics[part]["accuracy"].n if part in finished.metrics else 0
        for part in split.parts()
    }


def test_the_card_says_where_the_model_comes_from(finished: RunResult) -> None:
    card = read_card(finished.model)
    assert (card.architecture, card.architecture_args["widths"]) == ("cnn", [4, 8])
    assert card.recipe["seed"] == 0
    assert card.recipe["data"]["root"] == "<data>"
    assert str(finished.run_dir) not in card.model_dump_json()
    (source,) = card.data
    assert (source.source, source.n) == ("heads", finished.metrics["train"]["accuracy"].n)
    assert {metric.split for metric in card.metrics} == {"validation", "test"}
    for metric in card.metrics:
        assert metric.value == finished.metrics[metric.split][metric.name].value


def test_curves_have_a_row_for_each_epoch(finished: RunResult) -> None:
    with (finished.run_dir / "logs" / "version_0" / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
        assert {row["epoch"] for row in rows if row[name]} == {"0", "1"}, name


def test_the_same_seed_gives_the_same_weights(
    finished: RunResult, heads: Path, tmp_path: Path
) -> None:
    again = fitted(tiny_config(heads, tmp_path / "again", *RANDOM))
    assert_same_weights(finished, again)
    # As text: what is not defined is not equal to itself.
    assert str(finished.metrics) == str(again.measured.metrics)
    other = fitted(tiny_config(heads, tmp_path / "other", *RANDOM, "seed=1", "data.split.seed=0"))
    first, second = weights_of(finished), weights_of(other)
    assert not torch.equal(first["features.0.weight"], second["features.0.weight"])


def test_an_interrupted_run_goes_on_to_the_same_weights(
    finished: RunResult, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interruption(Exception):  # noqa: N818
        pass

    start = Classifier.on_train_epoch_start

    def interrupt(self: Classifier) -> None:
        if self.current_epoch == 1:
            raise Interruption
        start(self)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "on_train_epoch_start", interrupt)
        with pytest.raises(Interruption):
            train(tiny_config(heads, tmp_path / "run", *RANDOM))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    resumed = fitted(tiny_config(heads, tmp_path / "run", *RANDOM, f"resume={last}"))
    assert (resumed.fitted.epochs, resumed.fitted.best_epoch) == (
        finished.epochs,
        finished.best_epoch,
    )
    assert_same_weights(finished, resumed)
    assert str(resumed.measured.metrics) == str(finished.metrics)


def test_reloaded_weights_give_the_reported_metric(finished: RunResult, heads: Path) -> None:
    config = tiny_config(heads, finished.run_dir, *RANDOM)
    parts = load_parts(config)
    card = read_card(finished.model)
    network = network_of(finished)
    for part in ("validation", "test"):
        logits = logits_of(network, parts.inputs[part])
        labels = [record.label for record in parts.records[part]]
        groups = [record.group for record in parts.records[part]]
        measured = metrics.evaluate(
            labels,
            sigmoid(logits / card.temperature),
            groups=groups,
            threshold=card.threshold.value,
        )
        for scheme in SCHEMES:
            measured[f"ece_{scheme}"] = ece_estimate(
                labels, sigmoid(logits / card.temperature), scheme, groups=groups
            )
        assert set(measured) == set(finished.metrics[part])
        for name, estimate in finished.metrics[part].items():
            for field in ("value", "low", "high"):
                expected = getattr(estimate, field)
                # A probability on the edge of an ECE's bin falls to either side by rounding.
                within = 1.5 / len(labels) if name.startswith("ece") else 1e-6
                assert getattr(measured[name], field) == pytest.approx(
                    expected, abs=within, nan_ok=True
                ), (part, name)


def test_what_is_served_is_what_was_trained(finished: RunResult, heads: Path) -> None:
    network = network_of(finished).eval()
    predictor = Predictor.open(finished.model, threads=1)
    card = predictor.card
    for path in sorted((heads / "heads").rglob("*.png"))[::7]:
        image = predictor.decode(path)
        batch = torch.from_numpy(preprocess(image.pixels, card.preprocess))[None]
        with torch.no_grad():
            logit, evidence = network(batch)
        served = predictor.predict(path)
        assert served.prob == pytest.approx(
            float(sigmoid(logit.item() / card.temperature)), abs=1e-5
        )
        _, maps, *_ = predictor.infer(batch.numpy())
        assert maps is not None
        assert np.abs(maps - evidence.numpy()).max() < 1e-4


def test_half_weights_are_measured_as_they_are_stored(heads: Path, tmp_path: Path) -> None:
    widths = "model.arguments.widths=[16,16]"  # 16·16·9 weights are enough to be halved
    run = train(tiny_config(heads, tmp_path / "half", "weight_bits=16", widths))
    kernel = weights_of(run)["features.4.weight"]
    assert torch.equal(kernel, kernel.half().float())
    assert kernel.half().numpy().tobytes() in run.model.read_bytes()
    assert not torch.equal(weights_of(run)["features.1.weight"], torch.ones(16).half().float())


def test_a_leaking_split_is_refused_by_group(heads: Path, tmp_path: Path) -> None:
    config = tiny_config(heads, tmp_path / "run")
    copy = tmp_path / "root"
    draw_heads(copy, each=6)
    picture = copy / "heads" / "yes" / "00.png"
    (copy / "heads" / "yes" / "copy.png").write_bytes(picture.read_bytes())
    config = config.changed({"data": {"root": str(copy)}})
    records = load_records(config.data)
    keys = [record.key for record in records]
    leaking = next(record for record in records if record.path.name == "copy.png")
    parts = {"train": [key for key in keys if key != leaking.key], "test": [leaking.key]}
    write_split(make_split("by hand", 0, parts, records), tmp_path / "split.json")
    config = config.changed({"data": {"split": {"path": str(tmp_path / "split.json")}}})
    with pytest.raises(LeakageError, match=rf"group {leaking.group} .*copy\.png"):
        train(config)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_folder_that_cannot_be_made_is_named(heads: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file/run"):
        train(tiny_config(heads, tmp_path / "file" / "run"))


def test_a_disk_that_fills_up_is_an_output_error(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning.pytorch.Trainer.save_checkpoint", full)
    with pytest.raises(OutputError, match=r"run.*No space left"):
        train(tiny_config(heads, tmp_path / "run"))


def test_a_loss_that_is_no_number_ends_the_run(heads: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the loss is nan at epoch 0, batch 0"):
        train(tiny_config(heads, tmp_path / "run", "loss.positive_weight=nan"))


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["trainer.accelerator=abacus"], "trainer: "),
        (["trainer.devices=0"], "trainer: "),
        (["trainer.precision=12"], "trainer: "),
        (["+trainer.nonsense=1"], "trainer: "),
        (["resume=none.ckpt"], r"resume.*none\.ckpt"),
        (["resume=README.md"], r"resume.*README\.md"),
        (["loss.positive_weight=auto", "data.sampler=weighted"], r"positive_weight=auto.*weighted"),
        (["optimizer.backbone_lr=0"], r"backbone_lr is 0.*no backbone"),
        (["monitor=val/dice"], "monitor.*val/dice"),
        (["data.sampler=random"], r"data\.sampler"),
        (["data.split.kind=random"], r"data\.split\.kind"),
        (["+augment.geometry.swirl=1"], "augment.geometry has no settings"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    overrides: list[str], reason: str, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("README.md").write_text("no checkpoint")
    with pytest.raises(ConfigError, match=reason):
        train(tiny_config(heads, tmp_path / "run", *overrides))


def test_a_source_that_is_not_there_is_named(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TUMORLENS_DATA", raising=False)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "nothing downloaded"))
    with pytest.raises(SourceNotFoundError, match="cheng2017"):
        train(tiny_config(heads, tmp_path / "run", "data.sources=[cheng2017]"))


def test_without_validation_the_last_epoch_counts(heads: Path, tmp_path: Path) -> None:
    shares = ("data.split.train=0.8", "data.split.validation=0.0", "score_test=true")
    run = fitted(tiny_config(heads, tmp_path / "run", *shares, "augment=none"))
    assert run.fitted.best_epoch == 1
    assert set(run.measured.metrics) == {"train", "test"}
    assert run.measured.calibration.threshold.origin.startswith("not calibrated")


def test_the_last_checkpoint_is_of_the_last_epoch_even_if_nothing_improves(
    heads: Path, tmp_path: Path
) -> None:
    monitor = ("monitor=val/balanced_accuracy", "monitor_mode=max")  # of a net that learns nothing
    settings = ("trainer.max_epochs=3", "optimizer.lr=0", "augment=none", *monitor)
    run = fitted(tiny_config(heads, tmp_path / "run", *settings))
    assert run.fitted.best_epoch == 0
    folder = tmp_path / "run" / "checkpoints"
    last = torch.load(folder / "last.ckpt", weights_only=True)
    assert (last["epoch"], last["global_step"] > 0) == (2, True)
    assert {path.name for path in folder.iterdir()} == {"best.ckpt", "last.ckpt"}
    assert run.fitted.epochs == 3


def test_the_folder_given_stands_in_its_settings(heads: Path, tmp_path: Path) -> None:
    config = tiny_config(heads, tmp_path / "run", "run_dir=null", "data.sources=[none]")
    with pytest.raises(SourceNotFoundError):
        train(config, tmp_path / "given")
    stated = yaml.safe_load((tmp_path / "given" / "config.yaml").read_text())
    assert stated["run_dir"] == str(tmp_path / "given")


def test_the_card_has_figures_by_source(tmp_path: Path) -> None:
    draw_heads(tmp_path / "more", each=10, size=72)
    root = draw_heads(tmp_path, each=10)
    (tmp_path / "more" / "heads").rename(root / "others")
    config = tiny_config(root, tmp_path / "run", "data.sources=[heads,others]",
                         "trainer.max_epochs=1", "score_test=true")  # fmt: skip
    finished = train(config)
    card = read_card(finished.model)
    splits = {metric.split for metric in card.metrics}
    assert {"test", "test/heads", "test/others"} <= splits
    assert not any(split.startswith("train") for split in splits)
    (found,) = [m for m in card.metrics if (m.split, m.name) == ("test/others", "ece_width")]
    assert 0 < found.n < finished.metrics["test"]["accuracy"].n
