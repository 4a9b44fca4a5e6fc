"""The end of a run: its model file measured on the test part, told on its card, and a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import structlog
from omegaconf import DictConfig, OmegaConf

from tumorlens.atomic import atomic_file
from tumorlens.errors import ConfigError, DataError, ExplanationUnavailableError
from tumorlens.evaluation.localization.gallery import write_gallery
from tumorlens.evaluation.localization.sanity import load_network
from tumorlens.evaluation.localization.scores import explanation_scores
from tumorlens.evaluation.performance import measure
from tumorlens.evaluation.shortcuts.probes import check_installed
from tumorlens.evaluation.shortcuts.suite import run_shortcut_tests
from tumorlens.evaluation.target import EvaluationTarget
from tumorlens.inference.predictor import Predictor
from tumorlens.modelfile.figures import add_figures
from tumorlens.reporting.cards import write_cards
from tumorlens.reporting.run_report import report_run
from tumorlens.training.decoding import Parts
from tumorlens.workflows.package import MODEL_NAME

log = structlog.get_logger(__name__)

EVALUATION_NAME = "evaluation.json"
GALLERY_NAME = "explanations.html"
NOTHING: dict[str, bool] = {"shortcuts": False, "explain": False, "report": False}
"""Settings of ``after`` with which a run ends at its model file."""


def check_finish(config: DictConfig) -> None:
    """Refuse settings that could only fail once everything is trained.

    Raises:
        ConfigError: ``after`` measures the test part, and ``score_test`` does not allow it; or it
            does, and the split leaves no scan there.
        MissingExtraError: scikit-learn is not installed, and the shortcut tests need it.
    """
    after = _after(config)
    asked = [name for name in ("shortcuts", "explain") if after[name]]
    if asked and not config.score_test:
        off = " ".join(f"after.{name}=false" for name in asked)
        raise ConfigError(
            f"after.{asked[0]} measures the test part; set score_test=true when the time for that "
            f"has come, or {off}"
        )
    split = config.data.split
    if config.score_test and split.path is None and not split.held_out and not float(split.test):
        raise ConfigError(
            "data.split leaves no scan to test: name a source with data.split.held_out=[NAME], "
            "give data.split.test a share, or set score_test=false"
        )
    if after["shortcuts"]:
        check_installed()


def finish(config: DictConfig, parts: Parts, run_dir: Path) -> None:
    """Do what ``after`` asks for with the model file in a run's folder.

    ``shortcuts`` and ``explain`` measure it on the test part as `tumorlens evaluate` does: the
    figures go to ``evaluation.json``, which names the file as it was then, and onto the model's
    cards; hits and misses to ``explanations.html``. ``report`` writes ``report.html``. What these
    scans do not allow is named in the log, and the run is none the worse for it.
    """
    after = _after(config)
    if (after["shortcuts"] or after["explain"]) and parts.records.get("test"):
        found = _measured(config, parts, run_dir, after)
        with atomic_file(run_dir / EVALUATION_NAME) as stream:
            stream.write((json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
        if {"shortcuts", "explanations"} & set(found):
            model = run_dir / MODEL_NAME
            card = add_figures(model, [run_dir / EVALUATION_NAME], model)
            write_cards(card, parts.split, parts.records, run_dir)
    if after["report"]:
        log.info("report written", page=str(report_run(run_dir)))


def _measured(
    config: DictConfig, parts: Parts, run_dir: Path, after: dict[str, bool]
) -> dict[str, Any]:
    predictor, seed = Predictor.open(run_dir / MODEL_NAME), int(config.seed)
    records = tuple(parts.records["test"])
    found: dict[str, Any] = measure(
        EvaluationTarget(predictor, records, "test", ()), seed=seed
    ).to_dict()
    if after["shortcuts"]:
        try:
            results = run_shortcut_tests(
                predictor, records, part="test", seed=seed, weights=run_dir
            )
            found["shortcuts"] = results.to_dict()
        except DataError as error:
            log.warning("no shortcut tests", reason=str(error))
    if after["explain"]:
        try:
            network = load_network(run_dir, predictor.card)
            scores = explanation_scores(predictor, records, network=network, seed=seed)
            write_gallery(predictor, records, scores, run_dir / GALLERY_NAME, seed=seed)
            found["explanations"] = scores.to_dict()
        except (DataError, ExplanationUnavailableError) as error:
            log.warning("maps not measured", reason=str(error))
    return found


def _after(config: DictConfig) -> dict[str, bool]:
    # Runs made before there was such a setting ended at their model file.
    given = config.get("after")
    settings = {} if given is None else OmegaConf.to_container(given)
    return {**NOTHING, **settings}  # type: ignore[dict-item]
