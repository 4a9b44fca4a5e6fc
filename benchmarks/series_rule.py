"""Which rule combines the slices of a series: ``python -m benchmarks.series_rule MODEL SPLIT``.

Reads whole heads (`heads.csv`, see `tumorlens.data.heads`, and a folder of healthy volumes), takes
those of the split's parts that were not trained on, runs the network over every slice and compares
the rules by persons: cross-validated log loss, ROC-AUC of the score, healthy series called tumour,
tumour series found. Of those that ask for a run of slices, the one with the fewest healthy series
called tumour, then the lowest log loss, is fitted on all of them; ``--write`` puts it into a copy
of the model file. Evidence is kept in ``--cache``, so that a run can be continued.

Few persons with whole heads are outside training. ``--left-out RUN`` adds those of the sources
that a run of ``experiment=leave_source_out`` left out, answered by that run's network, on the
slices that MODEL answers; persons of MODEL's test part stay out.

Heads with another lesion are in no fit; they are told apart. ``--part test`` measures the rule of
the model's card instead, and chooses nothing.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from tumorlens.calibration.series import SeriesCase, choose_rule, longest_healthy_run
from tumorlens.data.heads import head_records
from tumorlens.imaging.anatomy import Plane
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.series.rule import Track, score_series
from tumorlens.metrics.calibration import sigmoid
from tumorlens.metrics.shares import auc_estimate, mean_estimate, share_estimate
from tumorlens.modelfile import DEFAULT_SERIES_RULE, SeriesRule
from tumorlens.modelfile.rewrite import write_series_rule
from tumorlens.runs.compose import read_config
from tumorlens.runs.folder import RunFolder
from tumorlens.volumes.discover import load_volume
from tumorlens.volumes.slices import take_slice
from tumorlens.volumes.volume import Volume

PERSISTENT = ("run_mean", "run_minimum", "agreeing_run")
# Lower ones outline whole lobes in slices that show nothing.
LEVELS = (-1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
_NEARLY_CUBES = 1.3
_SLAB_MM = 60.0


@dataclass(frozen=True)
class Head:
    """One volume of the tables."""

    path: Path
    person: str
    status: str
    sequence: str
    mask: Path | None


def heads(table: Path, healthy: Path | None) -> Iterator[Head]:
    """Yield the rows of ``heads.csv``, and the volumes of a folder as healthy."""
    with table.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            folder = table.parent / "heads"
            mask = folder / row["mask_file"] if row["mask_file"] else None
            yield Head(folder / row["file"], row["person"], row["status"], row["sequence"], mask)
    for path in sorted(healthy.glob("*.nii.gz")) if healthy else ():
        stem, _, sequence = path.name.removesuffix(".nii.gz").rpartition("_")
        yield Head(path, stem, "healthy", sequence, None)


def parts_of(split: Path) -> dict[str, str]:
    """Return file name → part, of volumes whose slices lie in one part."""
    found: dict[str, set[str]] = {}
    for part, keys in json.loads(split.read_text())["parts"].items():
        for key in keys:
            name, slices, _ = key.partition("#")
            if slices:
                found.setdefault(re.split("[:/]", name)[-1], set()).add(part)
    return {name: next(iter(parts)) for name, parts in found.items() if len(parts) == 1}


def planes_of(volume: Volume, every: bool) -> list[Plane]:
    """Return the plane of acquisition, and the others of nearly cubic voxels if asked.

    A slab is cut in its own plane only: across, its slices are strips.
    """
    cubes = max(volume.spacing_mm) <= _NEARLY_CUBES * min(volume.spacing_mm)
    cubes &= min(np.multiply(volume.data.shape[:3], volume.spacing_mm)) >= _SLAB_MM
    others: list[Plane] = ["axial", "coronal", "sagittal"]
    return [volume.plane, *(each for each in others if each != volume.plane and every and cubes)]


def evidence(predictor: Predictor, head: Head, every: bool, cache: Path) -> list[dict[str, Any]]:
    """Return what the network says of each series of a head, from the cache where it is there."""
    kept = cache / f"{_key(predictor)}-{head.path.name}-{'all' if every else 'one'}.json"
    if kept.is_file():
        found: list[dict[str, Any]] = json.loads(kept.read_text())
        return found
    volume = load_volume(head.path)
    found = [_one(predictor, head, volume, plane) for plane in planes_of(volume, every)]
    kept.write_text(json.dumps(found))
    return found


def _key(predictor: Predictor) -> str:
    """Return the same for a model file before and after a rule was written into it."""
    card = predictor.card.model_copy(update={"series": None})
    return hashlib.sha256(card.model_dump_json().encode()).hexdigest()[:12]


def _one(predictor: Predictor, head: Head, volume: Volume, plane: Plane) -> dict[str, Any]:
    run = predictor.run_series(volume, plane)
    for _ in run:
        pass
    track = run.track
    return {
        "plane": plane,
        "n_slices": len(run.evidence),
        "thickness_mm": track.thickness_mm,
        "indices": track.indices.tolist(),
        "logits": track.logits.tolist(),
        "peaks_mm": track.peaks_mm.tolist(),
        "aside": sorted({each.set_aside for each in run.evidence if each.set_aside}),
        "overlaps": _overlaps(run.answered, head) if head.mask else None,
        "latency_ms": run.answer.latency_ms,
    }


def _overlaps(answered: Sequence[Any], head: Head) -> dict[str, list[int]]:
    """Return intersection, map's and mask's pixels over the answered slices, by level."""
    assert head.mask is not None
    mask = load_volume(head.mask)
    labels = np.asarray(mask.data)
    lesion = labels > 0
    if not head.sequence.startswith(("T2", "FLAIR")) and (lesion & (labels != 2)).any():
        lesion &= labels != 2  # oedema hardly shows in T1
    drawn = Volume(lesion.astype(np.uint8), mask.spacing_mm, mask.name, mask.affine)
    sums = {str(level): [0, 0, 0] for level in LEVELS}
    for each in answered:
        truth = take_slice(drawn, each.cut.plane, each.cut.index) > 0.5
        for level in LEVELS:
            region = each.mask(level)
            row = sums[str(level)]
            row[0] += int((region & truth).sum())
            row[1] += int(region.sum())
            row[2] += int(truth.sum())
    return sums


def left_out_evidence(
    run: Path,
    model: Predictor,
    chosen: Sequence[Head],
    sources: dict[str, str],
    *,
    every: bool,
    cache: Path,
) -> Iterator[tuple[Head, dict[str, Any]]]:
    """Yield what a run's network says of heads of the sources that it left out.

    Slices that ``model`` sets aside are left out: the run has no detectors of its own.
    """
    folder = RunFolder(run)
    names = set(read_config(folder.config).data.split.held_out)
    network = Predictor.open(folder.model, threads=1)
    for head in chosen:
        if sources.get(head.path.name) in names:
            pairs = zip(
                evidence(network, head, every, cache), evidence(model, head, every, cache),
                strict=True,
            )  # fmt: skip
            for row, other in pairs:
                yield head, _answered_by(row, other) | {"left_out": True}


def _answered_by(row: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return a series' evidence on the slices that another network answered too."""
    answered = set(other["indices"])
    kept = [at for at, index in enumerate(row["indices"]) if index in answered]
    return row | {
        name: [row[name][at] for at in kept] for name in ("indices", "logits", "peaks_mm")
    }


def to_case(head: Head, row: dict[str, Any], threshold_logit: float) -> SeriesCase | None:
    """Return the case of a series, None without answered slices."""
    if not row["indices"]:
        return None
    logits = np.array(row["logits"])
    track = Track(
        np.array(row["indices"], dtype=np.int64),
        logits,
        np.array(row["peaks_mm"], dtype=np.float64).reshape(-1, 2),
        row["thickness_mm"],
    )
    name = f"{head.path.name}#{row['plane']}"
    return SeriesCase(name, head.person, head.status == "tumour", track, logits >= threshold_logit)


def overlap_by_level(rows: Iterable[tuple[str, dict[str, list[int]]]]) -> dict[str, Any]:
    """Return the means over series by level, persons resampled.

    ``dice`` of map and mask over the answered slices, and ``area_error``: the difference of their
    areas as a share of the mask's.
    """
    rows = list(rows)
    persons = [person for person, _ in rows]
    found = {}
    for level in LEVELS:
        sums = [each[str(level)] for _, each in rows]
        dice = [2 * both / max(region + truth, 1) for both, region, truth in sums]
        error = [abs(region - truth) / max(truth, 1) for _, region, truth in sums]
        found[str(level)] = {
            "dice": mean_estimate(dice, persons).to_dict(),
            "area_error": mean_estimate(error, persons).to_dict(),
        }
    return found


def main() -> None:
    """Run the comparison and print it; ``--json`` writes everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("--heads", type=Path, required=True, help="heads.csv")
    parser.add_argument("--volumes", type=Path, help="folder of healthy volumes")
    parser.add_argument("--part", action="append", help="default: validation and calibration")
    parser.add_argument("--left-out", action="append", type=Path, default=[], metavar="RUN")
    parser.add_argument("--every-plane", action="store_true", help="also of nearly cubic voxels")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=240, help="then stop; run it again")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", type=Path, help="a copy of the model file with the rule")
    given = parser.parse_args()
    parts = set(given.part or ("validation", "calibration"))
    given.cache.mkdir(parents=True, exist_ok=True)
    predictor, part_of = Predictor.open(given.model, threads=1), parts_of(given.split)
    every = list(heads(given.heads, given.volumes))
    chosen = [each for each in every if part_of.get(each.path.name) in parts]
    end = monotonic() + given.seconds
    rows: list[tuple[Head, dict[str, Any]]] = []
    for count, head in enumerate(chosen):
        if monotonic() > end:
            print(f"{count} of {len(chosen)} heads done; run it again to go on")
            return
        rows += [(head, row) for row in evidence(predictor, head, given.every_plane, given.cache)]
    others = [each for each in every if part_of.get(each.path.name) not in {*parts, "test"}]
    sources = {record.file.name: record.source for record in head_records(given.heads)}
    for run in given.left_out:
        rows += left_out_evidence(
            run, predictor, others, sources, every=given.every_plane, cache=given.cache
        )
    where = f"the {' and '.join(sorted(parts))} series"
    if given.left_out:
        where += " and heads that networks of the same kind were trained without"
    result = measure(predictor, rows, parts, where=where, choose="test" not in parts)
    print(json.dumps(result["summary"], indent=1))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    if given.write and "rules" in result:
        write_series_rule(given.model, SeriesRule.model_validate(result["best"]), given.write)
        print(f"written: {given.write}")


def slice_figures(healthy: Sequence[SeriesCase]) -> dict[str, Any]:
    """Return the share of positive slices in healthy series, and the longest runs of them."""
    slices = [(flag, case.person) for case in healthy for flag in case.positive]
    runs = {case.name: longest_healthy_run([case]) for case in healthy}
    return {
        "healthy_slices_positive": share_estimate(*zip(*slices, strict=True)).to_dict(),
        "longest_run": max(runs.values()),
        "runs_over_2": {name: run for name, run in sorted(runs.items()) if run > 2},
    }


def weighting(head: Head) -> str:
    """Return T1, T1C, T2 or FLAIR, from the words of the table (``T1c axial``, ``FL``)."""
    word = head.sequence.split()[0].upper()
    return "FLAIR" if word.startswith("FL") else word


def _called(found: Sequence[tuple[Head, bool]]) -> dict[str, Any]:
    """Return the share of series called tumour by what the heads show, persons resampled."""
    names = {
        "healthy": "healthy_called_tumour", "tumour": "tumours_found",
        "other_lesion": "other_lesions_called_tumour",
    }  # fmt: skip
    rows = {}
    for status, name in names.items():
        own = [(head.person, tumour) for head, tumour in found if head.status == status]
        if own:
            rows[name] = share_estimate(
                [each for _, each in own], [who for who, _ in own]
            ).to_dict()
    return rows


def measure(
    predictor: Predictor, rows: Sequence[tuple[Head, dict[str, Any]]], parts: set[str],
    *, where: str, choose: bool,
) -> dict[str, Any]:  # fmt: skip
    """Return all figures; with ``choose`` the rules' too, the best first.

    ``where`` says in words on which series a rule was fitted.
    """
    limit = predictor.card.threshold.value
    logit = float(np.log(limit / (1 - limit)))
    cases = [
        (head, row, case) for head, row in rows if (case := to_case(head, row, logit)) is not None
    ]
    fitted = [case for head, _, case in cases if head.status != "other_lesion"]
    healthy = [case for head, _, case in cases if head.status == "healthy"]
    overlaps = [
        (head.person, row["overlaps"])
        for head, row, _ in cases
        if row["overlaps"] and head.status == "tumour" and "left_out" not in row
    ]  # fmt: skip
    summary: dict[str, Any] = {
        "parts": sorted(parts),
        "series": {
            status: {
                "series": sum(head.status == status for head, _, _ in cases),
                "persons": len({head.person for head, _, _ in cases if head.status == status}),
            }
            for status in ("healthy", "tumour", "other_lesion")
        },
        "single_slices": slice_figures(healthy),
        "outlines_by_level": overlap_by_level(overlaps) if overlaps else None,
    }
    result: dict[str, Any] = {"summary": summary}
    rule = predictor.card.series or DEFAULT_SERIES_RULE
    if choose:
        figures = choose_rule(fitted, where)
        # A finding persists: of hundreds of slices, a few are wrong in a healthy head somewhere.
        chosen = min(
            (each for each in figures if each.rule.name in PERSISTENT),
            key=lambda each: (each.called_tumour.value, each.log_loss),
        )
        rule = chosen.rule
        if overlaps:
            by_level = summary["outlines_by_level"]
            outline = max(LEVELS, key=lambda each: by_level[str(each)]["dice"]["value"])
            rule = rule.model_copy(update={"outline_level": outline})
        result["rules"] = [each.to_dict() for each in figures]
        result["best"] = rule.model_dump(mode="json")
        summary["rule"] = rule.model_dump(mode="json")
        summary["cross_validated"] = chosen.to_dict()
    threshold = rule.threshold if rule.threshold is not None else limit
    called = {
        case.name: bool(
            sigmoid(rule.slope * score_series(case.track, rule).value + rule.intercept) >= threshold
        )
        for _, _, case in cases
    }
    scores = [score_series(case.track, rule).value for case in fitted]
    persons = [case.person for case in fitted]
    level = rule.slice_level(limit)
    stricter = [replace(case, positive=case.track.logits >= level) for case in healthy]
    summary["at_the_rule"] = {
        "slices": slice_figures(stricter),
        "roc_auc": auc_estimate([case.tumour for case in fitted], scores, persons).to_dict(),
        **_called([(head, called[case.name]) for head, _, case in cases]),
        "by_plane": {
            plane: _called(
                [(head, called[case.name]) for head, row, case in cases if row["plane"] == plane]
            )
            for plane in ("axial", "coronal", "sagittal")
        },
        "by_sequence": {
            name: _called(
                [(head, called[case.name]) for head, _, case in cases if weighting(head) == name]
            )
            for name in ("T1", "T1C", "T2", "FLAIR")
        },
        "wrong": sorted(case.name for case in fitted if called[case.name] != case.tumour),
    }
    return result


if __name__ == "__main__":
    main()
