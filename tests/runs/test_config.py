"""Settings: every choice composes, and a wrong one is refused in our words."""

from __future__ import annotations

from dataclasses import asdict
from importlib import resources
from pathlib import Path

import pytest

from tumorlens.augmentation.policy import AugmentationPolicy
from tumorlens.errors import ConfigError
from tumorlens.imaging.preprocess import NOTEBOOK
from tumorlens.models.registry import build
from tumorlens.runs.config import compose_config, plain, preprocess_from, recipe, spec_from
from tumorlens.training.losses import LossSpec
from tumorlens.training.module import OptimizerSpec

CONF = Path(str(resources.files("tumorlens.conf")))
CHOICES = sorted((path.parent.name, path.stem) for path in CONF.glob("*/*.yaml"))


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_to_settings_the_code_knows(group: str, choice: str) -> None:
    override = f"{group}={choice}"
    config = compose_config([override, "run_dir=here"])
    plain(config)  # every interpolation resolves
    preprocess_from(config)
    spec_from(config.loss, LossSpec, "loss")
    spec_from(config.optimizer, OptimizerSpec, "optimizer")
    AugmentationPolicy.from_mapping(plain(config.augment))
    if group in ("model", "experiment"):
        build(config.model.architecture, **plain(config.model.arguments))


def test_there_are_choices_of_every_group() -> None:
    assert {group for group, _ in CHOICES} == {
        *("data", "model", "optimizer", "augment", "trainer", "logger", "experiment")
    }


def test_the_notebook_s_recipe() -> None:
    config = compose_config(["experiment=notebook"])
    assert preprocess_from(config) == NOTEBOOK
    assert config.model.architecture == "notebook"
    assert (config.optimizer.name, config.optimizer.lr) == ("adam", 1e-4)
    assert (config.optimizer.weight_decay, config.optimizer.schedule) == (0, "constant")
    assert (config.trainer.max_epochs, config.trainer.patience) == (400, None)
    assert config.data.batch_size == 32
    split = config.data.split
    assert (split.kind, split.train, split.test) == ("random-leaky", 0.8, 0.2)
    assert AugmentationPolicy.from_mapping(plain(config.augment)) == AugmentationPolicy()
    assert asdict(spec_from(config.loss, LossSpec, "loss")) == asdict(LossSpec())


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


def test_going_on_from_the_default_network_chooses_by_nothing_it_has_learnt() -> None:
    assert compose_config(["experiment=default"]).polish.data.split.learn_validation


def test_an_added_setting_is_refused_where_it_would_be_ignored() -> None:
    config = compose_config(["+loss.dice=1", "+optimizer.beta=0.9"])
    for section, kind in (
        ("loss", LossSpec),
        ("optimizer", OptimizerSpec),
    ):
        with pytest.raises(ConfigError, match=f"{section}: unknown settings"):
            spec_from(config[section], kind, section)


@pytest.mark.parametrize(
    "override", ["optimizer.lr=fast", "optimizer.lr=null", "optimizer.lr=true"]
)
def test_a_number_that_is_none_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lr is .*; give a number"):
        spec_from(compose_config([override]).optimizer, OptimizerSpec, "optimizer")


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
    stated = recipe(config, tmp_path)
    assert str(tmp_path) not in str(stated)
    assert "logger" not in stated
    assert stated["seed"] == stated["data"]["split"]["seed"] == 7
    assert stated["model"]["arguments"]["weights"] == "<path>/resnet18.safetensors"
    assert stated["data"]["split"]["path"] == "<path>/split.json"
    assert stated["resume"] is None
