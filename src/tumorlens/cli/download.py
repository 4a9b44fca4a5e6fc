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
        typer.Option(help="Download folder.  [default: $KAGGLEHUB_CACHE, or ./kaggle_cache]"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Download it again.")] = False,
) -> None:
    """Download a data set and print its folder; an existing download is only verified.

    Known sources: navoneel, br35h, sartaj_extra, nickparvar. Their licences are unclear: use and
    cite them, and do not redistribute them. Needs the extra 'train'.
    """
    with redirect_stdout(sys.stderr):  # kagglehub prints its progress to stdout
        from tumorlens.data.download import download as fetch

        downloaded = fetch(name, cache=cache, force=force)
    how = "downloaded" if downloaded.fetched else "already here, unchanged"
    typer.echo(
        f"{downloaded.info.name}, version {downloaded.version}: {downloaded.n_files} files, {how}",
        err=True,
    )
    typer.echo(f"licence: {downloaded.info.licence}", err=True)
    typer.echo(f"cite: {downloaded.info.citation} ({downloaded.info.url})", err=True)
    typer.echo(f"hashes: {downloaded.hashes} (sha256 {downloaded.sha256[:16]})", err=True)
    typer.echo(str(downloaded.folder))
