"""``tumorlens audit``: problems of a data set that would bias metrics measured on it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorlens.atomic import write_text
from tumorlens.cli.tables import open_console, show_table

if TYPE_CHECKING:
    from tumorlens.data.audit.audit import Audit

EXIT_FINDINGS = 1
_MAX_ITEMS = 5


def audit(
    folder: Annotated[Path, typer.Argument(help="A data set: class folders or a manifest.")],
    against: Annotated[
        list[Path] | None,
        typer.Option(help="A data set that must share no scan with it; repeatable."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write an HTML page that shows the near-duplicates.")
    ] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Write all results as JSON; - for stdout.")
    ] = None,
    shortcuts: Annotated[
        bool, typer.Option(help="Test whether file type, size, … predict the label.")
    ] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on warnings too.")] = False,
) -> None:
    """Find unreadable files, near-duplicates, label issues, overlap between sets and shortcuts.

    Exits with 1 on errors: unreadable files, one scan with two labels, a scan in both sets (with
    --strict: on any finding).
    """
    from rich.console import Console
    from rich.progress import Progress

    from tumorlens.data.audit.audit import audit as audit_data

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading images", total=None)
        result = audit_data(
            folder,
            against or [],
            shortcuts=shortcuts,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if html is not None:
        from tumorlens.data.audit.html_report import html_report

        write_text(html, html_report(result, folder.resolve().name))
    if as_json is not None and str(as_json) != "-":
        write_text(as_json, json.dumps(result.to_dict(), indent=1) + "\n")
    if str(as_json) == "-":
        typer.echo(json.dumps(result.to_dict()))
    else:
        _print(result)
    if result.failed or (strict and result.findings):
        raise typer.Exit(EXIT_FINDINGS)


def _print(result: Audit) -> None:
    console = open_console(sys.stdout, soft_wrap=True)
    columns = ("images", "tumor", "healthy", "unlabelled", "groups", "licence")
    sources = result.sources()
    rows = [[name, *(str(row[column]) for column in columns)] for name, row in sources.items()]
    show_table(console, ["source", *columns], rows)
    if len(sources) > 1:
        rows = [[row, *(str(result.overlap[row, column]) for column in sources)] for row in sources]
        console.print("\nImages of the row's source with a near-duplicate in the column's source:")
        show_table(console, ["source", *sources], rows)
    for finding in result.findings:
        console.print(f"\n{finding.severity}: {finding.count} {finding.kind}", style="bold")
        console.print(finding.message)
        for item in finding.items[:_MAX_ITEMS]:
            console.print(f"  {item}")
        if len(finding.items) > _MAX_ITEMS:
            console.print(f"  … and {len(finding.items) - _MAX_ITEMS} more (--json lists all)")
    errors = sum(finding.severity == "error" for finding in result.findings)
    warnings = len(result.findings) - errors
    console.print(f"\n{len(result.images)} images, {errors} errors, {warnings} warnings")
