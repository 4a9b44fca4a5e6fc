"""``tumorlens evaluate --explain``: every map beside its baselines in one table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tumorlens.cli.app import complain
from tumorlens.cli.extras import require
from tumorlens.cli.tables import estimate_text, show_table

if TYPE_CHECKING:
    from rich.console import Console

    from tumorlens.evaluation.localization.scores import ExplanationScores
    from tumorlens.evaluation.target import EvaluationTarget

PAGE = "explanations.html"


def measure_explanations(
    target: EvaluationTarget,
    limit: int | None,
    seed: int,
    run_dir: Path | None,
    page: Path | None,
    progress: Callable[[int, int], None],
) -> ExplanationScores:
    """Measure the maps, and write the page of hits and misses: ``page``, or into the run folder.

    With neither there is no page, and without a run folder nothing that needs torch. Raises as
    `explanation_scores` and `write_gallery` do, and `MissingExtraError` without torch.
    """
    from tumorlens.evaluation.localization.gallery import write_gallery
    from tumorlens.evaluation.localization.scores import explanation_scores

    network = None
    if run_dir is not None:
        require("train", "looking into a network", "torch", "monai")
        from tumorlens.evaluation.localization.sanity import load_network

        network = load_network(run_dir, target.predictor.card)
        page = page or run_dir / PAGE
    found = explanation_scores(
        target.predictor,
        target.records,
        part=target.part,
        network=network,
        limit=limit,
        seed=seed,
        progress=progress,
    )
    if page is not None:
        write_gallery(target.predictor, target.records, found, page, seed=seed)
        complain(f"hits and misses: {page}")
    return found


def show_explanations(found: ExplanationScores, console: Console) -> None:
    """Write a row a map and source, what each column means, and the sanity checks."""
    from tumorlens.evaluation.localization.scores import MEASURES

    rows = [
        [name, source, str(values["pointing"].n), *(estimate_text(values[key]) for key in MEASURES)]
        for name, by_source in found.scores.items()
        for source, values in by_source.items()
    ]
    title = f"explanations: {found.part or 'all records'}, annotated tumours"
    show_table(console, ["map", "source", "n", *MEASURES], rows, title)
    for key, meaning in MEASURES.items():
        console.print(f"{key}: {meaning}", soft_wrap=True)
    if found.randomised:
        show_table(
            console,
            ["layers down to", "n", "rank correlation"],
            [[name, str(e.n), estimate_text(e)] for name, e in found.randomised.items()],
            "map with random weights against the model's, from the output down",
        )
    if found.parity is not None:
        console.print(
            f"torch and model file differ by at most {found.parity.logit:.2g} in the logit and "
            f"{found.parity.map:.2g} in the map (n = {found.parity.n})",
            soft_wrap=True,
        )
    for missing in found.skipped:
        console.print(f"skipped: {missing}", soft_wrap=True)
