"""A run as a flat plan of stages, and which of them are still to be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.drawn_data import evidence_settings
from tumorlens.errors import ConfigError
from tumorlens.runs.compose import compose_config
from tumorlens.runs.config import RunConfig
from tumorlens.runs.folder import RunFolder
from tumorlens.workflows.stages import Stage, outstanding, plan

PAIR = "members=[{},{model:{arguments:{instance_norm:true}}}]"
STAGES = {
    "member_1/pretrain": "pretrain",
    "member_1": "finetune",
    "member_2/pretrain": "pretrain",
    "member_2": "finetune",
    ".": "ensemble",
}


def config_of(run_dir: Path, *overrides: str) -> RunConfig:
    return compose_config(evidence_settings(run_dir, run_dir, *overrides))


@pytest.fixture
def stages(tmp_path: Path) -> list[Stage]:
    config = config_of(tmp_path, PAIR, "+finetune.optimizer.lr=0.0002", "score_test=true")
    return plan(config, RunFolder(tmp_path))


def done(stage: Stage) -> None:
    stage.folder.path.mkdir(parents=True, exist_ok=True)
    stage.folder.model.touch()


def test_every_member_has_two_trainings_and_the_ensemble_comes_last(
    stages: list[Stage], tmp_path: Path
) -> None:
    named = {str(each.folder.path.relative_to(tmp_path)): each.name for each in stages}
    assert named == STAGES
    assert [each.config.optimizer.lr for each in stages] == [0.001, 0.0002, 0.001, 0.0002, 0.0002]
    assert [each.config.seed for each in stages] == [0, 0, 1, 1, 0]
    assert {each.config.data.split.seed for each in stages} == {0}
    assert [each.config.score_test for each in stages] == [False] * 4 + [True]
    for each in stages:
        assert each.config.members is None
        assert each.config.finetune is None
    assert stages[1].config.init == str(tmp_path / "member_1" / "pretrain")
    assert stages[4].sources == (stages[1].folder, stages[3].folder)
    own = stages[4].config.model.arguments["own"]
    assert own == [{}, {"instance_norm": True}]


@pytest.mark.parametrize(
    ("finished", "resumed", "left"),
    [
        ([], None, [0, 1, 2, 3, 4]),
        ([0, 1], None, [2, 3, 4]),
        ([0, 1, 2, 3, 4], None, [4]),  # the last is always done
        ([1, 3], None, [4]),  # what a finished stage started from is not needed any more
        ([0, 2, 3], None, [1, 4]),
        ([0, 1, 2, 3, 4], 2, [2, 3, 4]),  # what starts from a resumed training changes with it
        ([0, 1, 2, 3], 1, [1, 4]),
    ],
)
def test_what_is_done_is_not_done_again(
    finished: list[int], resumed: int | None, left: list[int], stages: list[Stage]
) -> None:
    for at in finished:
        done(stages[at])
    found = outstanding(stages, None if resumed is None else stages[resumed])
    assert found == [stages[at] for at in left]


def test_a_run_without_more_is_one_training(tmp_path: Path) -> None:
    (only,) = plan(config_of(tmp_path), RunFolder(tmp_path))
    assert (only.name, only.sources) == ("train", ())
    done(only)
    assert outstanding([only], None) == [only]


def test_arguments_that_no_network_takes_are_refused_before_anything_is_done(
    tmp_path: Path,
) -> None:
    config = config_of(tmp_path, "members=[{},{model:{arguments:{depths:18}}}]")
    with pytest.raises(ConfigError, match=r"'evidence': .*depths"):
        plan(config, RunFolder(tmp_path))
