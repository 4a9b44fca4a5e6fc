"""Networks on whole sources that they were not trained on: ``python -m benchmarks.left_out RUN …``.

Each RUN is a folder of ``tumorlens train experiment=leave_source_out 'data.split.held_out=[…]'``.
Of the sources left out, at the run's own threshold:

- tumours against slices of healthy persons of the test part (and of the sources left out), AUROC;
- tumours against slices clear of the tumour, within one source and sequence;
- where the sources hold no tumour: the test part's tumours against their slices;
- sensitivity and specificity.

Every figure has its number and its 95 % interval, resampled by person.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.held_out import Answer, _auc, _share, _strip, against_clear, answers
from tumorlens.data.grouping import group_records
from tumorlens.data.heads import head_records
from tumorlens.data.manifest import Record, read_manifest
from tumorlens.data.sources import volume_records
from tumorlens.data.splits import read_split
from tumorlens.inference.predictor import Predictor
from tumorlens.runs.compose import read_config
from tumorlens.runs.folder import RunFolder


def left_out(run: Path, known: list[Record]) -> dict[str, Any]:
    """Return the figures of one run."""
    folder = RunFolder(run)
    sources = set(read_config(folder.config).data.split.held_out)
    test = set(read_split(folder.split).parts()["test"])
    predictor = Predictor.open(folder.model, threads=1)
    found = answers(predictor, (each for each in known if each.key in test and not _strip(each)))
    own = [each for each in found if each.record.source in sources]
    rest = [each for each in found if each.record.source not in sources]
    own_tumours = [each for each in own if each.record.label == 1]
    healthy = [each for each in found if each.record.shows == "healthy"]
    if own_tumours:
        auc = {"tumours left out against healthy": _auc(own_tumours, healthy)}
        auc |= {
            f"{sequence} tumours left out against healthy": _auc(
                _of(own_tumours, sequence), healthy
            )
            for sequence in ("T1", "T1C", "T2", "FLAIR")
        }
    else:
        tumours = [each for each in rest if each.record.label == 1]
        auc = {"tumours of the test part against those left out": _auc(tumours, own)}
    return {
        "left out": sorted(sources),
        "threshold": predictor.card.threshold.value,
        "AUROC": auc,
        "AUROC against clear": against_clear(own),
        "sensitivity": _share(own_tumours, lambda each: each.positive),
        "specificity": {
            finding: _share([each for each in own if each.record.shows == finding], _negative)
            for finding in ("healthy", "clear", "other_lesion")
        },
    }


def _of(found: list[Answer], sequence: str) -> list[Answer]:
    return [each for each in found if each.record.sequence == sequence]


def _negative(answer: Answer) -> bool:
    return not answer.positive


def main() -> None:
    """Measure each run and print or write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--more", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    known = group_records(
        [
            *read_manifest(given.data / "manifest.csv"),
            *read_manifest(given.more / "images.csv"),
            *head_records(given.more / "heads.csv"),
            *volume_records(given.data / "volumes"),
        ]
    )
    result = {run.name: left_out(run, known) for run in given.runs}
    text = json.dumps(result, indent=1)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
