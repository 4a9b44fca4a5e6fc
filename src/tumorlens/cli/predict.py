"""``tumorlens predict``: one prediction per series and per picture."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorlens.cli.app import EXIT_UNREADABLE
from tumorlens.cli.output import (
    Format,
    PlaneChoice,
    chosen_kinds,
    chosen_planes,
    open_output,
    report_failures,
    save_as_dicom,
    write_fhir,
    write_results,
)
from tumorlens.errors import ConfigError

if TYPE_CHECKING:
    from tumorlens.inference.engine import Provider
    from tumorlens.jobs.run import Redo


class PredictFormat(StrEnum):
    """Output format of predictions."""

    table = "table"
    jsonl = "jsonl"
    csv = "csv"
    fhir = "fhir"
    parquet = "parquet"


class EngineChoice(StrEnum):
    """What carries a job."""

    local = "local"
    ray = "ray"


class RedoChoice(StrEnum):
    """Which finished shards are answered again."""

    changed = "changed"
    errors = "errors"


class ProviderChoice(StrEnum):
    """What the network runs on."""

    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, DICOM, NIfTI, folders and zips of them, or - for standard input."
        ),
    ],
    output_format: Annotated[
        PredictFormat | None,
        typer.Option(
            "--format",
            help="Output format; fhir: a Bundle a line for each series; parquet with --out.  "
            "[default: table; csv with --out]",
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model file.  [default: $TUMORLENS_MODEL, or the packaged]")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file instead of stdout.")
    ] = None,
    slices: Annotated[
        bool, typer.Option("--slices", help="Answer for each slice by itself, not for the series.")
    ] = False,
    plane: Annotated[
        PlaneChoice | None,
        typer.Option(help="Cut volumes in this plane.  [default: the plane of acquisition]"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 8,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network.  [default: all cores]")
    ] = None,
    dicom_out: Annotated[
        Path | None,
        typer.Option(
            help="Write the answers for DICOM series as DICOM too, into this folder, a subfolder "
            "a series."
        ),
    ] = None,
    kinds: Annotated[
        str,
        typer.Option(
            "--as",
            help="With --dicom-out: sr (report), pm (map), seg (outlines), sc (pictures), ko (key "
            "slices).",
        ),
    ] = "sr,pm,seg,sc,ko",
    with_identifiers: Annotated[
        bool,
        typer.Option("--with-identifiers", help="With --format fhir: name patient and study."),
    ] = False,
    provider: Annotated[
        ProviderChoice, typer.Option(help="What the network runs on; a GPU needs its onnxruntime.")
    ] = ProviderChoice.cpu,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Answer as a job, which goes on after a kill: results in shards in this folder. "
            "PATHS may be lists (.txt), tar archives, Parquet tables and URLs too."
        ),
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="With --out: inputs a shard.")] = 1000,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="With --out: processes of one thread.  [default: all cores]"),
    ] = None,
    column: Annotated[
        str, typer.Option(help="With --out: column of a table with images or paths.")
    ] = "",
    id_column: Annotated[
        str, typer.Option(help="With --out: column of a table that names its rows.")
    ] = "",
    redo: Annotated[
        list[RedoChoice] | None,
        typer.Option(help="With --out: answer shards again that changed, or that have errors."),
    ] = None,
    engine: Annotated[
        EngineChoice, typer.Option(help="With --out: this machine, or a Ray cluster.")
    ] = EngineChoice.local,
    address: Annotated[
        str | None,
        typer.Option(help="With --engine ray: the cluster.  [default: $RAY_ADDRESS, or a new one]"),
    ] = None,
) -> None:
    """Predict for each series and picture whether it shows a tumour, with a calibrated probability.

    DICOM files of one series are one answer, as is each volume; --slices answers for every slice.

    The exit code is 0 whatever the predictions, and 3 when some inputs could not be read: they
    are listed on stderr, or with --out in a table, and the others are still predicted.
    """
    if (dicom_out is not None or output_format is PredictFormat.fhir) and (
        slices or out is not None
    ):
        raise ConfigError(
            "--dicom-out and --format fhir are for series: leave out --slices and --out"
        )
    if with_identifiers and output_format is not PredictFormat.fhir:
        raise ConfigError("--with-identifiers needs --format fhir")
    if out is None:
        if output_format is PredictFormat.parquet or engine is EngineChoice.ray:
            raise ConfigError("--format parquet and --engine ray need --out FOLDER")
        _print(paths, output_format, model, output, slices, plane, batch_size, threads,
               provider.value, dicom_out, kinds, with_identifiers)  # fmt: skip
        return
    if output is not None or output_format is PredictFormat.table or threads is not None:
        raise ConfigError(
            "--out writes csv, jsonl or parquet by processes of one thread: leave out --output, "
            "--format table and --threads"
        )
    from tumorlens.cli import jobs
    from tumorlens.jobs.run import Job, make_settings

    path, settings = make_settings(
        model, output=(output_format or PredictFormat.csv).value, slices=slices,
        planes=chosen_planes(plane), batch_size=batch_size, column=column, id_column=id_column,
        shard_size=shard_size, provider=provider.value,
    )  # fmt: skip
    again: frozenset[Redo] = frozenset(each.value for each in redo or ())
    jobs.run(Job(tuple(paths), out, settings, path, workers, engine.value, address, again))


def _print(
    paths: list[str],
    output_format: PredictFormat | None,
    model: Path | None,
    output: Path | None,
    slices: bool,
    plane: PlaneChoice | None,
    batch_size: int,
    threads: int | None,
    provider: Provider,
    dicom_out: Path | None,
    kinds: str,
    with_identifiers: bool,
) -> None:
    if dicom_out is not None:
        chosen = chosen_kinds(kinds)
    from tumorlens.inference.batch import run_batch
    from tumorlens.inference.predictor import Predictor
    from tumorlens.inference.series_batch import run_series

    predictor = Predictor.open(model, threads=threads, provider=provider)
    failed: list[str] = []
    run = run_batch if slices else run_series
    with open_output(output) as out:
        results = run(predictor, paths, planes=chosen_planes(plane), batch_size=batch_size)
        told = report_failures(results, failed)
        if dicom_out is not None:
            told = save_as_dicom(told, dicom_out, chosen, failed)
        if output_format is PredictFormat.fhir:
            write_fhir(told, out, with_identifiers, failed)
        else:
            shown = Format(output_format or PredictFormat.table)
            write_results(told, shown, out, series=not slices)
    if failed:
        raise typer.Exit(EXIT_UNREADABLE)
