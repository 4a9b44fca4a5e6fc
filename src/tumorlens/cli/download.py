"""``tumorlens download``: a data set from Kaggle, with the hash of every file."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer


def download(
    name: Annotated[
        str, typer.Argument(help="A known source, or a Kaggle handle owner/dataset.")
    ] = "navoneel",
    cache: Annotated[
        Path | None,
        typer.Option(help="Where to keep it.  [default: $KAGGLEHUB_CACHE, or ./kaggle_cache]"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch it again.")] = False,
) -> None:
    """Fetch a data set and print the folder it lies in; one already there is only verified.

    Known sources: navoneel, br35h, sartaj_extra, nickparvar. Their licences are unclear: use them,
    cite them, and do not pass them on. Needs the extra 'train'.
    """
    # The client greets and reports on stdout, which is for the answer.
    with redirect_stdout(sys.stderr):
        from tumorlens.data.download import download as fetch

        done = fetch(name, cache=cache, force=force)
    how = "fetched" if done.fetched else "already here, unchanged"
    typer.echo(f"{done.info.name}, version {done.version}: {done.n_files} files, {how}", err=True)
    typer.echo(f"licence: {done.info.licence}", err=True)
    typer.echo(f"cite: {done.info.citation} ({done.info.url})", err=True)
    typer.echo(f"hashes: {done.hashes} (sha256 {done.sha256[:16]})", err=True)
    typer.echo(str(done.folder))
