"""``tumorlens audit``: what would bias metrics measured on a data set."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorlens.atomic import atomic_file

if TYPE_CHECKING:
    from tumorlens.data.audit.audit import Audit

EXIT_FOUND = 1
_MOST_ITEMS = 5


def audit(
    folder: Annotated[Path, typer.Argument(help="A data set: class folders or a manifest.")],
    against: Annotated[
        list[Path] | None,
        typer.Option(help="A data set it must share no scan with; repeatable."),
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

    Exits with 0 when there are no errors, with 1 when there are: files that cannot be read, one
    scan with two labels, a scan in both sets (with --strict: any finding).
    """
    from rich.console import Console
    from rich.progress import Progress

    from tumorlens.data.audit.audit import audit as audit_data

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading images", total=None)
        found = audit_data(
            folder,
            against or [],
            shortcuts=shortcuts,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if html is not None:
        from tumorlens.data.audit.html_report import html_report

        with atomic_file(html) as page:
            page.write(html_report(found, folder.resolve().name).encode())
    if as_json is not None and str(as_json) != "-":
        with atomic_file(as_json) as file:
            file.write((json.dumps(found.to_dict(), indent=1) + "\n").encode())
    if str(as_json) == "-":
        typer.echo(json.dumps(found.to_dict()))
    else:
        _print(found)
    if found.failed or (strict and found.findings):
        raise typer.Exit(EXIT_FOUND)


def _print(found: Audit) -> None:
    from rich.console import Console
    from rich.table import Table

    wide = None if sys.stdout.isatty() else 10_000
    console = Console(width=wide, highlight=False, markup=False, emoji=False, soft_wrap=True)
    columns = ("images", "tumor", "healthy", "unlabelled", "groups", "licence")
    table = Table("source", *columns, box=None, pad_edge=False, header_style="bold")
    for name, held in found.sources().items():
        table.add_row(name, *(str(held[column]) for column in columns))
    console.print(table)
    names = list(found.sources())
    if len(names) > 1:
        console.print("\nImages of the row's source with a near-duplicate in the column's source:")
        table = Table("source", *names, box=None, pad_edge=False, header_style="bold")
        for name in names:
            table.add_row(name, *(str(found.overlap[name, other]) for other in names))
        console.print(table)
    for finding in found.findings:
        console.print(f"\n{finding.severity}: {finding.count} {finding.kind}", style="bold")
        console.print(finding.message)
        for item in finding.items[:_MOST_ITEMS]:
            console.print(f"  {item}")
        if len(finding.items) > _MOST_ITEMS:
            console.print(f"  … and {len(finding.items) - _MOST_ITEMS} more (--json lists all)")
    errors = sum(finding.severity == "error" for finding in found.findings)
    warnings = len(found.findings) - errors
    console.print(f"\n{len(found.images)} images, {errors} errors, {warnings} warnings")
