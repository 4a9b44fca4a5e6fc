"""Hits and misses of a model's class map as one self-contained HTML page, misses first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.atomic import write_text
from tumorlens.data.manifest import Record
from tumorlens.evaluation.localization.cases import Case, read_case
from tumorlens.evaluation.localization.scores import MODEL_MAP, ExplanationScores, MapScore
from tumorlens.inference.overlay import encode_png
from tumorlens.inference.predictor import Predictor
from tumorlens.pages.render import data_uri, render

_SIDE = 256  # pixels of an image's longer side
_BOX = (0, 220, 90)
_PEAK = (80, 220, 255)
# Contours of the heat map at these levels, from weak to strong, in RGB.
_LEVELS: tuple[tuple[float, tuple[int, int, int]], ...] = (
    (0.1, (70, 130, 255)),
    (0.5, (255, 190, 0)),
    (0.9, (255, 60, 40)),
)


def write_gallery(
    predictor: Predictor,
    records: Sequence[Record],
    scores: ExplanationScores,
    path: Path,
    *,
    misses: int = 48,
    hits: int = 24,
    seed: int = 0,
) -> None:
    """Write the page: the worst misses, then a random sample of the hits, each with box and map.

    The page embeds the images, so treat it like the data itself.

    Args:
        predictor, records: The same as given to `explanation_scores`.
        scores: Its result.
        path: The file to write.
        misses, hits: Largest number of each; the page states the totals.
        seed: Seed of the sample of hits.

    Raises:
        OutputError: The page cannot be written.
    """
    by_key = {record.key: record for record in records}
    missed = sorted(
        (row for row in scores.images[MODEL_MAP] if not row.values["pointing"]),
        key=lambda row: -row.values["distance"],
    )
    hit = [row for row in scores.images[MODEL_MAP] if row.values["pointing"]]
    sample = np.random.default_rng(seed).permutation(len(hit))[:hits]
    shown = {
        "Misses": (missed[:misses], len(missed)),
        "Hits": ([hit[int(index)] for index in sample], len(hit)),
    }
    card, part = predictor.card, scores.part or "all records"
    page = render(
        "localization.html",
        title=f"{card.name} {card.version}: hits and misses, {part}",
        levels=", ".join(f"{level:g}" for level, _ in _LEVELS),
        sections=[
            {
                "title": title,
                "cases": [_page_entry(read_case(by_key[row.key], predictor), row) for row in rows],
                "total": total,
            }
            for title, (rows, total) in shown.items()
        ],
    )
    write_text(path, page, parents=True)


def draw_case(case: Case) -> NDArray[np.uint8]:
    """Return the image with boxes, peak and heat map contours: RGB uint8, longer side 256."""
    scan, heat = case.explanation.scan, case.explanation.heatmap
    scale = _SIDE / max(scan.shape)
    size = (max(1, round(scan.shape[1] * scale)), max(1, round(scan.shape[0] * scale)))
    canvas: NDArray[Any] = cv2.cvtColor(
        cv2.resize(scan, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB
    )
    resized = cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR)
    for level, colour in _LEVELS:
        lines, _ = cv2.findContours(
            (resized >= level).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
        )
        canvas = cv2.drawContours(canvas, lines, -1, colour, 1)
    for x0, y0, x1, y1 in case.boxes * np.array([*size, *size]):
        canvas = cv2.rectangle(canvas, (round(x0), round(y0)), (round(x1), round(y1)), _BOX, 1)
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    peak = (int((column + 0.5) * scale), int((row + 0.5) * scale))
    canvas = cv2.drawMarker(canvas, peak, _PEAK, cv2.MARKER_CROSS, 9, 1)
    return np.asarray(canvas, dtype=np.uint8)


def _page_entry(case: Case, row: MapScore) -> dict[str, str]:
    """Return an image's entry on the page: the image, where the peak lies, and details."""
    place = "hit" if row.values["pointing"] else f"{row.values['distance'] * _SIDE:.0f} px off"
    if not case.explanation.heatmap.any():
        place = "no evidence"
    details = (
        f"P {case.explanation.prediction.prob:.2f}",
        f"energy in box {row.values['energy_in_box']:.2f}",
        case.record.tumour_type,
        case.record.view,
    )
    return {
        "uri": data_uri(encode_png(draw_case(case)), "png"),
        "place": place,
        "words": ", ".join(each for each in details if each),
        "key": row.key,
    }
