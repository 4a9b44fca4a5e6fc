"""``tumorlens evaluate``: metrics of a model file on labelled images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tumorlens.cli.app import print_error, require
from tumorlens.cli.output import open_output
from tumorlens.cli.tables import (
    Progress,
    open_console,
    progress_bar,
    show_curves,
    show_evaluation,
    show_explanations,
    show_shortcuts,
)

if TYPE_CHECKING:
    from rich.console import Console

    from tumorlens.evaluation.target import EvaluationTarget


class Format(StrEnum):
    """Output format."""

    table = "table"
    json = "json"


@dataclass(frozen=True)
class Section:
    """One section of the output: its keys in the JSON document, and how it is shown as text.

    Each section is built by one function below; `evaluate` calls them in output order.
    """

    content: dict[str, Any]
    show: Callable[[Console], None]


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    data: Annotated[
        list[str],
        typer.Argument(help="Labelled data sets: folders, manifests or source names."),
    ],
    split: Annotated[
        Path | None, typer.Option(help="Split file, such as a run's split.json: evaluate one part.")
    ] = None,
    part: Annotated[str, typer.Option(help="Part of the split.")] = "test",
    output_format: Annotated[Format, typer.Option("--format", help="Output format.")] = (
        Format.table
    ),
    output: Annotated[
        Path | None, typer.Option(help="Write to this file instead of stdout.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the bootstrap.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network.  [default: all cores]")
    ] = None,
    shortcuts: Annotated[
        bool,
        typer.Option("--shortcuts", help="Test for predictions based on anything but tumours."),
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Run folder of the model: --shortcuts and --explain also inspect its network."
        ),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option("--robustness", help="Also evaluate under ten image corruptions."),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Plot of --robustness: a .png or .svg file.")
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Compare the heat maps with baselines on annotated tumours."
        ),
    ] = False,
    gallery: Annotated[
        Path | None,
        typer.Option(
            help="HTML page of hits and misses.  [default: explanations.html in --weights]"
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=20, help="Images for --shortcuts, --robustness and --explain.  [default: all]"
        ),
    ] = None,
) -> None:
    """Evaluate a model file on labelled images, at the calibration and threshold of its card.

    Every metric has a 95 % interval (bootstrap over groups of near-duplicates and patients),
    overall, by source and by known view. Warns when the model was trained on some of the images.
    """
    from tumorlens.evaluation.target import choose_target

    if weights is not None and not (shortcuts or explain):
        raise typer.BadParameter(
            "only --shortcuts and --explain inspect a network", param_hint="--weights"
        )
    if gallery is not None and not explain:
        raise typer.BadParameter("only --explain writes a gallery", param_hint="--gallery")
    if plot is not None:
        if not robustness:
            raise typer.BadParameter("only --robustness has curves to plot", param_hint="--plot")
        _image_format(plot)
        require("train", "evaluate --plot", "matplotlib", "seaborn")
    if shortcuts:
        require("audit", "the shortcut tests", "sklearn")
    target = choose_target(model, data, split=split, part=part, threads=threads)
    with progress_bar() as stage:
        sections = [_metrics(target, seed, stage("reading images"))]
        if shortcuts:
            sections.append(_shortcuts(target, weights, limit, seed, stage("shortcut tests")))
        if robustness:
            sections.append(_robustness(target, plot, limit, seed, stage("corrupted images")))
        if explain:
            bar = stage("explanations")
            sections.append(_explanations(target, weights, gallery, limit, seed, bar))
    with open_output(output) as out:
        if output_format is Format.json:
            document = {key: value for each in sections for key, value in each.content.items()}
            out.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        else:
            console = open_console(out)
            for section in sections:
                section.show(console)
    if output_format is Format.json or output is not None:
        for warning in target.warnings:
            print_error(f"warning: {warning}")


def _metrics(target: EvaluationTarget, seed: int, progress: Progress) -> Section:
    """Evaluate every metric: overall, by source and by view."""
    from tumorlens.evaluation.performance import measure

    results = measure(target, seed=seed, progress=progress)
    return Section(results.to_dict(), lambda console: show_evaluation(results, console))


def _shortcuts(
    target: EvaluationTarget, weights: Path | None, limit: int | None, seed: int, progress: Progress
) -> Section:
    """Run the shortcut tests, which remove, insert or exchange parts of scans."""
    from tumorlens.evaluation.shortcuts.suite import run_shortcut_tests

    part = target.part or "all records"
    results = run_shortcut_tests(
        target.predictor, target.records, part=part, weights=weights,
        limit=limit, seed=seed, progress=progress,
    )  # fmt: skip
    return Section(
        {"shortcuts": results.to_dict()}, lambda console: show_shortcuts(results, console)
    )


def _robustness(
    target: EvaluationTarget, plot: Path | None, limit: int | None, seed: int, progress: Progress
) -> Section:
    """Measure ROC-AUC, sensitivity and specificity at five levels of ten corruptions."""
    from tumorlens.evaluation.robustness import robustness_curves

    part = target.part or "all records"
    results = robustness_curves(
        target.predictor, target.records, part=part, limit=limit, seed=seed, progress=progress
    )
    if plot is not None:
        from tumorlens.atomic import atomic_file
        from tumorlens.plots.style import encode

        with atomic_file(plot) as stream:
            stream.write(encode(results.plot(), _image_format(plot)))
    return Section({"robustness": results.to_dict()}, lambda console: show_curves(results, console))


def _explanations(
    target: EvaluationTarget, weights: Path | None, gallery: Path | None, limit: int | None,
    seed: int, progress: Progress,
) -> Section:  # fmt: skip
    """Score the heat maps on annotated tumours, and write the gallery of hits and misses.

    With ``weights``, the network of that run folder is examined too (needs torch).
    """
    from tumorlens.evaluation.localization.gallery import write_gallery
    from tumorlens.evaluation.localization.scores import explanation_scores

    network = None
    if weights is not None:
        require("train", "evaluate --weights", "torch", "monai")
        from tumorlens.evaluation.localization.sanity import load_network
        from tumorlens.runs.folder import RunFolder

        network = load_network(weights, target.predictor.card)
        gallery = gallery or RunFolder(weights).explanations
    results = explanation_scores(
        target.predictor, target.records, part=target.part, network=network,
        limit=limit, seed=seed, progress=progress,
    )  # fmt: skip
    if gallery is not None:
        write_gallery(target.predictor, target.records, results, gallery, seed=seed)
        print_error(f"hits and misses: {gallery}")
    return Section(
        {"explanations": results.to_dict()}, lambda console: show_explanations(results, console)
    )


def _image_format(plot: Path) -> Literal["svg", "png"]:
    match plot.suffix.lower():
        case ".svg":
            return "svg"
        case ".png":
            return "png"
    raise typer.BadParameter("give a file name that ends in .png or .svg", param_hint="--plot")
