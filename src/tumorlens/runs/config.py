"""From Hydra's groups to checked, typed settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tumorlens.errors import ConfigError
from tumorlens.imaging.preprocess import PreprocessSpec

CONFIG_MODULE = "tumorlens.conf"
CONFIG_NAME = "train"

Spec = TypeVar("Spec")


def compose_config(overrides: Sequence[str] = ()) -> DictConfig:
    """Return the training configuration with ``overrides`` in Hydra's grammar.

    Raises:
        ConfigError: An override names no setting, or a group has no such choice.
    """
    try:
        with initialize_config_module(config_module=CONFIG_MODULE, version_base="1.3"):
            return compose(config_name=CONFIG_NAME, overrides=list(overrides))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        # ValueError: what Hydra raises of an override such as "=3"
        raise ConfigError(f"training configuration: {error}") from error


def spec_from(section: DictConfig, kind: type[Spec], where: str) -> Spec:
    """Build a settings dataclass from a section.

    Raises:
        ConfigError: A key is unknown, or a number is something else.
    """
    values = OmegaConf.to_container(section, resolve=True)
    assert isinstance(values, dict)
    allowed = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(str(key) for key in set(values) - allowed)
    if unknown:
        raise ConfigError(f"{where}: unknown settings {unknown}; known are {sorted(allowed)}")
    numbers = [name for name, hint in get_type_hints(kind).items() if hint is float]
    for name in numbers:
        value = values.get(name, 0.0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{where}.{name} is {value!r}; give a number")
    return kind(**{str(key): value for key, value in values.items()})


def preprocess_from(config: DictConfig) -> PreprocessSpec:
    """Return the run's preprocessing plan."""
    return PreprocessSpec.from_dict(plain(config.model.preprocess))


def plain(section: DictConfig) -> dict[str, Any]:
    """Return a section as a JSON-ready dictionary, every interpolation resolved."""
    values = OmegaConf.to_container(section, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def without_logger(config: DictConfig) -> DictConfig:
    """Return the configuration without its loggers, which may name services and accounts."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "logger"])


def recipe(config: DictConfig, root: Path) -> dict[str, Any]:
    """Return the configuration as it goes into a model card: no path of this machine in it."""
    values = plain(without_logger(config))
    values["data"] = {**values["data"], "root": "<data>", "cache_dir": None}
    # What the run started from is told by started_from, with name and hash instead of a place.
    values |= {"resume": None, "run_dir": None, "init": None}

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, list):
            return [clean(item) for item in value]
        if isinstance(value, str) and Path(value).is_absolute():
            return f"<path>/{Path(value).name}"
        return value.replace(str(root), "<data>") if isinstance(value, str) else value

    cleaned: dict[str, Any] = clean(values)
    return cleaned
