"""A finished run, or a cross-validation, as a report: report.json and report.html."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import structlog

from tumorlens.atomic import write_text
from tumorlens.data.catalogue import source_info
from tumorlens.data.splits import PARTS, RANDOM_LEAKY, read_split
from tumorlens.errors import DataError, InputError, OutputError
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.summary import Predictions, summarize, summarize_by
from tumorlens.modelfile import ModelCard, read_card
from tumorlens.reporting.cards import write_cards
from tumorlens.reporting.document import Plot, Report, to_json
from tumorlens.reporting.html import to_html
from tumorlens.reporting.intended_use import LIMITATIONS
from tumorlens.reporting.run_plots import (
    curve_plot,
    forest_plot,
    prediction_plots,
    scan_plots,
)
from tumorlens.runs.compose import read_config
from tumorlens.runs.folder import RunFolder
from tumorlens.runs.predictions import concatenated
from tumorlens.runs.provenance import read_provenance, recipe
from tumorlens.runs.reader import RunData, read_crossval

log = structlog.get_logger(__name__)

# The main part of the report: the first of these that was measured.
_PREFERRED = ("test", "validation", "calibration", "train")


def report_run(run_dir: Path, output: Path | None = None) -> Path:
    """Write ``report.json`` and ``report.html`` of a run or a cross-validation.

    A run's cards are written beside them where they are missing. Scans are shown if the run's data
    is available; otherwise the report notes that they are missing.

    Args:
        run_dir: As `train` or `crossvalidate` leaves it.
        output: Folder to write to; the run's own when None.

    Returns:
        The page's path.

    Raises:
        ModelFileError: The run has no usable ``model.onnx``.
        DataError, ConfigError: Its predictions or settings are missing or damaged.
        OutputError: The folder cannot be written.
    """
    if RunFolder(run_dir).crossval.is_file():
        return write_report(_crossval_report(run_dir), output or run_dir)
    data = RunData(run_dir)
    page = write_report(_run_report(run_dir, data), output or run_dir)
    _add_cards(run_dir, data, page.parent)
    return page


def write_report(report: Report, folder: Path) -> Path:
    """Write a report's JSON and HTML atomically; return the page's path."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created ({error})") from error
    for name, text in (("report.json", to_json(report)), ("report.html", to_html(report))):
        write_text(folder / name, text)
    return folder / "report.html"


def _run_report(run_dir: Path, data: RunData) -> Report:
    predictor = Predictor.open(data.folder.model, threads=1)
    card, config = predictor.card, data.config
    predictions = data.predictions(predictor)
    part = next((name for name in _PREFERRED if name in predictions), None)
    if part is None:
        raise DataError(f"{run_dir}: no part of the split was measured")
    main, seed = predictions[part], config.seed
    metrics = summarize(main, seed=seed)
    by_source = summarize_by(main, main.sources)
    by_view = summarize_by(main, main.views)
    scans, note = _scans(run_dir, data, predictor, main, seed)
    plots = (
        *prediction_plots(main, part, seed),
        *forest_plot({"all": metrics, **by_source}, "source"),
        *forest_plot({"all": metrics, **by_view}, "view"),
        *curve_plot(run_dir),
        *scans,
    )
    return Report(
        title=f"{card.name} {card.version}",
        created=_today(),
        part=part,
        metrics=metrics,
        facts=_facts(card, predictor.sha256, predictions, run_dir),
        notes=(*_leaks(predictions, part), *note),
        parts={name: summarize(table, seed=seed) for name, table in predictions.items()},
        sources=by_source,
        views=by_view,
        settings=card.recipe,
        data=tuple(source.model_dump() for source in card.data),
        limitations=card.limitations,
        plots=plots,
    )


def _crossval_report(run_dir: Path) -> Report:
    folder = RunFolder(run_dir)
    config = read_config(folder.config)
    plan, folds = read_crossval(run_dir)
    seed, n_folds, repeats = config.seed, plan["folds"], plan["repeats"]
    main = concatenated(list(folds.values()))
    metrics = summarize(main, seed=seed)
    rounds = {
        f"repeat {repeat}": summarize(
            concatenated([t for name, t in folds.items() if name.startswith(f"r{repeat}/")]),
            seed=seed,
        )
        for repeat in range(repeats)
    }
    single = {f"fold {name}": summarize(table, seed=seed) for name, table in folds.items()}
    by_source = summarize_by(main, main.sources)
    by_view = summarize_by(main, main.views)
    first = next(iter(folds)).replace("/", "-")
    curves = [replace(p, title=f"{p.title} of fold {first}") for p in curve_plot(run_dir / first)]
    return Report(
        title=f"{config.name}: {n_folds}-fold cross-validation",
        created=_today(),
        part="out-of-fold",
        metrics=metrics,
        facts={
            "architecture": config.model.architecture,
            "folds": f"{n_folds} grouped folds, drawn {repeats} times; groups never cross",
            "predictions": f"{len(main)} on {len(set(main.keys))} scans in "
            f"{len(set(main.groups.tolist()))} groups",
            "threshold": "each fold's own, chosen on its calibration scans",
        },
        parts={**rounds, **single},
        sources=by_source,
        views=by_view,
        settings=recipe(config, read_provenance(folder.provenance)),
        data=tuple(_known(name, main) for name in sorted(set(main.sources))),
        limitations=LIMITATIONS,
        plots=(
            *prediction_plots(main, "out-of-fold", seed),
            *forest_plot({"all": metrics, **single}, "fold"),
            *forest_plot({"all": metrics, **by_source}, "source"),
            *forest_plot({"all": metrics, **by_view}, "view"),
            *curves,
        ),
    )


def _scans(
    run_dir: Path, data: RunData, predictor: Predictor, predictions: Predictions, seed: int
) -> tuple[list[Plot], tuple[str, ...]]:
    try:
        records = {record.key: record for record in data.records}
        missing = set(predictions.keys) - set(records)
        if missing:
            raise DataError(f"{len(missing)} scans are not in the data, first {min(missing)}")
        return scan_plots(predictor, data.folder.weights, predictions, records, seed), ()
    except (DataError, InputError) as error:
        log.warning("report without scans", reason=str(error))
        return [], ("Scans are not shown: the run's data was not available.",)


def _add_cards(run_dir: Path, data: RunData, folder: Path) -> None:
    """Write the cards of a run without them, if its data is available."""
    if (folder / "MODEL_CARD.md").exists():
        return
    try:
        split, records = read_split(data.folder.split), data.grouped
        parts = {part: split.records(part, records) for part in PARTS}
    except (DataError, InputError) as error:
        log.warning("cards skipped", reason=str(error))
        return
    parts = {part: members for part, members in parts.items() if members}
    write_cards(read_card(data.folder.model), split, parts, folder)


def _leaks(predictions: Mapping[str, Predictions], part: str) -> tuple[str, ...]:
    """Return a note if the measured scans share groups with the training scans."""
    if part == "train":
        return (
            "These metrics are on training scans; they do not estimate performance on new scans.",
        )
    seen = set(predictions["train"].groups.tolist()) if "train" in predictions else set()
    leaked = [group for group in predictions[part].groups.tolist() if group >= 0 and group in seen]
    if not leaked:
        return ()
    return (
        f"{len(leaked)} of {len(predictions[part])} {part} scans share a group of near-duplicates "
        "or of one person with training scans: these metrics are optimistically biased.",
    )


def _facts(
    card: ModelCard, sha256: str, predictions: Mapping[str, Predictions], run_dir: Path
) -> dict[str, str]:
    split = read_split(RunFolder(run_dir).split)
    leaky = " (near-duplicates may be on both sides)" if split.name == RANDOM_LEAKY else ""
    return {
        "architecture": card.architecture,
        "model file": f"sha256 {sha256}",
        "made": card.created,
        "input": card.preprocess.describe(),
        "class map": f"pooled by {card.pooling.kind}" if card.pooling else "none",
        "temperature": f"{card.temperature:.4g}",
        "bias": f"{card.bias:.4g}",
        "threshold": f"{card.threshold.value:.4g} ({card.threshold.origin})",
        "split": f"{split.name}{leaky}, seed {split.seed}, sha256 {split.sha256}",
        "scans measured": ", ".join(f"{name} {len(table)}" for name, table in predictions.items()),
    }


def _known(name: str, predictions: Predictions) -> dict[str, Any]:
    info = asdict(source_info(name))
    n = len({key for key, source in zip(predictions.keys, predictions.sources, strict=True)
             if source == name})  # fmt: skip
    return {"source": name, "n": n, "licence": info["licence"], "citation": info["citation"]}


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
