"""``tumorlens calibrate``: fit a model file to a site."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorlens.cli.app import EXIT_UNREADABLE, print_error
from tumorlens.cli.tables import open_console, progress_bar, show_site

if TYPE_CHECKING:
    from tumorlens.calibration.drift import Referenced
    from tumorlens.calibration.site import Calibrated


def calibrate(
    out: Annotated[Path, typer.Option("--out", "-o", help="The new model file to write.")],
    scans: Annotated[
        str | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="The site's scans: a folder with yes/ and no/ or tumor/ and healthy/, a "
            "manifest.csv or a source name. Not needed with --prior.",
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model file.  [default: $TUMORLENS_MODEL, or the packaged]")
    ] = None,
    unlabelled: Annotated[
        bool,
        typer.Option("--unlabelled", help="Estimate the share of tumours alone, without labels."),
    ] = False,
    prior: Annotated[
        float | None,
        typer.Option(help="The site's share of tumours, where it is known, such as 0.2."),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            min=0.5, max=1, help="Sensitivity of the threshold.  [default: the card's target]"
        ),
    ] = None,
    reference_only: Annotated[
        bool,
        typer.Option(
            "--reference-only",
            help="Fit nothing: only take the scans as the reference for drift; no labels needed.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of folds and bootstrap.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network.  [default: all cores]")
    ] = None,
) -> None:
    """Fit a model file to a site and write a new one; the given file is never changed.

    Labelled scans fit temperature, bias, threshold and conformal sets; unlabelled ones, or --prior,
    move the probabilities to the site's share of tumours. Scans that cannot be read or are out of
    domain are named and left out; the exit code is 3 when some could not be read. Too few scans
    are refused, and nothing is written. The scans also become the reference that a service compares
    its answers with.
    """
    from tumorlens.calibration.site import calibrate_model

    done: Calibrated | Referenced
    if reference_only:
        if scans is None or unlabelled or prior is not None or target is not None:
            raise typer.BadParameter(
                "--reference-only needs scans, and goes without --unlabelled, --prior and --target"
            )
        done = _add_reference(model, scans, out, threads)
    else:
        with progress_bar() as stage:
            done = calibrate_model(
                model, scans, out, unlabelled=unlabelled, prior=prior, target=target, seed=seed,
                threads=threads, progress=stage("reading scans") if scans else None,
            )  # fmt: skip
    for each in done.left_out:
        reason = each.reason if each.path in each.reason else f"{each.path}: {each.reason}"
        print_error(f"left out: {reason}")
    if as_json:
        typer.echo(json.dumps(done.to_dict(), indent=1, ensure_ascii=False))
    else:
        _show(done)
    for warning in getattr(done, "warnings", ()):
        print_error(f"warning: {warning}")
    if any(each.unreadable for each in done.left_out):
        raise typer.Exit(EXIT_UNREADABLE)


def _add_reference(model: Path | None, scans: str, out: Path, threads: int | None) -> Referenced:
    from tumorlens.calibration.drift import add_reference

    with progress_bar() as stage:
        return add_reference(model, scans, out, threads=threads, progress=stage("reading scans"))


def _show(done: Calibrated | Referenced) -> None:
    console = open_console(sys.stdout)
    site = getattr(done, "site", None)
    if site is not None:
        show_site(console, site)
    if done.left_out:
        console.print(f"\n{len(done.left_out)} scans were left out, named above")
    if site is not None:
        console.print(
            f"\nThe probabilities hold where {site.prior.value:.3g} of the scans are tumours; "
            "--prior states another share.",
            soft_wrap=True,
        )
    reference = getattr(done, "reference", None)
    if reference is not None:
        console.print(f"reference for drift: {reference.describe()}", soft_wrap=True)
    console.print(f"{done.path}: sha256 {done.sha256}", soft_wrap=True)
