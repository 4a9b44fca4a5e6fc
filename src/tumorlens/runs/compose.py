"""Hydra overrides and ``config.yaml`` → `RunConfig`; the only module that uses OmegaConf."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from tumorlens.errors import ConfigError
from tumorlens.runs.config import RunConfig, check_one_clock

CONFIG_MODULE = "tumorlens.conf"
CONFIG_NAME = "train"


def compose_config(overrides: Sequence[str] = ()) -> RunConfig:
    """Return the training configuration with ``overrides`` in Hydra's grammar.

    Raises:
        ConfigError: An override names an unknown setting or an unknown choice of a group, or a
            value is invalid.
    """
    try:
        with initialize_config_module(config_module=CONFIG_MODULE, version_base="1.3"):
            return from_hydra(compose(config_name=CONFIG_NAME, overrides=list(overrides)))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        # Hydra raises ValueError for an override such as "=3"
        raise ConfigError(f"training configuration: {error}") from error


def from_hydra(config: DictConfig) -> RunConfig:
    """Return the validated settings of a composed configuration, every interpolation resolved.

    ``${run_dir}`` in a logger's settings becomes the placeholder ``{run_dir}``, since the folder
    of each training is not known yet. Under Hydra's command line a run without a folder gets
    Hydra's own. Raises `ConfigError` as `RunConfig.from_plain` and `check_one_clock`.
    """
    with_placeholder = config.copy()
    with_placeholder.run_dir = "{run_dir}"
    values = _plain(config) | {"logger": _plain(with_placeholder).get("logger") or {}}
    if values["run_dir"] is None and HydraConfig.initialized():
        check_one_clock()
        values["run_dir"] = HydraConfig.get().runtime.output_dir
    return RunConfig.from_plain(values)


def read_config(path: Path) -> RunConfig:
    """Return the settings that `config_yaml` wrote.

    Raises:
        ConfigError: The file is missing or is not a configuration.
    """
    try:
        config = OmegaConf.load(path)
    except (OSError, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a run's folder") from error
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{path}: not the configuration of a run")
    return RunConfig.from_plain(_plain(config), str(path))


def config_yaml(config: RunConfig) -> str:
    """Return settings as YAML, without loggers, which may name services and accounts."""
    values = config.to_plain()
    del values["logger"]
    return OmegaConf.to_yaml(OmegaConf.create(values))


def _plain(config: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}
