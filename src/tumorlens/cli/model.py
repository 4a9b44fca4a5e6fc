"""``tumorlens model``: verify a model file and show its card."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorlens.cli.tables import open_console, show_site, show_table

if TYPE_CHECKING:
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
        typer.Option(help="JSON of evaluate --shortcuts or --explain, to add to the card."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Model file to write, its card with --figures.")
    ] = None,
) -> None:
    """Verify a model file (hash and self-test) and show its card.

    Exits with 2 when the file is missing, damaged, no TumorLens model or from a newer version.
    """
    from tumorlens.inference.default_model import find_model
    from tumorlens.inference.predictor import Predictor

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
    card = predictor.card
    console = open_console(sys.stdout)
    show_table(console, ["", ""], _properties(card, find_model(path), predictor.sha256).items())
    if card.site:
        show_site(console, card.site)
    if card.metrics:
        rows = [
            (each.name, each.split, f"{each.value:.3f}", f"{each.low:.3f} to {each.high:.3f}",
             str(each.n)) for each in card.metrics
        ]  # fmt: skip
        show_table(console, ["metric", "split", "value", "95 % interval", "images"], rows)
    if card.data:
        sources = [(each.source, str(each.n), each.licence, each.sha256[:16]) for each in card.data]
        show_table(console, ["training data", "images", "licence", "sha256"], sources)


def _properties(card: ModelCard, path: Path, sha256: str) -> dict[str, str]:
    threshold = card.threshold
    rows = {
        "model": f"{card.name} {card.version}, {card.created}",
        "file": f"{path} (verified: hash and self-test)",
        "sha256": sha256,
        "architecture": card.architecture,
        "input": card.preprocess.describe(),
        "class map": f"pooled by {card.pooling.kind}" if card.pooling else "none",
        "temperature": f"{card.temperature:.4g}",
        "bias": f"{card.bias:.4g}",
        "prior": f"{card.prior:.4g} of the scans are tumours" if card.prior else "not known",
        "threshold": f"{threshold.value:.4g} ({threshold.origin})",
        "conformal": _describe_conformal(card),
        "drift": card.drift.describe() if card.drift else "no reference: drift is not watched",
        "intended use": card.intended_use,
        "limitations": "\n".join(f"· {line}" for line in card.limitations) or "none stated",
        "licence": card.licence,
    }
    if card.citation:
        rows["cite"] = card.citation
    return rows


def _describe_conformal(card: ModelCard) -> str:
    if not card.conformal:
        return "none: the decision is the label"
    return ", ".join(
        f"error rate {entry.alpha:g} (from {entry.n_tumor} tumour, {entry.n_healthy} healthy)"
        for entry in card.conformal
    )
