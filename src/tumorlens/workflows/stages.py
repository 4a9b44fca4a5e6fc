"""The trainings that one run is made of: a polishing after the first, members side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, ConfigTypeError

from tumorlens.errors import ConfigError
from tumorlens.runs.config import plain
from tumorlens.training.trainer import CHECKPOINTS, read_checkpoint
from tumorlens.workflows.finish import NOTHING

MEMBER_DIR = "member_{}"
"""Folder, in that of a run with ``members``, of each, counted from 1."""

FIRST = "first"
"""Folder, in that of a run with ``polish``, of the training it goes on from."""


def polish_stages(config: DictConfig, run_dir: Path) -> list[tuple[DictConfig, Path]]:
    """Return the two trainings of a run with ``polish``, and their folders, in order.

    Raises `ConfigError` when a setting of ``polish`` is none.
    """
    second = merged(
        _changed(config, config.polish, "polish"), {"polish": None, "init": str(run_dir / FIRST)}
    )
    quiet = {"guard": False, "score_test": False, "after": NOTHING}
    # Another seed draws other pictures from the same parts.
    same = {"data": {"split": {"seed": second.data.split.seed}}}
    first = merged(config, {"polish": None, **quiet, **same})
    return [(first, run_dir / FIRST), (second, run_dir)]


def training_folders(config: DictConfig, run_dir: Path) -> list[Path]:
    """Return the folder of each training of a run without ``members``.

    Raises as `polish_stages` does.
    """
    if config.get("polish") is None:
        return [run_dir]
    return [folder for _, folder in polish_stages(config, run_dir)]


def resumed_folder(resume: str | None, folders: Sequence[Path]) -> Path | None:
    """Return which of these folders of trainings ``resume`` goes on in, or None without ``resume``.

    A training's checkpoints lie in its folder itself, or in `CHECKPOINTS` there.

    Raises:
        ConfigError: The file is of none of these trainings, or no checkpoint.
    """
    if resume is None:
        return None
    path = Path(resume)
    beside = path.parent.resolve()
    for folder in folders:
        if beside in (folder.resolve(), (folder / CHECKPOINTS).resolve()):
            read_checkpoint(path)
            return folder
    *others, last = (str(folder / CHECKPOINTS) for folder in folders)
    named = f"{', '.join(others)} or {last}" if others else last
    raise ConfigError(
        f"resume: {path} is of none of this run's trainings; name the last.ckpt in {named}, or, "
        "where it is of another run, set run_dir to that run's folder"
    )


def members_of(config: DictConfig) -> list[DictConfig]:
    """Return the configuration of each of ``members``.

    Its seed is one more than the one's before, unless it has a seed of its own. Where ``init`` is
    an ensemble, it starts from the member in its own place. No guard is fitted to it and its
    weights are not rounded, both of which come to the ensemble; the test is not its own either.
    Raises `ConfigError` when that cannot be.
    """
    if not isinstance(config.members, ListConfig):
        raise ConfigError("members is no list; give the settings of each: members=[{},{seed: 3}]")
    if config.model.architecture != "evidence":
        raise ConfigError(f"members are evidence networks, not {config.model.architecture}")
    alike = {
        "members": None, "guard": False, "score_test": False, "after": NOTHING, "weight_bits": 32,
        "data": {"split": {"seed": config.data.split.seed}},
    }  # fmt: skip
    members = [
        _changed(
            merged(config, {**alike, "seed": config.seed + at, "init_member": at}),
            own or {},
            "members",
        )
        for at, own in enumerate(config.members)
    ]
    for at, member in enumerate(members, start=1):
        for setting in ("architecture", "preprocess"):
            if member.model[setting] != config.model[setting]:
                raise ConfigError(
                    f"members: number {at} has a model.{setting} of its own, but all see one input "
                    "and are of one kind; set it for the whole run"
                )
    return members


def whole_of(config: DictConfig, members: Sequence[DictConfig]) -> DictConfig:
    """Return the configuration of an ensemble: its data are what polishing learnt.

    It starts from nothing and trains nothing. Its network's arguments are the configured ones,
    and ``own`` tells what members have instead. Raises `ConfigError` for a wrong ``polish``.
    """
    whole = config if config.get("polish") is None else _changed(config, config.polish, "polish")
    whole = merged(whole, {
        "members": None, "polish": None, "resume": None, "init": None, "init_member": 0,
        "model": {"architecture": "ensemble"},
    })  # fmt: skip
    common = {**plain(config.model.arguments), "weights": None}
    given = [{**plain(member.model.arguments), "weights": None} for member in members]
    own = [
        {name: value for name, value in each.items() if value != common.get(name)} for each in given
    ]
    arguments = {**common, "members": len(members)}
    if any(own):
        arguments["own"] = own
    OmegaConf.update(whole, "model.arguments", arguments, merge=False, force_add=True)
    return whole


def _changed(
    config: DictConfig, changes: DictConfig | Mapping[str, object], setting: str
) -> DictConfig:
    try:
        return merged(config, changes)
    except (ConfigKeyError, ConfigTypeError, ValueError) as error:
        raise ConfigError(f"{setting}: {str(error).splitlines()[0]}") from error


def merged(config: DictConfig, changes: DictConfig | Mapping[str, object]) -> DictConfig:
    """Return a configuration with some of its settings changed."""
    changed = OmegaConf.merge(config, changes)
    assert isinstance(changed, DictConfig)
    return changed
