"""``tumorlens audit``: what would make figures measured on a data set too good to be true."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorlens.atomic import atomic_file

if TYPE_CHECKING:
    from tumorlens.data.audit import Audit

EXIT_FOUND = 1
_MOST_ITEMS = 5


def audit(
    folder: Annotated[Path, typer.Argument(help="A data set: class folders or a manifest.")],
    against: Annotated[
        list[Path] | None,
        typer.Option(help="A data set it must share no scan with; may be given again."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with the pairs as pictures.")
    ] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Write everything found, - for stdout.")
    ] = None,
    shortcuts: Annotated[
        bool, typer.Option(help="Try whether file type, size, … give the answer away.")
    ] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Let warnings fail too.")] = False,
) -> None:
    """Look for unreadable files, copies, conflicting labels, overlap between sets, shortcuts.

    Exits with 0 when nothing speaks against the data set, with 1 when something does: files
    that cannot be read, one scan with two labels, a scan in both sets (with --strict: anything).
    """
    from rich.console import Console
    from rich.progress import Progress

    from tumorlens.data.audit import audit as audit_data

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading images", total=None)
        found = audit_data(
            folder,
            against or [],
            shortcuts=shortcuts,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if html is not None:
        from tumorlens.data.gallery import gallery

        with atomic_file(html) as page:
            page.write(gallery(found, folder.resolve().name).encode())
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
        console.print("\nImages of the row's source that have a copy in the column's:")
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
            console.print(f"  … and {len(finding.items) - _MOST_ITEMS} more (--json has all)")
    errors = sum(finding.severity == "error" for finding in found.findings)
    warnings = len(found.findings) - errors
    console.print(f"\n{len(found.looks)} images, {errors} errors, {warnings} warnings")
