"""``tumorlens evaluate``: a model file measured on labelled images."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from tumorlens.cli.app import complain
from tumorlens.cli.output import open_output

if TYPE_CHECKING:
    from rich.console import Console

    from tumorlens.evaluation.metrics import Estimate
    from tumorlens.training.evaluate import Evaluation
    from tumorlens.training.subject import Subject

Progress = Callable[[int, int], None]


class Form(StrEnum):
    """How the figures are written."""

    table = "table"
    json = "json"


@dataclass(frozen=True)
class Section:
    """One part of the answer: its keys in the JSON document, and how it is shown as text.

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
    form: Annotated[Form, typer.Option("--format", help="How figures are written.")] = Form.table,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file instead of stdout.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network.  [default: all cores]")
    ] = None,
) -> None:
    """Measure a model file on labelled images, at the temperature and threshold of its card.

    Every figure has a 95 % interval that resamples groups of copies and patients, overall and
    for each source. Says so when the model has seen the images in training.
    """
    from tumorlens.training.subject import choose_subject

    subject = choose_subject(model, data, split=split, part=part, threads=threads)
    with _progress_bar() as stage:
        sections = [_figures(subject, seed, stage("reading images"))]
    with open_output(output) as out:
        if form is Form.json:
            _write_json(sections, out)
        else:
            _write_text(sections, out)
    if form is Form.json or output is not None:
        for warning in subject.warnings:
            complain(f"warning: {warning}")


def _figures(subject: Subject, seed: int, progress: Progress) -> Section:
    """Every metric, over all and by source."""
    from tumorlens.training.evaluate import measure

    found = measure(subject, seed=seed, progress=progress)
    return Section(found.to_dict(), lambda console: _show_figures(found, console))


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


def _show_figures(found: Evaluation, console: Console) -> None:
    from rich.table import Table

    name = f"{found.model['name']} {found.model['version']} ({found.model['sha256'][:16]})"
    console.print(f"model: {name}", soft_wrap=True)
    console.print(
        f"at temperature {found.temperature:.4g}, threshold {found.threshold:.4g} "
        f"({found.threshold_origin})",
        soft_wrap=True,
    )
    console.print(f"data: {found.part or 'all records'}, {len(found.answers)} images")
    if found.refused:
        console.print(f"{found.refused} of them are no usable slices of a head; they count here")
    for warning in found.warnings:
        console.print(f"warning: {warning}", soft_wrap=True, style="bold")
    sources = found.by_source if len(found.by_source) > 1 else {}
    columns = {"all": found.overall, **sources}
    heads = [f"{each} (n = {_count(values)})" for each, values in columns.items()]
    table = Table("metric", *heads, box=None, pad_edge=False, header_style="bold")
    for metric in found.overall:
        table.add_row(metric, *(_figure(values[metric]) for values in columns.values()))
    console.print(table)


def _count(values: dict[str, Estimate]) -> int:
    return max(estimate.n for estimate in values.values())


def _figure(estimate: Estimate) -> str:
    if not math.isfinite(estimate.value):
        return "not defined"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
