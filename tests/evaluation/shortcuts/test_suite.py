"""The shortcut tests distinguish models that use the lesion from models that use a shortcut."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tumorlens.data.manifest import Record
from tumorlens.errors import DataError, MissingExtraError
from tumorlens.evaluation.sampling import infer_all
from tumorlens.evaluation.shortcuts.removal import without_tumour_half
from tumorlens.evaluation.shortcuts.scans import ScanSet, read_scan
from tumorlens.evaluation.shortcuts.suite import ShortcutResults, run_shortcut_tests
from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.image import Image
from tumorlens.imaging.preprocess import PreprocessSpec, prepare
from tumorlens.imaging.quality import Quality
from tumorlens.inference.engine import Outputs
from tumorlens.inference.network_input import NetworkInput
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.intervals import Estimate

SIDE, CELL = 64, 8
LESION, MARK = 255, 200


class Model:
    """Answers by the brightest cell of a map: of the whole picture, or of its upper left corner.

    Lesions and marks are brighter than any tissue here, and intensity is not rescaled.
    """

    def __init__(self, *, honest: bool) -> None:
        self.honest = honest
        self.card = SimpleNamespace(
            preprocess=PreprocessSpec(size=SIDE, crop="none", intensity="unit"),
            threshold=SimpleNamespace(value=0.5),
            temperature=1.0,
            bias=0.0,
        )

    calibrate = Predictor.calibrate

    def prepare(self, image: Image) -> NetworkInput:
        prepared = prepare(image.pixels, self.card.preprocess)
        return NetworkInput(prepared.tensor, prepared.frame, Quality(usable=True, reason=None))

    def infer(self, batch: NDArray[np.float32], batch_size: int) -> Outputs:
        bright = (batch[:, 0] > (0.85 if self.honest else 0.3)).astype(np.float32)
        if not self.honest:
            bright[:, 10:] = bright[:, :, 10:] = 0
        cells = bright.reshape(len(batch), SIDE // CELL, CELL, SIDE // CELL, CELL)
        maps = (cells.mean(axis=(2, 4)) * 40 - 4).astype(np.float32)
        return Outputs(maps.max(axis=(1, 2)), maps, None)


def scan(
    number: int, *, tumour: bool, column: int | None = None
) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
    """A grey head on black; a tumour has a bright blob in it and a mark in the corner."""
    rng = np.random.default_rng(number)
    shown = np.zeros((SIDE, SIDE), dtype=np.uint8)
    cv2.circle(shown, (32, 34), 24, [100], cv2.FILLED)
    head = shown > 0
    shown[head] += rng.integers(0, 20, int(head.sum()), dtype=np.uint8)
    x, y = (int(v) for v in rng.integers(24, 40, 2))
    x = x if column is None else column
    if tumour:
        cv2.circle(shown, (x, y), 4, [LESION], cv2.FILLED)
        shown[1:7, 1:7] = MARK
    return shown, tuple(v / SIDE for v in (x - 4, y - 4, x + 5, y + 5))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return drawn(tmp_path_factory.mktemp("scans"))


def drawn(folder: Path, column: int | None = None, view: Plane | None = None) -> list[Record]:
    found = []
    for number in range(40):
        tumour = number % 2 == 0
        shown, box = scan(number, tumour=tumour, column=column)
        path = folder / f"{number:02}.png"
        assert cv2.imwrite(str(path), shown)
        found.append(
            Record(
                key=f"drawn:{number}", path=path, source=("north", "south")[number // 2 % 2],
                label=int(tumour), boxes=(cast("Any", box),) if tumour else None, group=number,
                view=view,
            )
        )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def honest(records: list[Record]) -> ShortcutResults:
    return results(records, honest=True)


@pytest.fixture(scope="module")
def cheat(records: list[Record]) -> ShortcutResults:
    return results(records, honest=False)


def results(records: list[Record], *, honest: bool) -> ShortcutResults:
    model = cast("Predictor", Model(honest=honest))
    return run_shortcut_tests(model, records, part="test", n_boot=50)


def value(found: ShortcutResults, test: str, name: str) -> Estimate:
    (one,) = [each for each in found.measurements if (each.test, each.name) == (test, name)]
    return one.estimate


@pytest.mark.parametrize(
    ("test", "name", "by_lesion", "by_mark"),
    [
        ("unmodified", "ROC-AUC", 1.0, 1.0),
        ("border only", "ROC-AUC", 0.5, 1.0),
        ("masked centre", "still predicted positive", 0.0, 1.0),
        ("masked centre", "healthy flips to tumour", 0.0, 0.0),
        ("masked tumour", "inpainted: probability drops", 1.0, 0.0),
        ("masked tumour", "inpainted: flips to healthy", 1.0, 0.0),
        ("masked tumour", "grey: flips to healthy", 1.0, 0.0),
        ("masked tumour", "own tissue: flips to healthy", 1.0, 0.0),
        ("masked elsewhere", "inpainted: flips to healthy", 0.0, 0.0),
        ("masked elsewhere", "grey: mean drop", 0.0, 0.0),
        ("inserted lesion", "predicted positive", 1.0, 0.0),
        ("inserted lesion", "peak inside", 1.0, 0.0),
        ("inserted healthy tissue", "predicted positive", 0.0, 0.0),
        ("thumbnail 16 × 16", "ROC-AUC", None, 1.0),
        ("skull stripped", "still predicted positive", 1.0, 0.0),
        ("skull stripped", "healthy flips to tumour", 0.0, 0.0),
        ("swapped background", "of the other class: predictions flip", 0.0, 1.0),
        ("swapped background", "of the other class: healthy flips to tumour", 0.0, 1.0),
        ("swapped background", "of the same class: predictions flip", 0.0, 0.0),
    ],
)
def test_a_model_that_uses_the_lesion_passes_and_one_that_uses_a_mark_fails(
    honest: ShortcutResults,
    cheat: ShortcutResults,
    test: str,
    name: str,
    by_lesion: float | None,
    by_mark: float,
) -> None:
    if by_lesion is not None:
        assert value(honest, test, name).value == pytest.approx(by_lesion, abs=0.051)
    assert value(cheat, test, name).value == pytest.approx(by_mark, abs=0.051)


def halves(records: list[Record], *, honest: bool) -> tuple[Estimate, Estimate]:
    model = cast("Predictor", Model(honest=honest))
    scans = tuple(read_scan(model, record) for record in records)
    outputs = infer_all(model, [scan.tensor for scan in scans])
    still, healthy = without_tumour_half(ScanSet(model, scans, outputs, seed=0, n_boot=50))
    assert (still.test, healthy.name) == ("mirrored half", "healthy flips to tumour")
    return still.estimate, healthy.estimate


def test_mirroring_the_healthy_half_removes_the_tumour_for_an_honest_model(tmp_path: Path) -> None:
    beside = drawn(tmp_path, 46, "axial")  # the clear half is the one with the mark
    for honest, share in ((True, 0.0), (False, 1.0)):
        still, healthy = halves(beside, honest=honest)
        assert (still.value, still.n) == (share, 20)
        assert (healthy.value, healthy.n) == (0.0, 20)
    for column, view in ((32, "axial"), (46, "sagittal")):
        still, _ = halves(drawn(tmp_path, column, cast("Plane", view)), honest=True)
        assert still.n == 0


def test_n_counts_the_scans_of_each_test(honest: ShortcutResults) -> None:
    assert value(honest, "unmodified", "ROC-AUC").n == 40
    assert value(honest, "masked tumour", "grey: mean drop").n == 20
    assert value(honest, "inserted lesion", "predicted positive").n == 20
    assert (
        value(honest, "swapped background", "of the other class: tumour flips to healthy").n == 20
    )


def test_findings_name_what_fails_and_nothing_else(
    honest: ShortcutResults, cheat: ShortcutResults
) -> None:
    said = " ".join(cheat.findings())
    for part in (
        "Border and background alone, with the head taken out, give a ROC-AUC of 1.00",
        "Masking the tumour (grey) lowers the probability in only 0 % of tumour images",
        "Only 0 % of lesions inserted",
        "100 % of predictions flip when the background is that of a scan of the other class "
        "(95 % interval 100 to 100 %, n = 40).",
    ):
        assert part in said
    assert not [text for text in honest.findings() if "detail" not in text]


def test_the_results_as_json(cheat: ShortcutResults) -> None:
    document = json.loads(json.dumps(cheat.to_dict(), allow_nan=False))
    assert document["images"] == document["drawn_from"] == 40
    assert document["findings"] == list(cheat.findings())
    (masked,) = [f for f in document["measurements"] if f["name"] == "grey: probability drops"]
    assert masked == {
        "test": "masked tumour", "name": "grey: probability drops", "value": 0.0, "low": 0.0,
        "high": 0.0, "n": 20, "at_least": 0.9, "at_most": None, "fails": True,
    }  # fmt: skip


def test_indistinguishable_sources_cannot_be_read(honest: ShortcutResults) -> None:
    for word in ("healthy", "tumour"):
        told = value(honest, "source from map and logit", f"macro ROC-AUC among {word}")
        assert told.low <= 0.5 <= told.high
        assert value(honest, "logit by source", f"north against others, {word}").n == 20
    assert honest.skipped == tuple(
        f"{target} among {word}: fewer than two classes with 5 groups of scans"
        for target in ("view", "resolution")
        for word in ("healthy", "tumour")
    )


def test_a_visible_source_is_read(tmp_path: Path, records: list[Record]) -> None:
    # One source's healthy heads carry a dot that the model's map shows.
    marked = []
    for record in records:
        shown = cv2.imread(str(record.path), cv2.IMREAD_GRAYSCALE)
        assert shown is not None
        if record.source == "north":
            cv2.circle(shown, (52, 58), 3, [LESION], cv2.FILLED)
        path = tmp_path / record.path.name
        assert cv2.imwrite(str(path), shown)
        marked.append(Record(**{**record.__dict__, "path": path}))
    found = results(marked, honest=True)
    assert value(found, "source from map and logit", "macro ROC-AUC among healthy").value > 0.95
    assert value(found, "logit by source", "north against others, healthy").value == 1.0
    said = " ".join(found.findings())
    assert "The source of healthy scans can be read from the map and logit" in said
    assert "Among healthy scans the prediction depends on the source: it separates north" in said


def test_tumours_alone_without_boxes_leave_most_undefined(records: list[Record]) -> None:
    bare = [Record(**{**r.__dict__, "boxes": None}) for r in records[:12] if r.label == 1]
    found = results(bare, honest=True)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    (masked,) = [f for f in document["measurements"] if f["name"] == "grey: probability drops"]
    assert (masked["value"], masked["n"], masked["fails"]) == (None, 0, False)
    assert value(found, "border only", "predicted positive").value == 0.0
    assert found.findings() == ()
    defined = {
        f"{each.test}: {each.name}"
        for each in found.measurements
        if np.isfinite([each.estimate.value, each.estimate.low, each.estimate.high]).all()
    }
    assert defined == {
        "border only: predicted positive",
        "skull stripped: still predicted positive",
        "swapped background: of the same class: predictions flip",
    }


def test_records_must_be_labelled_and_grouped(records: list[Record]) -> None:
    without = [Record(key="a", path=records[0].path, source="s", label=1)]
    with pytest.raises(DataError, match="label and a group"):
        results(without, honest=True)


def test_a_missing_package_is_named(records: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tumorlens.evaluation.shortcuts.probes.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="audit"):
        results(records, honest=True)


def test_a_scan_locates_its_tumour(records: list[Record]) -> None:
    tumour = read_scan(cast("Predictor", Model(honest=True)), records[0])
    where = tumour.tensor[0] > 0.9
    assert where.any()
    assert (tumour.tumour | ~where).all(), "every lesion pixel is masked"
    assert tumour.tumour.sum() < 4 * where.sum()
    brain, anywhere = tumour.free_regions(tumour.tumour)
    assert not (brain & ~anywhere).any()
    assert not (anywhere & tumour.tumour).any()
    assert not (anywhere & ~tumour.head).any()
    healthy = read_scan(cast("Predictor", Model(honest=True)), records[1])
    assert not healthy.tumour.any()
