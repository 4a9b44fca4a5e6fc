"""The protocol table as files: JSON, a Markdown table, and a plot with intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from tumorlens.atomic import atomic_file, write_text
from tumorlens.metrics.intervals import Estimate
from tumorlens.plots.style import FAINT, HEALTHY, TUMOUR, encode, new_figure, styled
from tumorlens.runs.provenance import sha256_of
from tumorlens.workflows.protocol import (
    METRICS,
    PROTOCOLS,
    ROWS,
    TRANSFER,
    Cell,
    Plan,
    Row,
    Table,
    measure_row,
    run_row,
    settings_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = structlog.get_logger(__name__)

SCHEMA = "tumorlens-protocol/1"
TITLES = {row.name: row.title for row in ROWS}
METRIC_TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "roc_auc": "ROC-AUC",
}
# Protocol → colour and marker, so that the plot can be read without colours too.
_MARKERS = {
    "random": ("#E69F00", "s"),
    "augment-before-split": (TUMOUR, "^"),
    "grouped": (HEALTHY, "o"),
}


def run_protocol(plan: Plan, run_dir: Path) -> Table:
    """Train and test every row of the plan; write the table after each, the plot at the end.

    Args:
        plan: What to train.
        run_dir: Gets ``protocol.json``, ``protocol.md``, ``protocol.png`` and ``.svg`` beside a
            folder per row; finished folds found there are read, not trained.

    Raises:
        ConfigError, ModelNotFoundError, DataError, OutputError: As `run_row` and `cell_config`.
        MissingExtraError: The plotting packages are not installed.
    """
    rows = plan.rows()
    settings = {row.name: settings_of(plan, row) for row in rows}  # raises for invalid ones
    sha256 = sha256_of(plan.pretrained) if plan.pretrained and TRANSFER in settings else None
    for name, reason in plan.left_out().items():
        log.warning("row left out", model=name, reason=reason)
    table = Table(plan, 0, 0, {}, sha256)
    for row in rows:
        table = _with_row(table, row, run_dir)
        write_text(run_dir / "protocol.json", json.dumps(to_json(table, settings), indent=1) + "\n")
        write_text(run_dir / "protocol.md", to_markdown(table))
    if table.cells:
        figure = draw(table)
        for kind in ("svg", "png"):
            with atomic_file(run_dir / f"protocol.{kind}") as stream:
                stream.write(encode(figure, kind))
    return table


def _with_row(table: Table, row: Row, run_dir: Path) -> Table:
    predictions = run_row(table.plan, row, run_dir)
    cells = {**table.cells, row.name: measure_row(table.plan, row, predictions)}
    groups = len(set(predictions["grouped"].groups.tolist()))
    return Table(table.plan, len(predictions["grouped"]), groups, cells, table.pretrained_sha256)


def to_json(table: Table, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the table as JSON-ready values without paths, schema ``tumorlens-protocol/1``."""
    plan = table.plan
    return {
        "schema": SCHEMA,
        "data": Path(plan.data).name,
        "scans": table.scans,
        "groups": table.groups,
        "folds": plan.n_folds,
        "copies": plan.copies,
        "pretrained_sha256": table.pretrained_sha256,
        "left_out": plan.left_out(),
        "rows": {
            name: {
                **settings[name],
                "protocols": {
                    protocol: {
                        "epochs": cell.epochs,
                        "copies": cell.copies,
                        "metrics": _numbers(cell.metrics),
                        "minus_grouped": _numbers(cell.optimism),
                    }
                    for protocol, cell in cells.items()
                },
            }
            for name, cells in table.cells.items()
        },
    }


def to_markdown(table: Table) -> str:
    """Return one Markdown table per metric: the three protocols, and the optimism of two."""
    plan = table.plan
    parts = [
        f"{plan.n_folds}-fold cross-validation on {Path(plan.data).name}: each value is over the "
        f"same {table.scans} scans ({table.groups} groups of near-duplicates), with its 95 % "
        "interval by a bootstrap over groups. “Optimism” is the difference "
        f"from the grouped protocol, paired by scan. “Augment before split” makes {plan.copies} "
        "augmented copies per scan; they are trained on but not counted.\n"
    ]
    for metric in METRICS:
        parts.append(
            f"**{METRIC_TITLES[metric]}**\n\n"
            "| model | random split | augment before split | grouped | optimism: random | "
            "optimism: augment before split |\n|---|---|---|---|---|---|\n"
            + "".join(_line(name, cells, metric) for name, cells in table.cells.items())
        )
    parts += [f"{TITLES[name]}: left out, {why}.\n" for name, why in plan.left_out().items()]
    return "\n".join(parts)


def _line(name: str, cells: Mapping[str, Cell], metric: str) -> str:
    figures = [_shown(cells[protocol].metrics[metric]) for protocol in PROTOCOLS]
    added = [_shown(cells[protocol].optimism[metric], sign=True) for protocol in PROTOCOLS[:2]]
    return f"| {TITLES[name]} | {' | '.join([*figures, *added])} |\n"


def _shown(estimate: Estimate, *, sign: bool = False) -> str:
    form = "{:+.2f}" if sign else "{:.2f}"
    value, low, high = (form.format(v) for v in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def _numbers(metrics: Mapping[str, Estimate]) -> dict[str, dict[str, float | int | None]]:
    return {
        name: {
            key: None if value is None else round(value, 5)
            for key, value in estimate.to_dict().items()
        }
        for name, estimate in metrics.items()
    }


@styled
def draw(table: Table) -> Figure:
    """Draw a panel per metric: a line per model, a marker with its interval per protocol.

    The background is white, to be readable on light and dark pages.
    """
    names = list(table.cells)
    figure = new_figure(11.0, 1.7 + 0.75 * len(names))
    panels = figure.subplots(1, len(METRICS), sharey=True)
    for axes, metric in zip(panels, METRICS, strict=True):
        for shift, protocol in zip((-0.22, 0.0, 0.22), PROTOCOLS, strict=True):
            found = [table.cells[name][protocol].metrics[metric] for name in names]
            colour, marker = _MARKERS[protocol]
            axes.errorbar(
                [estimate.value for estimate in found],
                [at + shift for at in range(len(names))],
                xerr=[
                    [max(0.0, estimate.value - estimate.low) for estimate in found],
                    [max(0.0, estimate.high - estimate.value) for estimate in found],
                ],
                fmt=marker,
                color=colour,
                capsize=3,
                markersize=6.5,
                label={"random": "random split"}.get(protocol, protocol.replace("-", " ")),
            )
        axes.axvline(0.5, color=FAINT, linestyle=":", linewidth=1.2)
        axes.set(title=METRIC_TITLES[metric], xlim=(0.4, 1.01))
        axes.grid(True, axis="x")
    panels[0].set(yticks=range(len(names)), ylim=(len(names) - 0.5, -0.5))
    panels[0].set_yticklabels([TITLES[name] for name in names])
    figure.suptitle(
        f"The same models, tested three ways on the same {table.scans} scans "
        f"({table.groups} groups; 95 % intervals)"
    )
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure
