"""Compare the predictions of two models: ``python -m benchmarks.same_answers MODEL OTHER [PATH…]``.

Each of MODEL and OTHER is a model file, or a JSONL record of its predictions that ``--record``
wrote. With a record, PATH defaults to the images it lists. Exits with 1 when a probability differs
by more than ``--tolerance``, or any other field differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tumorlens import Predictor
from tumorlens.inference.batch import run_batch
from tumorlens.volumes.folders import iter_inputs

Answer = dict[str, Any]
FIELDS = ("label", "decision", "prediction_set", "in_domain", "in_domain_reason", "error")


class Difference(NamedTuple):
    """The differences between two models' predictions.

    Attributes:
        n: Number of images predicted by both.
        prob: Largest difference of the probabilities, 0..1.
        missing: Number of images predicted by one of them only.
        fields: Other field → number of images in which it differs.
    """

    n: int
    prob: float
    missing: int
    fields: dict[str, int]

    def within(self, tolerance: float) -> bool:
        return not self.missing and not any(self.fields.values()) and self.prob <= tolerance


def sampled(paths: Sequence[Path], count: int, seed: int) -> list[Path]:
    """Return the files below ``paths``, a random sample of folders with more than ``count``."""
    chosen: list[Path] = []
    for path in paths:
        files = list(iter_inputs([path]))
        if count and len(files) > count:
            rows = np.random.default_rng(seed).choice(len(files), count, replace=False)
            files = [files[row] for row in sorted(rows.tolist())]
        chosen += files
    return chosen


def answers(model: Path, paths: Iterable[Path]) -> dict[str, Answer]:
    """Return path → prediction of a model file, or of a record."""
    if model.suffix == ".jsonl":
        lines = map(json.loads, model.read_text(encoding="utf-8").splitlines())
        return {line["path"]: line for line in lines}
    found = {}
    for result in run_batch(Predictor.open(model), paths):
        answer = {} if result.prediction is None else result.prediction.to_dict()
        error = None if result.error is None else str(result.error)
        found[result.path] = {"path": result.path, **answer, "error": error}
    return found


def compare(ours: dict[str, Answer], theirs: dict[str, Answer]) -> Difference:
    both = [(ours[path], theirs[path]) for path in ours if path in theirs]
    probs = [
        abs(a["prob"] - b["prob"]) for a, b in both if a["error"] is None and b["error"] is None
    ]
    fields = Counter(
        name
        for a, b in both
        for name in FIELDS
        if json.dumps(a.get(name)) != json.dumps(b.get(name))
    )
    missing = len(ours.keys() ^ theirs.keys())
    return Difference(len(both), max(probs, default=0.0), missing, {f: fields[f] for f in FIELDS})


def write_record(found: dict[str, Answer], path: Path) -> None:
    path.write_text("".join(json.dumps(answer) + "\n" for answer in found.values()), "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="model file or record")
    parser.add_argument(
        "other", type=Path, help="model file or record; with --record, the file to write"
    )
    parser.add_argument("paths", type=Path, nargs="*", help="images, volumes and folders")
    parser.add_argument("--record", action="store_true", help="write MODEL's predictions to OTHER")
    parser.add_argument(
        "--sample", type=int, default=0, help="files sampled from a folder; 0 takes all"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample")
    parser.add_argument(
        "--tolerance", type=float, default=1e-6, help="largest difference of a probability"
    )
    given = parser.parse_intermixed_args(arguments)
    paths = sampled(given.paths, given.sample, given.seed)
    if given.record:
        found = answers(given.model, paths)
        write_record(found, given.other)
        print(f"{given.other}: {len(found)} answers of {given.model}")
        return 0
    records = [each for each in (given.model, given.other) if each.suffix == ".jsonl"]
    if not paths and records:
        named = (name.partition("#")[0] for name in answers(records[0], ()))
        paths = [Path(name) for name in dict.fromkeys(named)]
    found = compare(answers(given.model, paths), answers(given.other, paths))
    print(
        f"n {found.n}, answered by one only {found.missing}, largest difference of a probability "
        f"{found.prob:.3g}; differing: "
        + ", ".join(f"{name} {count}" for name, count in found.fields.items())
    )
    same = found.n > 0 and found.within(given.tolerance)
    print(f"{'same' if same else 'different'} answers at a tolerance of {given.tolerance:g}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
