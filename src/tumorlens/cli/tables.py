"""Estimates with their intervals as text tables: one look for every verb that shows some."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from tumorlens.evaluation.performance import Evaluation
    from tumorlens.evaluation.robustness import Robustness
    from tumorlens.evaluation.shortcuts.suite import ShortcutResults
    from tumorlens.metrics.intervals import Estimate


def show_table(
    console: Console, heads: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None
) -> None:
    """Write a table without lines, under a title if there is one."""
    from rich.table import Table

    if title is not None:
        console.print(f"\n{title}", soft_wrap=True, style="bold")
    table = Table(*heads, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def estimate_text(estimate: Estimate) -> str:
    """Return ``value [low, high]`` with three places, or ``not defined``."""
    if not math.isfinite(estimate.value):
        return "not defined"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def limit_text(at_least: float | None, at_most: float | None) -> str:
    """Return a stated limit in words, empty without one."""
    if at_least is not None and at_most is not None:
        return f"{at_least:g} to {at_most:g}"
    if at_least is not None:
        return f"at least {at_least:g}"
    return "" if at_most is None else f"at most {at_most:g}"


def show_evaluation(found: Evaluation, console: Console) -> None:
    """Write what model and data are, reasons to distrust the metrics, and every metric."""
    name = f"{found.model['name']} {found.model['version']} ({found.model['sha256'][:16]})"
    console.print(f"model: {name}", soft_wrap=True)
    console.print(
        f"at temperature {found.temperature:.4g}, threshold {found.threshold:.4g} "
        f"({found.threshold_origin})",
        soft_wrap=True,
    )
    console.print(f"data: {found.part or 'all records'}, {len(found.predictions)} images")
    if found.refused:
        console.print(f"{found.refused} of them are no usable slices of a head; they count here")
    for warning in found.warnings:
        console.print(f"warning: {warning}", soft_wrap=True, style="bold")
    sources = found.by_source if len(found.by_source) > 1 else {}
    _show_columns(console, {"all": found.overall, **sources})
    if found.without_label_issues:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(found.label_issues.items()))
        title = f"without scans known to be mislabelled or no MRI ({told})"
        _show_columns(console, {"all others": found.without_label_issues}, title)
    if found.by_view:
        known = sum(view is not None for view in found.predictions.views)
        title = f"by view, known of {known} of {len(found.predictions)} images"
        _show_columns(console, found.by_view, title)
    if found.refused:
        rows = [
            [name, estimate_text(share), str(share.n)] for name, share in found.refusals.items()
        ]
        show_table(console, ["scans", "refused", "n"], rows, "refused as no slice of a head")
    if found.conformal:
        _show_sets(found.conformal, console)


def _show_sets(entries: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Write how far conformal sets keep their word, over all scans and by source."""
    rows = []
    for entry in entries:
        target = f"{1 - entry['alpha']:.0%}" + (", decides" if entry["decides"] else "")
        for name, found in {"all": entry, **entry["by_source"]}.items():
            shares = [found["coverage"]["tumor"], found["coverage"]["healthy"],
                      found["uncertain"], found["certain_accuracy"]]  # fmt: skip
            rows.append([target, name, *(_share_text(share) for share in shares)])
    heads = ["sets", "scans", "tumor covered", "healthy covered", "uncertain", "rest right"]
    show_table(console, heads, rows, "conformal sets: value [95 % interval] n")


def _share_text(share: Mapping[str, Any]) -> str:
    if share["value"] is None:
        return "–"
    return f"{share['value']:.3f} [{share['low']:.3f}, {share['high']:.3f}] {share['n']}"


def show_shortcuts(found: ShortcutResults, console: Console) -> None:
    """Write every measurement of the shortcut tests, and a sentence for each missed limit."""
    drawn = (
        ""
        if found.images == found.drawn_from
        else f", drawn from {found.drawn_from} (seed {found.seed})"
    )
    rows = [
        [
            each.test,
            each.name,
            estimate_text(each.estimate),
            str(each.estimate.n),
            limit_text(each.at_least, each.at_most),
            "missed" if each.fails else "",
        ]
        for each in found.measurements
    ]
    title = f"shortcut tests: {found.part}, {found.images} images{drawn}"
    show_table(console, ["test", "measurement", "value", "n", "should be", ""], rows, title)
    for what in found.skipped:
        console.print(f"skipped: {what}", soft_wrap=True)
    _show_findings(found.findings(), console)


def show_curves(found: Robustness, console: Console) -> None:
    """Write the metrics at every level of every corruption, and what falls below the target."""
    drawn = (
        ""
        if found.images == found.drawn_from
        else f", drawn from {found.drawn_from} (seed {found.seed})"
    )
    rows = [["none", "", *(estimate_text(found.clean[metric]) for metric in found.clean)]]
    for curve in found.curves:
        for strength, level in zip(curve.strengths, curve.levels, strict=True):
            cells = [estimate_text(level[metric]) for metric in found.clean]
            rows.append([curve.name, f"{strength:g} {curve.unit}", *cells])
    title = f"corrupted images: {found.part}, {found.images} images{drawn}"
    show_table(console, ["corruption", "strength", *found.clean], rows, title)
    _show_findings(found.findings(), console)


def _show_columns(
    console: Console, columns: Mapping[str, Mapping[str, Estimate]], title: str | None = None
) -> None:
    """Write a metric a row and a set of scans a column."""
    heads = [
        f"{name} (n = {max(estimate.n for estimate in values.values())})"
        for name, values in columns.items()
    ]
    metrics = next(iter(columns.values()))
    rows = [[name, *(estimate_text(each[name]) for each in columns.values())] for name in metrics]
    show_table(console, ["metric", *heads], rows, title)


def _show_findings(findings: Sequence[str], console: Console) -> None:
    for sentence in findings:
        console.print(f"finding: {sentence}", soft_wrap=True, style="bold")
