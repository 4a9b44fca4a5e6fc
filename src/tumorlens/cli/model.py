"""``tumorlens model``: verify a model file and show its card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from tumorlens.modelfile import ModelCard


def model(
    path: Annotated[
        Path | None,
        typer.Argument(help="Model file.  [default: $TUMORLENS_MODEL, or the packaged]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the card as a Markdown document.")
    ] = False,
    figures: Annotated[
        list[Path] | None,
        typer.Option(help="JSON of evaluate --shortcuts or --explain, for the card of --output."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Model file to write, with --figures on its card.")
    ] = None,
) -> None:
    """Verify a model file (hash and self-test) and show its card.

    Exits with 2 and the reason when the file is missing, damaged, foreign or newer.
    """
    from tumorlens.inference.predictor import Predictor, find_model

    if bool(figures) != (output is not None):
        raise typer.BadParameter("--figures and --output go together")
    if figures and output is not None:
        from tumorlens.modelfile.figures import add_figures

        add_figures(find_model(path), figures, output)
        path = output
    predictor = Predictor.open(path)
    if as_json:
        typer.echo(predictor.card.model_dump_json(indent=2))
        return
    if as_markdown:
        from tumorlens.modelfile.markdown import model_card_markdown

        typer.echo(model_card_markdown(predictor.card), nl=False)
        return
    from rich.console import Console

    console = Console(
        width=None if _is_terminal() else 120, highlight=False, markup=False, emoji=False
    )
    console.print(_facts(predictor.card, find_model(path), predictor.sha256))
    if predictor.card.metrics:
        console.print(_metrics(predictor.card))
    if predictor.card.data:
        console.print(_data(predictor.card))


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()


def _facts(card: ModelCard, path: Path, sha256: str) -> Table:
    threshold = card.threshold
    rows = {
        "model": f"{card.name} {card.version}, {card.created}",
        "file": f"{path} (verified: hash and self-test)",
        "sha256": sha256,
        "architecture": card.architecture,
        "input": card.preprocess.describe(),
        "class map": f"pooled by {card.pooling.kind}" if card.pooling else "none",
        "temperature": f"{card.temperature:.4g}",
        "threshold": f"{threshold.value:.4g} ({threshold.origin})",
        "conformal": _describe_conformal(card),
        "intended use": card.intended_use,
        "limitations": "\n".join(f"· {line}" for line in card.limitations) or "none stated",
        "licence": card.licence,
    }
    if card.citation:
        rows["cite"] = card.citation
    table = _table("", "")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _describe_conformal(card: ModelCard) -> str:
    if not card.conformal:
        return "none: the decision is the label"
    return ", ".join(
        f"error rate {entry.alpha:g} (from {entry.n_tumor} tumour, {entry.n_healthy} healthy)"
        for entry in card.conformal
    )


def _metrics(card: ModelCard) -> Table:
    table = _table("metric", "split", "value", "95 % interval", "images")
    for metric in card.metrics:
        interval = f"{metric.low:.3f} to {metric.high:.3f}"
        table.add_row(metric.name, metric.split, f"{metric.value:.3f}", interval, str(metric.n))
    return table


def _data(card: ModelCard) -> Table:
    table = _table("learned from", "images", "licence", "sha256")
    for source in card.data:
        table.add_row(source.source, str(source.n), source.licence, source.sha256[:16])
    return table


def _table(*headers: str) -> Table:
    from rich.table import Table

    return Table(*headers, box=None, pad_edge=False, show_header=any(headers), title_style="")
