"""A run as a flat plan of stages: one or two trainings per member, then their ensemble."""

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
        config: Its settings, without ``members`` and ``finetune``.
        sources: Folders of the stages whose weights it starts from or joins.
    """

    name: str
    folder: RunFolder
    config: RunConfig
    sources: tuple[RunFolder, ...] = ()

    @property
    def joins(self) -> bool:
        """Whether the stage joins other stages' networks into an ensemble instead of training."""
        return self.name == "ensemble"


def plan(config: RunConfig, folder: RunFolder) -> list[Stage]:
    """Return the stages of a run in order; the last one's results are the run's.

    With ``members`` each has its own stages, in its own folder, and their ensemble comes last. With
    ``finetune`` a training has two stages: ``pretrain``, without an out-of-distribution detector
    and without the test part, then ``finetune`` from its weights, with the changed settings.

    Raises:
        ConfigError: A setting of ``members`` or ``finetune`` is unknown or invalid, or a network
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
    # ``finetune.seed`` may differ; the split stays that of the second stage.
    split = replace(config.data.split, seed=second.data.split.seed)
    first = replace(_unmeasured(whole), data=replace(config.data, split=split))
    return [
        Stage("pretrain", folder.pretrain, first),
        Stage("finetune", folder, second, (folder.pretrain,)),
    ]


def _unmeasured(config: RunConfig) -> RunConfig:
    """Return the settings of an intermediate network: no detector, test or evaluation."""
    return replace(config, ood_detector=False, score_test=False, after=AfterConfig())


def member_configs(config: RunConfig) -> list[RunConfig]:
    """Return the settings of each of ``members``.

    Member ``i`` has seed ``seed + i`` unless it sets its own, and starts from member ``i`` where
    ``init`` is an ensemble. OOD detector, rounding of weights and test part are left to the
    ensemble.

    Raises:
        ConfigError: A setting is unknown or invalid, or members differ in architecture or input.
    """
    assert config.members is not None
    if config.model.architecture != "evidence":
        raise ConfigError(f"members are evidence networks, not {config.model.architecture}")
    common = replace(_unmeasured(config), members=None, weight_bits=32)
    members = [
        replace(common, seed=config.seed + at, init_member=at).changed(own, "members")
        for at, own in enumerate(config.members)
    ]
    for at, member in enumerate(members, start=1):
        for setting in ("architecture", "preprocess"):
            if getattr(member.model, setting) != getattr(config.model, setting):
                raise ConfigError(
                    f"members: number {at} has its own model.{setting}, but all members share one "
                    "input and architecture; set it for the whole run"
                )
    return members


def ensemble_config(config: RunConfig, members: Sequence[RunConfig]) -> RunConfig:
    """Return the settings of an ensemble, whose data are those of the fine-tuning stage.

    Its network takes the configured arguments; ``own`` lists what each member changes.
    Raises `ConfigError` for an invalid ``finetune``.
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
    """Return the training stage that ``resume`` continues, or None without ``resume``.

    The file must be in a stage's folder or in ``checkpoints`` there, unless the run has only one
    stage.

    Raises:
        ConfigError: The file belongs to none of these stages, or is not a checkpoint.
    """
    if resume is None:
        return None
    if len(stages) == 1:
        return stages[0]
    trainings = [stage for stage in stages if not stage.joins]
    parent = resume.parent.resolve()
    for stage in trainings:
        if parent in (stage.folder.path.resolve(), stage.folder.checkpoints.resolve()):
            read_checkpoint(resume)
            return stage
    *others, last = (str(stage.folder.checkpoints) for stage in trainings)
    raise ConfigError(
        f"resume: {resume} is of none of this run's trainings; name the last.ckpt in "
        f"{', '.join(others)} or {last}, or set run_dir to the folder of the run to "
        "resume"
    )


def outstanding(stages: Sequence[Stage], resumed: Stage | None) -> list[Stage]:
    """Return the stages still to execute, in order.

    These are the last one, the resumed one, those they need that have no model file yet, and those
    whose sources change.
    """
    needed = {stages[-1].folder, *([resumed.folder] if resumed else [])}
    for stage in reversed(stages):
        if stage.folder in needed and (stage is stages[-1] or not stage.folder.model.is_file()):
            needed |= set(stage.sources)
    todo: list[Stage] = []
    for stage in stages:
        stale = any(each.folder in stage.sources for each in todo)
        missing = stage.folder in needed and not stage.folder.model.is_file()
        if stage is stages[-1] or stage == resumed or stale or missing:
            todo.append(stage)
    return todo
