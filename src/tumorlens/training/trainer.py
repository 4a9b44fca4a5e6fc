"""Configuration → Lightning's trainer, with its errors as TumorLens errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hydra
import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import callbacks
from lightning.pytorch.loggers import CSVLogger, Logger
from torch import nn
from torch.serialization import get_unsafe_globals_in_checkpoint

from tumorlens.errors import ConfigError, OutputError
from tumorlens.inference.cores import usable_cores
from tumorlens.models.weights import describe_mismatches, is_torch_archive
from tumorlens.runs.config import RunConfig
from tumorlens.runs.folder import RunFolder
from tumorlens.training.averaging import warmed_up
from tumorlens.training.processes import check_processes, translated_loss

# Most loader processes per GPU; with an H100, four were enough to keep it busy.
_WORKERS = 8


def make_trainer(
    config: RunConfig, folder: RunFolder, *, has_validation: bool
) -> tuple[L.Trainer, callbacks.ModelCheckpoint]:
    """Build the trainer with its callbacks and loggers, and the callback that keeps the best.

    Raises:
        ConfigError: A setting of ``trainer`` is unknown or invalid, or asks for another number of
            processes than torchrun has started.
        OutputError: A logger cannot write into the run folder.
    """
    settings = asdict(config.trainer)
    settings |= settings.pop("lightning")
    patience = settings.pop("patience")
    if settings["precision"] == "auto":
        settings["precision"] = fastest_precision(config.trainer.accelerator)
    monitor = config.monitor if has_validation else None
    if not has_validation:
        settings["limit_val_batches"] = 0
    checkpoint = callbacks.ModelCheckpoint(
        dirpath=folder.checkpoints,
        filename="best",
        monitor=monitor,
        mode=config.monitor_mode,
        # Without a metric to monitor, the last epoch is the best: one file, and a link to it.
        save_last="link" if monitor is None else False,
        enable_version_counter=False,
    )
    used: list[L.Callback] = [checkpoint, callbacks.LearningRateMonitor("epoch")]
    if monitor is not None:
        # `save_last` writes only when the metric improves; a resumed run would lose later epochs.
        used.append(
            callbacks.ModelCheckpoint(
                dirpath=folder.checkpoints, filename="last", enable_version_counter=False
            )
        )
    if patience is not None and monitor is not None:
        used.append(callbacks.EarlyStopping(monitor, patience=patience, mode=config.monitor_mode))
    if config.ema_decay > 0:
        used.append(callbacks.WeightAveraging(multi_avg_fn=warmed_up(config.ema_decay)))
    loggers: list[Logger] = [CSVLogger(folder.path, name=folder.logs.name)]
    for logger in config.logger.values():
        loggers.append(hydra.utils.instantiate(_with_run_dir(logger, folder)))
    try:
        trainer = L.Trainer(
            default_root_dir=folder.path,
            callbacks=used,
            logger=loggers,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # SeededSampler already gives each rank its share
            **settings,
        )
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(f"trainer: {error}") from error
    check_processes(trainer)
    return trainer, checkpoint


def _with_run_dir(logger: Mapping[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Return a logger's settings with the placeholder ``{run_dir}`` replaced."""
    return {
        name: value.replace("{run_dir}", str(folder.path)) if isinstance(value, str) else value
        for name, value in logger.items()
    }


def fastest_precision(accelerator: str) -> str:
    """Return ``bf16-mixed`` where the hardware multiplies bfloat16 fast, else ``32-true``.

    That is on GPUs, on CPUs with AMX tiles (2.5 times as fast as float32) and on AMD CPUs with
    AVX512-BF16 (twice as fast). A Xeon without AMX tiles was 1.4 times as fast in float32
    (docs/adr/0017-mixed-precision-by-processor.md).
    """
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not _has_accelerator())
    if not on_cpu or torch.cpu._is_amx_tile_supported():
        return "bf16-mixed"
    products = torch.cpu._is_avx512_bf16_supported() and _vendor() == "AuthenticAMD"
    return "bf16-mixed" if products else "32-true"


def loader_workers(config: RunConfig, processes: int) -> int:
    """Return ``data.num_workers``; for ``auto`` none without an accelerator, else up to eight.

    On a CPU, workers would compete with the network for cores. A GPU would wait for augmentation,
    which takes 60 ms of a core per batch of 32 images of 160 pixels.

    Args:
        config: The run's configuration.
        processes: Training processes on this machine, one per device, that share its cores; with
            ``auto`` each keeps one core and uses its share of the others, at least one.
    """
    asked = config.data.num_workers
    if asked != "auto":
        return asked
    on_cpu = config.trainer.accelerator == "cpu" or not _has_accelerator()
    return 0 if on_cpu else max(1, min(_WORKERS, usable_cores() // processes - 1))


def _vendor() -> str:
    """Return the CPU's vendor from Linux's ``/proc/cpuinfo``, or an empty string."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), ""
    )


def _has_accelerator() -> bool:
    return bool(torch.accelerator.is_available())


def run_trainer(
    trainer: L.Trainer,
    classifier: L.LightningModule,
    data: L.LightningDataModule,
    *,
    resume: Path | None,
    folder: RunFolder,
) -> None:
    """Fit, from a checkpoint if one is given.

    Raises:
        ConfigError: Lightning rejects the settings.
        LostProcessError: Another process of the training has ended.
        OutputError: The run folder cannot be written.
    """
    try:
        with translated_loss(folder.checkpoints):
            trainer.fit(classifier, datamodule=data, ckpt_path=resume, weights_only=True)
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {error}") from error
    except OSError as error:
        raise OutputError(
            f"{folder.path}: the run cannot be written ({error.strerror or error}); free space and "
            "check that the folder is writable, then resume with resume=…/checkpoints/last.ckpt"
        ) from error


def resume_path(path: Path | None, classifier: nn.Module) -> Path | None:
    """Return the checkpoint to resume from, checked before anything is trained.

    Raises:
        ConfigError: It is missing, damaged, weights only, or of another network than
            ``classifier``'s; the message names the mismatches.
    """
    if path is None:
        return None
    mismatches = describe_mismatches(read_checkpoint(path)["state_dict"], classifier.state_dict())
    if mismatches:
        raise ConfigError(
            f"resume: {path} is of another network than the configured one; {mismatches}. Use the "
            "settings of the run it belongs to (its config.yaml)"
        )
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the checkpoint that ``resume`` names.

    Raises `ConfigError` if the file is missing, damaged, or holds only weights.
    """
    if not is_torch_archive(path):
        raise ConfigError(
            f"resume: {path} is missing, damaged or not a checkpoint; name a last.ckpt"
        )
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
            f"resume: {path} holds weights alone, without optimiser state; name a last.ckpt, or "
            f"start a new run from these weights (init={path})"
        )
    return dict(state)
