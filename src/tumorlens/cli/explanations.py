"""``tumorlens evaluate --explain``: heat maps compared with baselines on annotated tumours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tumorlens.cli.app import print_error, require
from tumorlens.cli.tables import estimate_text, show_table

if TYPE_CHECKING:
    from rich.console import Console

    from tumorlens.evaluation.localization.scores import ExplanationScores
    from tumorlens.evaluation.target import EvaluationTarget

GALLERY = "explanations.html"


def measure_explanations(
    target: EvaluationTarget,
    limit: int | None,
    seed: int,
    run_dir: Path | None,
    gallery: Path | None,
    progress: Callable[[int, int], None],
) -> ExplanationScores:
    """Score the heat maps and write a gallery of hits and misses (default: in the run folder).

    Without ``gallery`` and ``run_dir`` no gallery is written; the measurements that need torch
    are made only with a ``run_dir``. Raises as `explanation_scores` and `write_gallery` do, and
    `MissingExtraError` without torch.
    """
    from tumorlens.evaluation.localization.gallery import write_gallery
    from tumorlens.evaluation.localization.scores import explanation_scores

    network = None
    if run_dir is not None:
        require("train", "evaluate --weights", "torch", "monai")
        from tumorlens.evaluation.localization.sanity import load_network

        network = load_network(run_dir, target.predictor.card)
        gallery = gallery or run_dir / GALLERY
    scores = explanation_scores(
        target.predictor,
        target.records,
        part=target.part,
        network=network,
        limit=limit,
        seed=seed,
        progress=progress,
    )
    if gallery is not None:
        write_gallery(target.predictor, target.records, scores, gallery, seed=seed)
        print_error(f"hits and misses: {gallery}")
    return scores


def show_explanations(results: ExplanationScores, console: Console) -> None:
    """Print one row per map and source, the definition of each column, and the sanity checks."""
    from tumorlens.evaluation.localization.scores import MEASURES

    rows = [
        [name, source, str(values["pointing"].n), *(estimate_text(values[key]) for key in MEASURES)]
        for name, by_source in results.scores.items()
        for source, values in by_source.items()
    ]
    title = f"explanations: {results.part or 'all records'}, annotated tumours"
    show_table(console, ["map", "source", "n", *MEASURES], rows, title)
    for key, meaning in MEASURES.items():
        console.print(f"{key}: {meaning}", soft_wrap=True)
    if results.randomised:
        show_table(
            console,
            ["layers down to", "n", "rank correlation"],
            [[name, str(e.n), estimate_text(e)] for name, e in results.randomised.items()],
            "map of a network with randomised layers against the model's, from the output down",
        )
    if results.parity is not None:
        console.print(
            f"torch and model file differ by at most {results.parity.logit:.2g} in the logit and "
            f"{results.parity.map:.2g} in the map (n = {results.parity.n})",
            soft_wrap=True,
        )
    for reason in results.skipped:
        console.print(f"skipped: {reason}", soft_wrap=True)
