"""Results as text tables, in the same format for every verb."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from tumorlens.evaluation.localization.scores import ExplanationScores
    from tumorlens.evaluation.performance import Evaluation
    from tumorlens.evaluation.robustness import Robustness
    from tumorlens.evaluation.shortcuts.suite import ShortcutResults
    from tumorlens.metrics.intervals import Estimate
    from tumorlens.modelfile import SiteCalibration


Progress = Callable[[int, int], None]
"""Called with the number of items done and in total."""


def open_console(out: TextIO, *, soft_wrap: bool = False) -> Console:
    """Return a console for plain text on ``out``; only a terminal wraps table rows."""
    from rich.console import Console  # imported late: JSON and CSV output does without rich

    width = None if out.isatty() else 10_000
    return Console(
        file=out, width=width, highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap
    )


def show_table(
    console: Console,
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str | None = None,
) -> None:
    """Print a table without borders, with an optional title; empty headers are not printed."""
    from rich.table import Table

    if title is not None:
        console.print(f"\n{title}", soft_wrap=True, style="bold")
    table = Table(*headers, box=None, pad_edge=False, header_style="bold", show_header=any(headers))
    for row in rows:
        table.add_row(*row)
    console.print(table)


def print_estimates(prefix: str, estimates: Mapping[str, Estimate]) -> None:
    """Print one line per metric to stdout: ``PREFIX NAME: value (low to high, n = N)``."""
    for name, estimate in estimates.items():
        interval = f"{estimate.low:.3f} to {estimate.high:.3f}"
        typer.echo(f"{prefix} {name}: {estimate.value:.3f} ({interval}, n = {estimate.n})")


def estimate_text(estimate: Estimate) -> str:
    """Return ``value [low, high]`` with three decimals, or ``not defined``."""
    if not math.isfinite(estimate.value):
        return "not defined"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _limit_text(at_least: float | None, at_most: float | None) -> str:
    if at_least is not None and at_most is not None:
        return f"{at_least:g} to {at_most:g}"
    if at_least is not None:
        return f"at least {at_least:g}"
    return "" if at_most is None else f"at most {at_most:g}"


def show_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print model, data, warnings about the metrics, and every metric."""
    model = evaluation.model
    name = f"{model['name']} {model['version']} ({model['sha256'][:16]})"
    console.print(f"model: {name}", soft_wrap=True)
    console.print(
        f"at temperature {evaluation.temperature:.4g}, bias {evaluation.bias:.4g}, "
        f"threshold {evaluation.threshold:.4g} "
        f"({evaluation.threshold_origin})",
        soft_wrap=True,
    )
    console.print(f"data: {evaluation.part or 'all records'}, {len(evaluation.predictions)} images")
    if evaluation.refused:
        console.print(
            f"{evaluation.refused} of them are not usable head slices; they are included here"
        )
    for warning in evaluation.warnings:
        console.print(f"warning: {warning}", soft_wrap=True, style="bold")
    sources = evaluation.by_source if len(evaluation.by_source) > 1 else {}
    _show_columns(console, {"all": evaluation.overall, **sources})
    if evaluation.without_label_issues:
        issues = ", ".join(
            f"{count} {kind}" for kind, count in sorted(evaluation.label_issues.items())
        )
        title = f"without images known to be mislabelled or not MRI ({issues})"
        _show_columns(console, {"all others": evaluation.without_label_issues}, title)
    if evaluation.by_view:
        n_known = sum(view is not None for view in evaluation.predictions.views)
        title = f"by view, known for {n_known} of {len(evaluation.predictions)} images"
        _show_columns(console, evaluation.by_view, title)
    if evaluation.refused:
        rows = [
            [name, estimate_text(share), str(share.n)]
            for name, share in evaluation.refusals.items()
        ]
        show_table(console, ["scans", "refused", "n"], rows, "refused: not a usable head slice")
    if evaluation.conformal:
        _show_conformal(evaluation.conformal, console)


def _show_conformal(entries: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print the coverage of the conformal prediction sets, overall and by source."""
    rows = []
    for entry in entries:
        target = f"{1 - entry['alpha']:.0%}" + (", decides" if entry["decides"] else "")
        for name, result in {"all": entry, **entry["by_source"]}.items():
            shares = [result["coverage"]["tumor"], result["coverage"]["healthy"],
                      result["uncertain"], result["certain_accuracy"]]  # fmt: skip
            rows.append([target, name, *(_share_text(share) for share in shares)])
    headers = ["target", "images", "tumor coverage", "healthy coverage", "uncertain",
               "accuracy when certain"]  # fmt: skip
    show_table(console, headers, rows, "conformal sets: value [95 % interval] n")


def _share_text(share: Mapping[str, Any]) -> str:
    if share["value"] is None:
        return "–"
    return f"{share['value']:.3f} [{share['low']:.3f}, {share['high']:.3f}] {share['n']}"


def show_shortcuts(results: ShortcutResults, console: Console) -> None:
    """Print every measurement of the shortcut tests, and a sentence for each missed limit."""
    rows = [
        [
            each.test,
            each.name,
            estimate_text(each.estimate),
            str(each.estimate.n),
            _limit_text(each.at_least, each.at_most),
            "missed" if each.fails else "",
        ]
        for each in results.measurements
    ]
    title = f"shortcut tests: {_sample_text(results)}"
    show_table(console, ["test", "measurement", "value", "n", "should be", ""], rows, title)
    for reason in results.skipped:
        console.print(f"skipped: {reason}", soft_wrap=True)
    _show_findings(results.findings(), console)


def show_curves(results: Robustness, console: Console) -> None:
    """Print the metrics at every level of every corruption, and what falls below the target."""
    rows = [["none", "", *map(estimate_text, results.clean.values())]]
    for curve in results.curves:
        for strength, level in zip(curve.strengths, curve.levels, strict=True):
            cells = [estimate_text(level[metric]) for metric in results.clean]
            rows.append([curve.name, f"{strength:g} {curve.unit}", *cells])
    title = f"corrupted images: {_sample_text(results)}"
    show_table(console, ["corruption", "strength", *results.clean], rows, title)
    _show_findings(results.findings(), console)


def show_explanations(results: ExplanationScores, console: Console) -> None:
    """Print one row per map and source, the definition of each column, and the sanity checks."""
    from tumorlens.evaluation.localization.scores import MEASURES

    rows = [
        [name, source, str(values["pointing"].n), *(estimate_text(values[key]) for key in MEASURES)]
        for name, by_source in results.scores.items()
        for source, values in by_source.items()
    ]
    title = f"explanations: {results.part or 'all records'}, annotated tumours"
    show_table(console, ["map", "source", "n", *MEASURES], rows, title)
    for key, meaning in MEASURES.items():
        console.print(f"{key}: {meaning}", soft_wrap=True)
    if results.randomised:
        show_table(
            console,
            ["layers down to", "n", "rank correlation"],
            [[name, str(e.n), estimate_text(e)] for name, e in results.randomised.items()],
            "map of a network with randomised layers against the model's, from the output down",
        )
    if results.parity is not None:
        console.print(
            f"torch and model file differ by at most {results.parity.logit:.2g} in the logit and "
            f"{results.parity.map:.2g} in the map (n = {results.parity.n})",
            soft_wrap=True,
        )
    for reason in results.skipped:
        console.print(f"skipped: {reason}", soft_wrap=True)


def show_site(console: Console, site: SiteCalibration) -> None:
    """Print how a model file was fitted to a site: its values, and the metrics there."""
    title = f"site calibration {site.describe()}"
    show_table(console, ["value", "fitted (95 % interval)"], site.value_rows(), title)
    if site.metrics:
        headers = ["metric", "before", "after, cross-validated", "difference"]
        show_table(console, headers, site.metric_rows(), f"on {site.n} scans of the site")


def _sample_text(results: ShortcutResults | Robustness) -> str:
    text = f"{results.part}, {results.images} images"
    if results.images < results.drawn_from:
        text += f", drawn from {results.drawn_from} (seed {results.seed})"
    return text


def _show_columns(
    console: Console, columns: Mapping[str, Mapping[str, Estimate]], title: str | None = None
) -> None:
    """Print one metric per row and one subset of the images per column."""
    headers = [
        f"{name} (n = {max(estimate.n for estimate in values.values())})"
        for name, values in columns.items()
    ]
    metrics = next(iter(columns.values()))
    rows = [[name, *(estimate_text(each[name]) for each in columns.values())] for name in metrics]
    show_table(console, ["metric", *headers], rows, title)


def _show_findings(findings: Sequence[str], console: Console) -> None:
    for sentence in findings:
        console.print(f"finding: {sentence}", soft_wrap=True, style="bold")


@contextmanager
def progress_bar() -> Iterator[Callable[[str], Progress]]:
    """Show a progress bar on stderr; the yielded function starts a stage of it."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:

        def stage(name: str) -> Progress:
            task = bar.add_task(name, total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        yield stage
