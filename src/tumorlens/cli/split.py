"""``tumorlens split``: divide records into parts that share no scan or patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorlens.errors import ConfigError

if TYPE_CHECKING:
    from tumorlens.data.manifest import Record
    from tumorlens.data.splits import Split


def split(
    sources: Annotated[
        list[str], typer.Argument(help="Data sets: folders, manifests or source names.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Split file to write; a folder with --folds.")
    ],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same split.")] = 0,
    fractions: Annotated[
        str, typer.Option(help="Fractions of train, validation, calibration and test.")
    ] = "0.7,0.1,0.1,0.1",
    held_out: Annotated[
        list[str] | None, typer.Option(help="A source used whole as the test part; repeatable.")
    ] = None,
    folds: Annotated[
        int, typer.Option(min=0, help="Write this many cross-validation folds instead.")
    ] = 0,
    repeats: Annotated[int, typer.Option(min=1, help="Number of times the folds are drawn.")] = 1,
    random: Annotated[
        bool,
        typer.Option("--random-leaky", help="The notebook's random 80/20 split, for comparison."),
    ] = False,
) -> None:
    """Split so that near-duplicates, and slices of one patient, stay in one part.

    An existing split file is never overwritten: a run that uses it checks that neither the file
    nor the data has changed. With --random-leaky near-duplicates cross the parts, as the name of
    the split says.
    """
    from tumorlens.data.grouping import group_records
    from tumorlens.data.sources import load_source
    from tumorlens.data.splits import (
        PARTS,
        grouped_folds,
        grouped_split,
        random_split,
        write_split,
    )

    if random and (folds or held_out):
        raise ConfigError("--random-leaky cannot be combined with --folds or --held-out")
    part_fractions = dict(zip(PARTS, _parse_fractions(fractions), strict=True))
    records = group_records([record for name in sources for record in load_source(name)])
    if folds:
        for fold in grouped_folds(records, n_folds=folds, repeats=repeats, seed=seed):
            path = out / f"{fold.name.replace('/', '-')}.json"
            write_split(fold, path)
            _describe(fold, path, records)
        return
    result = (
        random_split(records, seed=seed)
        if random
        else grouped_split(records, fractions=part_fractions, seed=seed, held_out=held_out or [])
    )
    write_split(result, out)
    _describe(result, out, records)


def _parse_fractions(text: str) -> list[float]:
    try:
        fractions = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--fractions {text}: not numbers separated by commas") from error
    if len(fractions) != 4:
        raise ConfigError(f"--fractions {text}: give four, as in 0.7,0.1,0.1,0.1")
    return fractions


def _describe(split: Split, path: Path, records: Sequence[Record]) -> None:
    typer.echo(f"{path}: {split.name}, seed {split.seed}, sha256 {split.sha256[:16]}")
    for part in split.parts():
        members = split.records(part, records)
        labels = Counter(record.label for record in members)
        groups = len({record.group for record in members})
        typer.echo(
            f"  {part}: {len(members)} images ({labels[1]} tumour, {labels[0]} healthy, "
            f"{labels[None]} unlabelled) in {groups} groups"
        )
