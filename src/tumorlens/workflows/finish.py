"""The end of a run: evaluate the model file on the test part, update its card, write a report."""

from __future__ import annotations

import json
from typing import Any

import structlog

from tumorlens.atomic import write_text
from tumorlens.errors import DataError, ExplanationUnavailableError
from tumorlens.evaluation.localization.gallery import write_gallery
from tumorlens.evaluation.localization.sanity import load_network
from tumorlens.evaluation.localization.scores import explanation_scores
from tumorlens.evaluation.performance import measure
from tumorlens.evaluation.shortcuts.suite import run_shortcut_tests
from tumorlens.evaluation.target import EvaluationTarget
from tumorlens.inference.predictor import Predictor
from tumorlens.modelfile.figures import add_figures
from tumorlens.reporting.cards import write_cards
from tumorlens.reporting.run_report import report_run
from tumorlens.workflows.execution import Trained

log = structlog.get_logger(__name__)


def finish(trained: Trained) -> None:
    """Run the steps that ``after`` enables on the model file in a run's folder.

    ``shortcuts`` and ``explain`` measure it on the test part as `tumorlens evaluate` does: the
    metrics go to ``evaluation.json``, with the hash of the file measured, and onto the model's
    cards; hits and misses go to ``explanations.html``. ``report`` writes ``report.html``. A test
    that these scans do not allow is skipped with a warning.
    """
    after, parts, folder = trained.stage.config.after, trained.parts, trained.stage.folder
    if (after.shortcuts or after.explain) and parts.records.get("test"):
        found = _measured(trained)
        write_text(folder.evaluation, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        if {"shortcuts", "explanations"} & set(found):
            card = add_figures(folder.model, [folder.evaluation], folder.model)
            write_cards(card, parts.split, parts.records, folder.path)
    if after.report:
        log.info("report written", page=str(report_run(folder.path)))


def _measured(trained: Trained) -> dict[str, Any]:
    config, folder = trained.stage.config, trained.stage.folder
    predictor, seed, after = Predictor.open(folder.model), config.seed, config.after
    records = tuple(trained.parts.records["test"])
    found: dict[str, Any] = measure(
        EvaluationTarget(predictor, records, "test", ()), seed=seed
    ).to_dict()
    if after.shortcuts:
        try:
            results = run_shortcut_tests(
                predictor, records, part="test", seed=seed, weights=folder.path
            )
            found["shortcuts"] = results.to_dict()
        except DataError as error:
            log.warning("shortcut tests skipped", reason=str(error))
    if after.explain:
        try:
            network = load_network(folder.path, predictor.card)
            scores = explanation_scores(predictor, records, network=network, seed=seed)
            write_gallery(predictor, records, scores, folder.explanations, seed=seed)
            found["explanations"] = scores.to_dict()
        except (DataError, ExplanationUnavailableError) as error:
            log.warning("localisation of the class maps skipped", reason=str(error))
    return found
