"""Settings: every choice composes, and a wrong one is refused in our words."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from tumorlens.augmentation.policy import AugmentationPolicy
from tumorlens.errors import ConfigError
from tumorlens.imaging.preprocess import NOTEBOOK
from tumorlens.models.registry import build
from tumorlens.runs.compose import compose_config, config_yaml, read_config
from tumorlens.runs.config import LossConfig, RunConfig
from tumorlens.runs.provenance import Provenance, recipe

CONF = Path(str(resources.files("tumorlens.conf")))
CHOICES = sorted((path.parent.name, path.stem) for path in CONF.glob("*/*.yaml"))


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_to_settings_the_code_knows(group: str, choice: str) -> None:
    override = f"{group}={choice}"
    config = compose_config([override, "run_dir=here"])
    assert RunConfig.from_plain(config.to_plain()) == config
    if group in ("model", "experiment"):
        build(config.model.architecture, **config.model.arguments)


def test_there_are_choices_of_every_group() -> None:
    assert {group for group, _ in CHOICES} == {
        *("data", "model", "optimizer", "augment", "trainer", "logger", "experiment")
    }


def test_the_notebook_s_recipe() -> None:
    config = compose_config(["experiment=notebook"])
    assert config.model.preprocess == NOTEBOOK
    assert config.model.architecture == "notebook"
    assert (config.optimizer.name, config.optimizer.lr) == ("adam", 1e-4)
    assert (config.optimizer.weight_decay, config.optimizer.schedule) == (0, "constant")
    assert (config.trainer.max_epochs, config.trainer.patience) == (400, None)
    assert config.data.batch_size == 32
    split = config.data.split
    assert (split.kind, split.train, split.test) == ("random-leaky", 0.8, 0.2)
    assert config.augment == AugmentationPolicy()
    assert config.loss == LossConfig()


@pytest.mark.parametrize(
    "override",
    [
        "trainer.nonsense=3",
        "nonsense=3",
        "model=none_such",
        "experiment=none_such",
        "data.split.path",
        "=3",
        "optimizer={name: adam",
    ],
)
def test_an_override_that_names_nothing_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="training configuration: "):
        compose_config([override])


def test_going_on_from_the_teacher_chooses_by_nothing_it_has_learnt() -> None:
    config = compose_config(["experiment=teacher"])
    assert config.finetune is not None
    assert config.changed(config.finetune).data.split.learn_validation


@pytest.mark.parametrize(
    ("override", "section"),
    [
        ("+augment.geometry.swirl=0.5", r"augment\.geometry"),
        ("+loss.dice=1", "loss"),
        ("+optimizer.beta=0.9", "optimizer"),
        ("+data.split.folds=3", r"data\.split"),
        ("+model.preprocess.zoom=2", r"model\.preprocess"),
        ("+speed=1", "a run"),
    ],
)
def test_an_added_setting_is_refused_where_it_would_be_ignored(override: str, section: str) -> None:
    name = override.split("=")[0].split(".")[-1].removeprefix("+")
    with pytest.raises(ConfigError, match=rf"{section} has no settings \['{name}'\]; known are"):
        compose_config([override])


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("optimizer.lr=fast", "lr is 'fast'; it should be a valid number"),
        ("optimizer.lr=null", "lr is None; it should be a valid number"),
        ("optimizer.lr=true", "lr is True; it should be a valid number"),
        ("optimizer.name=lion", "name is 'lion'; it should be 'adam', 'adamw' or 'sgd'"),
        ("optimizer.schedule=linear", "schedule is 'linear'; it should be 'constant' or 'cosine'"),
        ("data.sampler=random", "data.sampler is 'random'; it should be 'shuffle', 'balanced' or"),
        ("data.split.kind=random", "data.split.kind is 'random'; it should be 'grouped' or"),
        ("data.label_issues=drop", "data.label_issues is 'drop'; it should be 'keep' or 'exclude'"),
        ("data.batch_size=0", "data.batch_size is 0; it should be greater than or equal to 1"),
        ("data.num_workers=-1", "data.num_workers is -1; it should be greater than or equal to 0"),
        ("data.num_workers=true", "data.num_workers is True; it should be a valid integer, or"),
        ("data.num_workers=many", "data.num_workers is 'many'; it should be a valid integer, or"),
        ("data.num_workers=1.5", "data.num_workers is 1.5; it should be a valid integer, or"),
        ("data.num_workers=null", "data.num_workers is None; it should be a valid integer, or"),
        (
            "loss.positive_weight=heavy",
            "weight is 'heavy'; it should be a valid number, or",
        ),
        ("data.split.test=2", "data.split.test is 2; it should be less than or equal to 1"),
        ("augment.intensity.invert.prob=1.5", "intensity.invert.prob is 1.5; give a probability"),
        ("augment.geometry.rotation=far", "augment.geometry.rotation is 'far'; give a number"),
        ("members=2", "members is 2; it should be a list"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_may_be(override: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose_config([override])
    assert told in str(error.value)


def test_a_run_s_settings_are_read_back_as_they_were(tmp_path: Path) -> None:
    config = compose_config(["experiment=default", "+trainer.limit_train_batches=0.5"])
    path = tmp_path / "config.yaml"
    path.write_text(config_yaml(config))
    assert read_config(path) == replace(config, logger={})


def test_a_logger_gets_each_run_s_own_folder() -> None:
    config = compose_config(["logger=mlflow"])
    assert config.logger["mlflow"]["tracking_uri"] == "file:{run_dir}/mlflow"
    assert compose_config(["logger=none"]).logger == {}


def test_lists_are_replaced_and_the_rest_is_kept() -> None:
    config = compose_config(["experiment=default"])
    changed = config.changed({"data": {"sources": ["heads"]}, "optimizer": {"lr": 1}})
    assert changed.data.sources == ("heads",)
    assert changed.optimizer == replace(config.optimizer, lr=1.0)
    assert changed.data == replace(config.data, sources=("heads",))
    with pytest.raises(ConfigError, match=r"finetune: optimizer has no settings \['none_such'\]"):
        config.changed({"optimizer": {"none_such": 1}}, "finetune")


def test_the_recipe_holds_no_place_and_no_logger(tmp_path: Path) -> None:
    config = compose_config(
        [
            f"data.root={tmp_path}",
            f"run_dir={tmp_path}/run",
            f"resume={tmp_path}/last.ckpt",
            f"data.cache_dir={tmp_path}/cache",
            f"data.split.path={tmp_path}/split.json",
            f"model.arguments.weights={tmp_path}/deep/resnet18.safetensors",
            f"data.sources=[{tmp_path}/heads]",
            "logger=wandb",
            "seed=7",
        ]
    )
    stated = recipe(config, Provenance())
    assert str(tmp_path) not in str(stated)
    assert "logger" not in stated
    assert stated["seed"] == stated["data"]["split"]["seed"] == 7
    assert stated["model"]["arguments"]["weights"] == "<path>/resnet18.safetensors"
    assert stated["data"]["split"]["path"] == "<path>/split.json"
    assert stated["resume"] is None
