"""The folder of a run: where it is, and the configuration that is written into it first."""

from __future__ import annotations

import datetime
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tumorlens.atomic import atomic_file
from tumorlens.errors import OutputError
from tumorlens.runs.config import without_logger


def prepare_run_dir(config: DictConfig, run_dir: Path | None) -> Path:
    """Make the run folder (see `train`) and write config.yaml into it.

    Sets ``config.run_dir``.
    """
    run_dir = chosen_run_dir(config, run_dir)
    config.run_dir = str(run_dir)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{run_dir}: the run folder cannot be made ({error})") from error
    with atomic_file(run_dir / "config.yaml") as stream:
        stream.write(OmegaConf.to_yaml(without_logger(config), resolve=True).encode())
    return run_dir


def chosen_run_dir(config: DictConfig, run_dir: Path | None) -> Path:
    """Return where a run's results go: as given, as configured, else by date and time."""
    if run_dir is not None:
        return run_dir
    if config.run_dir is not None:
        return Path(config.run_dir)
    if HydraConfig.initialized():
        return Path(HydraConfig.get().runtime.output_dir)
    return _new_run_dir()


def _new_run_dir() -> Path:
    return Path("runs") / datetime.datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
