"""Configuration → Lightning's trainer, and its errors in our words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import callbacks
from lightning.pytorch.loggers import CSVLogger, Logger
from omegaconf import DictConfig
from torch import nn
from torch.serialization import get_unsafe_globals_in_checkpoint

from tumorlens.errors import ConfigError, OutputError
from tumorlens.inference.cores import usable_cores
from tumorlens.models.weights import is_torch_archive, misfits
from tumorlens.runs.config import plain
from tumorlens.training.averaging import warmed_up

# Loader processes beside a GPU. On an H100's machine four had every batch ready in time.
_WORKERS = 8

CHECKPOINTS = "checkpoints"
"""Folder, in that of a training, of its checkpoints."""


def make_trainer(
    config: DictConfig, run_dir: Path, *, has_validation: bool
) -> tuple[L.Trainer, callbacks.ModelCheckpoint]:
    """Build the trainer with its callbacks and loggers, and the callback that keeps the best.

    Raises:
        ConfigError: A setting of ``trainer`` is unknown or cannot be.
        OutputError: A logger cannot write into the run folder.
    """
    settings = plain(config.trainer)
    patience = settings.pop("patience", None)
    if settings.get("precision") == "auto":
        settings["precision"] = fastest_precision(str(settings.get("accelerator", "auto")))
    monitor = config.monitor if has_validation else None
    if not has_validation:
        settings["limit_val_batches"] = 0
    checkpoint = callbacks.ModelCheckpoint(
        dirpath=run_dir / CHECKPOINTS,
        filename="best",
        monitor=monitor,
        mode=config.monitor_mode,
        # Without a metric to choose by, the last epoch is the best: one file, and a link to it.
        save_last="link" if monitor is None else False,
        enable_version_counter=False,
    )
    used: list[L.Callback] = [checkpoint, callbacks.LearningRateMonitor("epoch")]
    if monitor is not None:
        # `save_last` would write only when the metric improves, and a resumed run lose the rest.
        used.append(
            callbacks.ModelCheckpoint(
                dirpath=run_dir / CHECKPOINTS, filename="last", enable_version_counter=False
            )
        )
    if patience is not None and monitor is not None:
        used.append(callbacks.EarlyStopping(monitor, patience=patience, mode=config.monitor_mode))
    if config.ema_decay > 0:
        used.append(callbacks.WeightAveraging(multi_avg_fn=warmed_up(config.ema_decay)))
    loggers: list[Logger] = [CSVLogger(run_dir, name="logs")]
    for section in (config.logger or {}).values():
        loggers.append(hydra.utils.instantiate(section))
    try:
        trainer = L.Trainer(
            default_root_dir=run_dir,
            callbacks=used,
            logger=loggers,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # our sampler deals each rank its share already
            **settings,
        )
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(f"trainer: {error}") from error
    return trainer, checkpoint


def fastest_precision(accelerator: str) -> str:
    """Return ``bf16-mixed`` where 16-bit products are computed in hardware, else ``32-true``.

    That is on GPUs, on processors with AMX tiles (there 2.5 times as fast in float32's stead) and
    on AMD's with AVX512-BF16 (twice as fast). A Xeon without tiles was 1.4 times as fast in float32
    (docs/adr/0017-mixed-precision-by-processor.md).
    """
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not _has_accelerator())
    if not on_cpu or torch.cpu._is_amx_tile_supported():
        return "bf16-mixed"
    products = torch.cpu._is_avx512_bf16_supported() and _vendor() == "AuthenticAMD"
    return "bf16-mixed" if products else "32-true"


def loader_workers(config: DictConfig, processes: int) -> int:
    """Return ``data.num_workers``; for ``auto`` none without an accelerator, else up to eight.

    On processors alone, workers would take the time from the network that they save it. A GPU
    waits for augmented pictures otherwise: they take 60 ms of a core for 32 of 160 pixels.

    Args:
        config: The run's configuration.
        processes: Training processes on this machine, one a device, that share its cores; with
            ``auto`` each keeps a core and fills its share of the others, one at least.

    Raises `ConfigError` for anything but ``auto`` and whole numbers from 0.
    """
    asked = config.data.num_workers
    if asked == "auto":
        on_cpu = config.trainer.accelerator == "cpu" or not _has_accelerator()
        return 0 if on_cpu else max(1, min(_WORKERS, usable_cores() // processes - 1))
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 0:
        raise ConfigError(f"data.num_workers is {asked!r}; use auto or a whole number from 0")
    return asked


def _vendor() -> str:
    """Return the processor's maker as Linux names it, or nothing where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return next((at.partition(":")[2].strip() for at in lines if at.startswith("vendor_id")), "")


def _has_accelerator() -> bool:
    return bool(torch.accelerator.is_available())


def require_one_process(config: DictConfig, what: str) -> None:
    """Refuse several processes where one run follows another in the same command.

    The processes of a run are started once, with the first run's command, and end with it.

    Raises:
        ConfigError: ``trainer.devices`` or ``trainer.num_nodes`` asks for more than one.
    """
    asked = (str(config.trainer.devices), str(config.trainer.get("num_nodes", 1)))
    if asked != ("1", "1"):
        raise ConfigError(
            f"{what} trains one network after the other, each in one process; set "
            "trainer.devices=1, or give each `tumorlens train` its devices by itself"
        )


def run_trainer(
    trainer: L.Trainer,
    classifier: L.LightningModule,
    data: L.LightningDataModule,
    *,
    resume: Path | None,
    run_dir: Path,
) -> None:
    """Fit, from a checkpoint where one is given.

    Raises:
        ConfigError: What was asked for cannot be.
        OutputError: The run folder cannot be written.
    """
    try:
        trainer.fit(classifier, datamodule=data, ckpt_path=resume, weights_only=True)
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {error}") from error
    except OSError as error:
        raise OutputError(
            f"{run_dir}: the run cannot be written ({error.strerror or error}); free space and "
            "check that the folder is writable, then go on with resume=…/checkpoints/last.ckpt"
        ) from error


def resume_path(resume: str | None, classifier: nn.Module) -> Path | None:
    """Return the checkpoint to go on from, looked at before anything is trained.

    Raises:
        ConfigError: It is missing, damaged, weights alone, or of another network than
            ``classifier``'s; the message names what does not fit.
    """
    if resume is None:
        return None
    path = Path(resume)
    told = misfits(read_checkpoint(path)["state_dict"], classifier.state_dict())
    if told:
        raise ConfigError(
            f"resume: {path} is of another network than the configured one; {told}. Give the "
            "settings of the run it belongs to (its config.yaml)"
        )
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state of a run that ``resume`` names.

    Raises `ConfigError` where the file is missing, damaged, or holds weights alone.
    """
    if not is_torch_archive(path):
        raise ConfigError(f"resume: {path} is missing, damaged or no checkpoint; name a last.ckpt")
    foreign = get_unsafe_globals_in_checkpoint(path)
    if foreign:
        raise ConfigError(f"resume: {path} holds more than data ({', '.join(foreign)}); not loaded")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"resume: {path} cannot be read ({error})") from error
    whole = isinstance(state, dict) and isinstance(state.get("state_dict"), dict)
    if not whole or "optimizer_states" not in state:
        raise ConfigError(
            f"resume: {path} holds weights alone, and no state of a run; name a last.ckpt, or "
            f"start a new run from these weights (init={path})"
        )
    return dict(state)
