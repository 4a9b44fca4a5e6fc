"""A run as a flat plan of stages: of each member a training or two, then their ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tumorlens.errors import ConfigError
from tumorlens.models.registry import check_arguments
from tumorlens.runs.config import AfterConfig, RunConfig, check_one_process
from tumorlens.runs.folder import RunFolder
from tumorlens.training.trainer import read_checkpoint


@dataclass(frozen=True)
class Stage:
    """One training, or the ensemble of several.

    Attributes:
        name: ``train``, or ``pretrain`` and ``finetune``, or ``ensemble``.
        folder: Where its results go.
        config: Its settings, without stages of their own.
        sources: Folders of the stages whose weights it starts from, or joins.
    """

    name: str
    folder: RunFolder
    config: RunConfig
    sources: tuple[RunFolder, ...] = ()

    @property
    def joins(self) -> bool:
        """Whether it makes an ensemble of other stages' networks, and fits nothing."""
        return self.name == "ensemble"


def plan(config: RunConfig, folder: RunFolder) -> list[Stage]:
    """Return the stages of a run in order; the last one's results are the run's.

    With ``members`` there are stages for each of them, in folders of their own, and at the end
    their ensemble. With ``finetune`` a training has two: first without an out-of-distribution
    detector and without the test, then from its weights with the settings of ``finetune``.

    Raises:
        ConfigError: A setting of ``members`` or ``finetune`` is none, or cannot be; or a network
            does not take the configured arguments.
    """
    if config.members is None:
        stages = _trainings(config, folder)
    else:
        members = member_configs(config)
        own = [(each, folder.member(at)) for at, each in enumerate(members, start=1)]
        ensemble = Stage(
            "ensemble", folder, ensemble_config(config, members),
            tuple(own_folder for _, own_folder in own),
        )  # fmt: skip
        stages = [*(stage for member in own for stage in _trainings(*member)), ensemble]
    for stage in stages:
        check_arguments(stage.config.model.architecture, **stage.config.model.arguments)
    if len(stages) > 1:
        check_one_process(config, "members" if config.members is not None else "finetune")
    return stages


def _trainings(config: RunConfig, folder: RunFolder) -> list[Stage]:
    if config.finetune is None:
        return [Stage("train", folder, replace(config, resume=None))]
    whole = replace(config, finetune=None, resume=None)
    second = replace(
        whole.changed(config.finetune, "finetune"), init=str(folder.pretrain.path), init_member=0
    )
    # Another seed draws other images from the same parts.
    split = replace(config.data.split, seed=second.data.split.seed)
    first = replace(_unmeasured(whole), data=replace(config.data, split=split))
    return [
        Stage("pretrain", folder.pretrain, first),
        Stage("finetune", folder, second, (folder.pretrain,)),
    ]


def _unmeasured(config: RunConfig) -> RunConfig:
    """Return the settings of a network that others are made of."""
    return replace(config, ood_detector=False, score_test=False, after=AfterConfig())


def member_configs(config: RunConfig) -> list[RunConfig]:
    """Return the settings of each of ``members``.

    Its seed is one more than the one's before, unless it has a seed of its own. Where ``init`` is
    an ensemble, it starts from the member in its own place. No detector is fitted to it and its
    weights are not rounded, both of which come to the ensemble; the test is not its own either.

    Raises:
        ConfigError: A setting is none, or members differ in architecture or input.
    """
    assert config.members is not None
    if config.model.architecture != "evidence":
        raise ConfigError(f"members are evidence networks, not {config.model.architecture}")
    alike = replace(_unmeasured(config), members=None, weight_bits=32)
    members = [
        replace(alike, seed=config.seed + at, init_member=at).changed(own, "members")
        for at, own in enumerate(config.members)
    ]
    for at, member in enumerate(members, start=1):
        for setting in ("architecture", "preprocess"):
            if getattr(member.model, setting) != getattr(config.model, setting):
                raise ConfigError(
                    f"members: number {at} has a model.{setting} of its own, but all see one input "
                    "and are of one kind; set it for the whole run"
                )
    return members


def ensemble_config(config: RunConfig, members: Sequence[RunConfig]) -> RunConfig:
    """Return the settings of an ensemble: its data are what fine-tuning learnt from.

    It starts from nothing and trains nothing. Its network's arguments are the configured ones,
    and ``own`` tells what members have instead. Raises `ConfigError` for a wrong ``finetune``.
    """
    whole = config if config.finetune is None else config.changed(config.finetune, "finetune")
    common = {**config.model.arguments, "weights": None}
    given = [{**member.model.arguments, "weights": None} for member in members]
    own = [
        {name: value for name, value in each.items() if value != common.get(name)} for each in given
    ]
    arguments: dict[str, Any] = {**common, "members": len(members)}
    if any(own):
        arguments["own"] = own
    model = replace(whole.model, architecture="ensemble", arguments=arguments)
    return replace(
        whole, model=model, members=None, finetune=None, resume=None, init=None, init_member=0
    )


def resumed_stage(resume: Path | None, stages: Sequence[Stage]) -> Stage | None:
    """Return the training that ``resume`` goes on in, or None without ``resume``.

    A training's checkpoints lie in its folder itself, or in ``checkpoints`` there. A run of one
    training goes on from any file.

    Raises:
        ConfigError: The file is of none of these trainings, or no checkpoint.
    """
    if resume is None:
        return None
    if len(stages) == 1:
        return stages[0]
    trainings = [stage for stage in stages if not stage.joins]
    beside = resume.parent.resolve()
    for stage in trainings:
        if beside in (stage.folder.path.resolve(), stage.folder.checkpoints.resolve()):
            read_checkpoint(resume)
            return stage
    *others, last = (str(stage.folder.checkpoints) for stage in trainings)
    raise ConfigError(
        f"resume: {resume} is of none of this run's trainings; name the last.ckpt in "
        f"{', '.join(others)} or {last}, or, where it is of another run, set run_dir to that "
        "run's folder"
    )


def outstanding(stages: Sequence[Stage], resumed: Stage | None) -> list[Stage]:
    """Return the stages that are still to be done, in order.

    They are the last one, the resumed one, those that one of them needs and that have no model
    file yet, and those whose sources change.
    """
    needed = {stages[-1].folder, *([resumed.folder] if resumed else [])}
    for stage in reversed(stages):
        if stage.folder in needed and (stage is stages[-1] or not stage.folder.model.is_file()):
            needed |= set(stage.sources)
    todo: list[Stage] = []
    for stage in stages:
        renewed = any(each.folder in stage.sources for each in todo)
        missing = stage.folder in needed and not stage.folder.model.is_file()
        if stage is stages[-1] or stage == resumed or renewed or missing:
            todo.append(stage)
    return todo
