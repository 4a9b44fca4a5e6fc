"""``tumorlens evaluate``: a model file measured on labelled images."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from tumorlens.cli.app import complain
from tumorlens.cli.explanations import measure_explanations, show_explanations
from tumorlens.cli.extras import require
from tumorlens.cli.output import open_output
from tumorlens.cli.tables import show_curves, show_evaluation, show_shortcuts

if TYPE_CHECKING:
    from rich.console import Console

    from tumorlens.evaluation.target import EvaluationTarget

Progress = Callable[[int, int], None]


class Form(StrEnum):
    """How the results are written."""

    table = "table"
    json = "json"


@dataclass(frozen=True)
class Section:
    """One part of the results: its keys in the JSON document, and how it is shown as text.

    Each part is made by one function below; `evaluate` lists them in the order they appear.
    """

    content: dict[str, Any]
    show: Callable[[Console], None]


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    data: Annotated[
        list[str],
        typer.Argument(help="Labelled data sets: folders, manifests or names of sources."),
    ],
    split: Annotated[
        Path | None, typer.Option(help="Split file, such as a run's split.json: measure one part.")
    ] = None,
    part: Annotated[str, typer.Option(help="The part of the split.")] = "test",
    form: Annotated[Form, typer.Option("--format", help="How results are written.")] = Form.table,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file instead of stdout.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network.  [default: all cores]")
    ] = None,
    shortcuts: Annotated[
        bool, typer.Option("--shortcuts", help="Test whether it predicts by anything but tumours.")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Run folder of the model: --shortcuts and --explain look into its network as well."
        ),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option("--robustness", help="Measure on images with ten kinds of corruption too."),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the curves of --robustness: a .png or .svg file.")
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Measure the heat maps beside baselines on annotated tumours."
        ),
    ] = False,
    gallery: Annotated[
        Path | None,
        typer.Option(
            help="Page of --explain's hits and misses.  [default: explanations.html in --weights]"
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=20, help="Images for --shortcuts, --robustness and --explain.  [default: all]"
        ),
    ] = None,
) -> None:
    """Measure a model file on labelled images, at the temperature and threshold of its card.

    Every metric has a 95 % interval that resamples groups of near-duplicates and patients, overall,
    for each source and for each known view. Says so when the model has seen the images in training.
    """
    from tumorlens.evaluation.target import choose_target

    if weights is not None and not (shortcuts or explain):
        raise typer.BadParameter(
            "only --shortcuts and --explain look into a network", param_hint="--weights"
        )
    if gallery is not None and not explain:
        raise typer.BadParameter("only --explain has hits and misses", param_hint="--gallery")
    kind = None if plot is None else _picture_kind(plot, robustness)
    if shortcuts:
        require("audit", "the shortcut tests", "sklearn")
    target = choose_target(model, data, split=split, part=part, threads=threads)
    with _progress_bar() as stage:
        sections = [_metrics(target, seed, stage("reading images"))]
        if shortcuts:
            sections.append(_shortcuts(target, limit, seed, weights, stage("shortcut tests")))
        if robustness:
            sections.append(_robustness(target, limit, seed, plot, kind, stage("corrupted images")))
        if explain:
            bar = stage("explanations")
            sections.append(_explanations(target, limit, seed, weights, gallery, bar))
    with open_output(output) as out:
        if form is Form.json:
            _write_json(sections, out)
        else:
            _write_text(sections, out)
    if form is Form.json or output is not None:
        for warning in target.warnings:
            complain(f"warning: {warning}")


def _metrics(target: EvaluationTarget, seed: int, progress: Progress) -> Section:
    """Every metric, over all, by source and by view."""
    from tumorlens.evaluation.performance import measure

    found = measure(target, seed=seed, progress=progress)
    return Section(found.to_dict(), lambda console: show_evaluation(found, console))


def _shortcuts(
    target: EvaluationTarget, limit: int | None, seed: int, weights: Path | None, progress: Progress
) -> Section:
    """What the prediction hangs on: tests that remove, insert or exchange parts of scans."""
    from tumorlens.evaluation.shortcuts.suite import run_shortcut_tests

    found = run_shortcut_tests(
        target.predictor,
        target.records,
        part=target.part or "all records",
        limit=limit,
        seed=seed,
        weights=weights,
        progress=progress,
    )
    return Section({"shortcuts": found.to_dict()}, lambda console: show_shortcuts(found, console))


def _robustness(
    target: EvaluationTarget,
    limit: int | None,
    seed: int,
    plot: Path | None,
    kind: Literal["svg", "png"] | None,
    progress: Progress,
) -> Section:
    """ROC-AUC, sensitivity and specificity over five levels of ten corruptions."""
    from tumorlens.evaluation.robustness import robustness_curves

    found = robustness_curves(
        target.predictor,
        target.records,
        part=target.part or "all records",
        limit=limit,
        seed=seed,
        progress=progress,
    )
    if plot is not None and kind is not None:
        from tumorlens.atomic import atomic_file
        from tumorlens.plots.style import encode

        with atomic_file(plot) as stream:
            stream.write(encode(found.plot(), kind))
    return Section({"robustness": found.to_dict()}, lambda console: show_curves(found, console))


def _explanations(
    target: EvaluationTarget,
    limit: int | None,
    seed: int,
    weights: Path | None,
    gallery: Path | None,
    progress: Progress,
) -> Section:
    """Where the maps lie on annotated tumours, beside baselines, and a page of hits and misses."""
    found = measure_explanations(target, limit, seed, weights, gallery, progress)
    return Section(
        {"explanations": found.to_dict()}, lambda console: show_explanations(found, console)
    )


def _picture_kind(plot: Path, robustness: bool) -> Literal["svg", "png"]:
    if not robustness:
        raise typer.BadParameter("only --robustness has curves to draw", param_hint="--plot")
    kinds: dict[str, Literal["svg", "png"]] = {".svg": "svg", ".png": "png"}
    if plot.suffix.lower() not in kinds:
        raise typer.BadParameter("give a file that ends in .png or .svg", param_hint="--plot")
    require("train", "drawing curves", "matplotlib", "seaborn")
    return kinds[plot.suffix.lower()]


@contextmanager
def _progress_bar() -> Iterator[Callable[[str], Progress]]:
    """Show a bar on stderr; the function it gives starts a stage and returns its progress."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:

        def stage(name: str) -> Progress:
            task = bar.add_task(name, total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        yield stage


def _write_json(sections: Sequence[Section], out: TextIO) -> None:
    document = {key: value for section in sections for key, value in section.content.items()}
    out.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _write_text(sections: Sequence[Section], out: TextIO) -> None:
    from rich.console import Console

    wide = None if out is sys.stdout and sys.stdout.isatty() else 10_000
    console = Console(file=out, width=wide, highlight=False, markup=False, emoji=False)
    for section in sections:
        section.show(console)
