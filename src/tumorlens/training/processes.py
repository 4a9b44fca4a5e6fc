"""Training in several processes: what their launcher started, and the loss of one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import distributed

from tumorlens.errors import ConfigError, LostProcessError


def check_processes(trainer: L.Trainer) -> None:
    """Refuse settings for another number of processes than torchrun has started.

    Lightning itself checks this for distributed strategies only, so with the default settings each
    process would train a network of its own, and all would write to one folder.
    Raises `ConfigError`.
    """
    if not TorchElasticEnvironment.detect():
        return
    started = TorchElasticEnvironment().world_size()
    if trainer.num_devices * trainer.num_nodes != started:
        raise ConfigError(
            f"torchrun started {started} processes, but trainer.devices and trainer.num_nodes ask "
            f"for {trainer.num_devices} × {trainer.num_nodes}; set trainer.devices to the "
            "processes of a machine (--nproc-per-node), trainer.num_nodes to the machines "
            "(--nnodes), and trainer.strategy=ddp"
        )


@contextmanager
def translated_loss(checkpoints: Path) -> Iterator[None]:
    """Raise `LostProcessError` where another process of the training has ended in the block.

    ``checkpoints`` is the folder of the checkpoint to resume from, for the message.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_loss(error):
            raise
        raise LostProcessError(
            "the connection to another process of this training was lost, so the training stops; "
            "the log of the process that ended first says why. To go on, repeat the command on "
            f"all machines with resume={checkpoints / 'last.ckpt'}"
        ) from error


def _is_loss(error: RuntimeError) -> bool:
    # NCCL and the store have exception classes; Gloo's errors are told by their source file alone.
    return isinstance(error, distributed.DistError) or "/gloo/" in str(error)
