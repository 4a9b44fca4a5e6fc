"""A model file and a site's scans → a new file whose answers follow the formula, or a refusal."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.data.drawn_sets import draw_head, save
from tests.imaging.dicoms import dicom
from tests.models_for_tests import write_tiny_model
from tumorlens import Predictor
from tumorlens.calibration.site import calibrate_model
from tumorlens.cli.app import run
from tumorlens.errors import ConfigError, DataError, TumorLensError
from tumorlens.metrics.calibration import probability
from tumorlens.metrics.decision import Threshold, decide
from tumorlens.modelfile import (
    DataSource,
    Metric,
    ModelCard,
    SeriesRule,
    read_card,
    read_model,
)

Capture = pytest.CaptureFixture[str]
N = 80
THRESHOLD = Threshold(0.6, 0.9, "sensitivity 0.9 on calibration scans", 500)
METRICS = tuple(
    Metric(name=name, split="test", value=0.9, low=0.8, high=0.95, n=100)
    for name in ("roc_auc", "sensitivity", "nll")
)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "shipped.onnx"
    return write_tiny_model(path, prior=0.6, threshold=THRESHOLD, metrics=METRICS)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A folder of 80 drawn heads, the half with the higher answers (and some others) tumours."""
    root = tmp_path_factory.mktemp("site") / "hospital"
    (root / "scans").mkdir(parents=True)
    heads = [draw_head(seed, lesion=seed % 2 == 1, size=96) for seed in range(N)]
    logits = np.array([logit_of(model, head) for head in heads])
    noisy = logits + np.random.default_rng(0).normal(0, 0.5 * logits.std(), N)
    rows = []
    for number, head in enumerate(heads):
        name = f"scans/{number:02}.png"
        save(root / name, head)
        rows.append((name, "tumor" if noisy[number] > np.median(noisy) else "healthy"))
    return write_rows(root, rows)


def write_rows(root: Path, rows: list[tuple[str, str]]) -> Path:
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([("path", "label"), *rows])
    return root


def read_rows(root: Path) -> list[tuple[str, str]]:
    with (root / "manifest.csv").open(newline="", encoding="utf-8") as table:
        return [(row["path"], row["label"]) for row in csv.DictReader(table)]


def copy_of(site: Path, root: Path, rows: list[tuple[str, str]] | None = None) -> Path:
    """Return a folder with the same scans, and these rows as its manifest."""
    (root / "scans").mkdir(parents=True)
    for path in (site / "scans").iterdir():
        (root / "scans" / path.name).write_bytes(path.read_bytes())
    return write_rows(root, read_rows(site) if rows is None else rows)


def logit_of(model: Path, head: np.ndarray[Any, Any]) -> float:
    predictor = Predictor.open(model, threads=1)
    return float(predictor.infer(predictor.prepare(_image(head)).tensor[None]).logits[0])


def _image(head: np.ndarray[Any, Any]) -> Any:
    from tumorlens.imaging.image import Image

    return Image(head, "array", "head")


@pytest.fixture(scope="module")
def fitted(model: Path, site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "site.onnx"
    calibrate_model(model, site, out, threads=1)
    return out


def test_the_new_file_answers_by_the_formula(model: Path, fitted: Path) -> None:
    card = read_card(fitted)
    assert (card.temperature, card.bias) != (0.5, 0.0)
    predictor = Predictor.open(fitted, threads=1)
    for seed in (3, 200, 201):
        head = draw_head(seed, lesion=seed == 201, size=96)
        answer = predictor.predict(head)
        wanted = 1 / (1 + np.exp(-(logit_of(model, head) / card.temperature + card.bias)))
        assert answer.prob == pytest.approx(wanted, rel=1e-6)
        assert answer.threshold == card.threshold.value
        assert answer.model.version == "1.0+site"


def test_the_heat_map_follows_the_bias(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "rare.onnx"
    calibrate_model(model, None, out, prior=0.9)
    head = draw_head(5, lesion=True, size=96)
    before, after = (Predictor.open(p, threads=1).explain(head).heatmap for p in (model, out))
    card = read_card(out)
    # 2p - 1 of a cell in which p is above one half before and after.
    at = np.unravel_index(before.argmax(), before.shape)
    cell = 2 * np.arctanh(before[at]) + card.bias
    assert after[at] == pytest.approx(np.tanh(cell / 2), abs=1e-5)


def test_the_card_records_how_it_was_fitted(model: Path, fitted: Path) -> None:
    card, site = read_card(fitted), read_card(fitted).site
    assert site is not None
    assert (site.kind, site.n, site.groups, site.n_tumor, site.left_out) == (
        "labelled", N, N, N // 2, 0,
    )  # fmt: skip
    assert site.base_sha256 == read_model(model).sha256
    assert (site.temperature.value, site.bias.value) == (card.temperature, card.bias)
    assert (site.threshold.value, site.prior.value) == (card.threshold.value, card.prior)
    assert card.prior == 0.5
    for value in (site.temperature, site.bias, site.threshold):
        assert value.low is not None
        assert value.high is not None
        assert value.low < value.value < value.high
    assert {metric.name: metric.after.value for metric in site.metrics}.keys() == {
        "log_loss", "ece", "sensitivity", "specificity",
    }  # fmt: skip
    assert card.threshold.target == 0.9
    assert card.threshold.origin == f"sensitivity 0.9 on {N} scans of the site"
    assert card.conformal is not None
    assert [(c.alpha, c.n_tumor, c.n_healthy) for c in card.conformal] == [(0.1, 40, 40)]
    # What the fit makes untrue is no longer on the card; the given file is as it was.
    assert [metric.name for metric in card.metrics] == ["roc_auc"]
    assert "hospital" not in card.model_dump_json()
    assert read_card(model).site is None


def test_the_log_loss_of_a_miscalibrated_model_falls(fitted: Path) -> None:
    site = read_card(fitted).site
    assert site is not None
    (loss,) = [metric for metric in site.metrics if metric.name == "log_loss"]
    assert loss.difference.high is not None
    assert loss.difference.high < 0
    assert loss.after.value - loss.before.value == pytest.approx(loss.difference.value)


def test_a_given_target_moves_the_threshold(model: Path, site: Path, tmp_path: Path) -> None:
    out = tmp_path / "half.onnx"
    calibrate_model(model, site, out, target=0.5, threads=1)
    card, predictor = read_card(out), Predictor.open(out, threads=1)
    tumours = [site / path for path, label in read_rows(site) if label == "tumor"]
    found = sum(each.label == "tumor" for each in predictor.predict_many(tumours))
    assert found == N // 4
    assert card.threshold.target == 0.5


def test_a_known_share_moves_the_fitted_probabilities(
    model: Path, site: Path, fitted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "moved.onnx"
    calibrate_model(model, site, out, prior=0.1, threads=1)
    card, start = read_card(out), read_card(fitted)
    assert card.prior == 0.1
    assert card.temperature == start.temperature
    assert card.bias == pytest.approx(start.bias + np.log(0.1 / 0.9))
    same_decisions(start, card)


def same_decisions(before: ModelCard, after: ModelCard) -> None:
    """Moving to another share of tumours changes probabilities, no label and no decision."""
    for logit in np.linspace(-4, 4, 201):
        decisions = [
            decide(
                float(probability(logit, card.temperature, card.bias)),
                card.threshold.value,
                card.conformal[0] if card.conformal else None,
            )
            for card in (before, after)
        ]
        assert decisions[0] == decisions[1]


def test_a_share_alone_needs_no_scans(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "prior.onnx"
    done = calibrate_model(model, None, out, prior=0.2)
    card, shipped = read_card(out), read_card(model)
    assert card.bias == pytest.approx(np.log(0.2 / 0.8) - np.log(0.6 / 0.4))
    assert (card.temperature, card.prior) == (shipped.temperature, 0.2)
    assert card.threshold.origin == f"{THRESHOLD.origin}, moved to a share of tumours of 0.2"
    same_decisions(shipped, card)
    assert [metric.name for metric in card.metrics] == ["roc_auc", "sensitivity"]
    assert (done.site.kind, done.site.n) == ("prior", 0)
    # Back again, and the answers are the shipped ones; the version is not extended twice.
    calibrate_model(out, None, tmp_path / "back.onnx", prior=0.6)
    back = read_card(tmp_path / "back.onnx")
    assert back.bias == pytest.approx(0)
    assert back.version == "1.0+site"
    assert back.threshold.value == pytest.approx(shipped.threshold.value)
    assert back.threshold.origin.count("moved to") == 1
    assert sum("Fitted to a site" in line for line in back.limitations) == 1


def test_the_rule_for_series_stays_without_its_fit(tmp_path: Path) -> None:
    rule = SeriesRule(name="run_mean", span_mm=9.0, slope=2.0, threshold=0.3, origin="shipped",
                      outline_level=-0.5, n=40, persons=30)  # fmt: skip
    path = write_tiny_model(tmp_path / "series.onnx", prior=0.6, threshold=THRESHOLD, series=rule)
    calibrate_model(path, None, tmp_path / "site.onnx", prior=0.2)
    found = read_card(tmp_path / "site.onnx").series
    assert found == SeriesRule(name="run_mean", span_mm=9.0, outline_level=-0.5)
    assert found.origin == "not calibrated for series"


def test_unlabelled_scans_give_the_share_with_an_interval(
    model: Path, site: Path, tmp_path: Path
) -> None:
    done = calibrate_model(model, site, tmp_path / "u.onnx", unlabelled=True, threads=1)
    card, shipped = read_card(done.path), read_card(model)
    assert (done.site.kind, done.site.n_tumor, done.site.metrics) == ("unlabelled", None, ())
    prior = done.site.prior
    assert prior.low is not None
    assert prior.high is not None
    assert prior.low < prior.value < prior.high
    assert card.bias == pytest.approx(np.log(prior.value / (1 - prior.value)) - np.log(0.6 / 0.4))
    assert done.site.bias.low == pytest.approx(
        np.log(prior.low / (1 - prior.low)) - np.log(0.6 / 0.4)
    )
    same_decisions(shipped, card)
    assert any("labelled scans are needed" in each for each in done.warnings)


def test_scans_that_cannot_be_used_are_named_and_left_out(
    model: Path, site: Path, tmp_path: Path, capsys: Capture
) -> None:
    rows = [*read_rows(site), ("scans/cut.png", "tumor"), ("scans/flat.png", "healthy"),
            ("scans/ct.dcm", "tumor")]  # fmt: skip
    root = copy_of(site, tmp_path / "hospital", rows)
    # A head as good as any, but by its header no MRI.
    (root / "scans" / "ct.dcm").write_bytes(dicom(draw_head(900, size=96), Modality="CT"))
    (root / "scans" / "cut.png").write_bytes((root / "scans" / "00.png").read_bytes()[:500])
    assert cv2.imwrite(str(root / "scans" / "flat.png"), np.full((96, 96), 9, np.uint8))
    out = tmp_path / "site.onnx"
    asked = ["calibrate", str(root), "--model", str(model), "--out", str(out), "--threads", "1"]
    assert run([*asked, "--json"]) == 3
    told = capsys.readouterr()
    document = json.loads(told.out)
    left = {Path(each["path"]).name: each["reason"] for each in document["left_out"]}
    assert left.keys() == {"cut.png", "flat.png", "ct.dcm"}
    assert all(f"{name}" in told.err for name in left)
    assert (document["site"]["n"], document["site"]["left_out"]) == (N, 3)
    assert document["sha256"] == read_model(out).sha256
    # Without the unreadable file the status is 0, in spite of those out of domain.
    write_rows(root, [row for row in rows if "cut" not in row[0]])
    assert run(asked) == 0
    told = capsys.readouterr()
    shown = " ".join(told.out.split())
    assert f"on {N} labelled scans in {N} groups" in shown
    assert "specificity" in shown
    assert "left out: " in told.err


def test_near_duplicates_do_not_count_as_scans(model: Path, site: Path, tmp_path: Path) -> None:
    rows = read_rows(site)
    tumours = [row for row in rows if row[1] == "tumor"]
    healthy = [row for row in rows if row[1] == "healthy"]
    copies = [(f"scans/copy{number}.png", "tumor") for number in range(30)]
    root = copy_of(site, tmp_path / "hospital", [*tumours[:10], *healthy, *copies])
    for path, _ in copies:
        (root / path).write_bytes((root / tumours[0][0]).read_bytes())
    message = r"40 tumours in 10 groups and 40 healthy in 40; .* needs 30 groups of each .*76% with"
    with pytest.raises(DataError, match=message):
        calibrate_model(model, root, tmp_path / "site.onnx", threads=1)
    with pytest.raises(DataError, match=r"80 in 50 groups; --unlabelled needs 60 groups"):
        calibrate_model(model, root, tmp_path / "site.onnx", unlabelled=True, threads=1)
    assert not (tmp_path / "site.onnx").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda row: (row[0], "tumor"),
            r"all 80 images are labelled tumor; .*--unlabelled.*--prior",
        ),
        (lambda row: (row[0], "healthy"), r"all 80 images are labelled healthy"),
        (lambda row: (row[0], ""), r"none of the 80 images has a label; .*--unlabelled"),
        (
            lambda row: (row[0], "" if "07" in row[0] else row[1]),
            r"1 of 80 images have no label, first .*07\.png",
        ),
        (
            lambda row: (row[0], {"tumor": "healthy", "healthy": "tumor"}[row[1]]),
            r"do not follow the labels .*interchanged",
        ),
    ],
)
def test_labels_that_cannot_be_used_are_refused(
    change: Any, reason: str, model: Path, site: Path, tmp_path: Path
) -> None:
    root = copy_of(site, tmp_path / "hospital", [change(row) for row in read_rows(site)])
    with pytest.raises(DataError, match=reason):
        calibrate_model(model, root, tmp_path / "site.onnx", threads=1)
    assert not (tmp_path / "site.onnx").exists()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"folder": None}, "nothing to fit to"),
        ({"folder": None, "unlabelled": True, "prior": 0.2}, "needs a folder"),
        ({"unlabelled": True, "prior": 0.2}, "give one of them"),
        ({"unlabelled": True, "target": 0.9}, "--target needs labelled scans"),
        ({"folder": None, "prior": 0.2, "target": 0.9}, "--target needs labelled scans"),
        ({"folder": None, "prior": 0.0}, "between 0 and 1"),
        ({"folder": None, "prior": 20.0}, "between 0 and 1"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    asked: dict[str, Any], reason: str, model: Path, tmp_path: Path
) -> None:
    options = {"folder": tmp_path, **asked}
    with pytest.raises(ConfigError, match=reason):
        calibrate_model(model, options.pop("folder"), tmp_path / "site.onnx", **options)
    assert list(tmp_path.iterdir()) == []


def test_the_given_file_is_never_written_to(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model.read_bytes())
    (tmp_path / "link.onnx").symlink_to(path)
    for out in (path, tmp_path / "link.onnx"):
        with pytest.raises(ConfigError, match="never changed"):
            calibrate_model(path, None, out, prior=0.2)
    assert path.read_bytes() == model.read_bytes()


def test_a_card_without_its_share_or_target_is_refused(tmp_path: Path, site: Path) -> None:
    path = write_tiny_model(tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="does not say for which share"):
        calibrate_model(path, None, tmp_path / "site.onnx", prior=0.2)
    with pytest.raises(ConfigError, match="give --target"):
        calibrate_model(path, site, tmp_path / "site.onnx")


def test_a_write_that_fails_leaves_nothing(model: Path, tmp_path: Path) -> None:
    with pytest.raises(TumorLensError, match="cannot be written"):
        calibrate_model(model, None, tmp_path / "missing" / "site.onnx", prior=0.2)
    assert list(tmp_path.iterdir()) == []


def test_scans_the_model_was_trained_on_are_told(site: Path, tmp_path: Path) -> None:
    known = DataSource(source="hospital", n=9, sha256="ab" * 32, licence="unclear")
    path = write_tiny_model(tmp_path / "m.onnx", data=(known,), threshold=THRESHOLD)
    done = calibrate_model(path, site, tmp_path / "site.onnx", threads=1)
    assert any("trained on images of hospital" in each for each in done.warnings)
