"""Which histograms a model file has after `tumorlens calibrate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.drawn_sets import draw_head, draw_set, save
from tests.models_for_tests import write_tiny_model
from tumorlens import Predictor
from tumorlens.calibration.drift import add_reference, moved_reference
from tumorlens.calibration.site import calibrate_model
from tumorlens.cli.app import run
from tumorlens.errors import ConfigError, DataError
from tumorlens.metrics.decision import Threshold
from tumorlens.metrics.drift import count_bins
from tumorlens.metrics.site import log_odds
from tumorlens.modelfile import DriftReference, ReferenceHistogram, read_card

N = 72
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    threshold = Threshold(0.6, 0.9, "sensitivity 0.9 on calibration scans", 500)
    path = tmp_path_factory.mktemp("model") / "shipped.onnx"
    return write_tiny_model(path, prior=0.6, threshold=threshold)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 72 drawn heads without labels."""
    root = tmp_path_factory.mktemp("site") / "hospital"
    root.mkdir()
    for seed in range(N):
        save(root / f"{seed:02}.png", draw_head(seed, lesion=seed % 2 == 1, size=96))
    return root


def scores(model: Path, site: Path) -> list[float]:
    predictor = Predictor.open(model, threads=1)
    return [each.prob for each in predictor.predict_many(sorted(site.glob("*.png")))]


def histogram(path: Path, name: str = "score") -> ReferenceHistogram:
    drift = read_card(path).drift
    assert drift is not None
    return next(each for each in drift.histograms if each.name == name)


def test_the_command_adds_the_scans_and_changes_no_answer(
    model: Path, site: Path, tmp_path: Path, capsys: Capture
) -> None:
    (site / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    out = tmp_path / "watched.onnx"
    asked = ["calibrate", str(site), "--model", str(model), "--out", str(out), "--reference-only"]
    try:
        assert run([*asked, "--threads", "1"]) == 3
    finally:
        (site / "broken.png").unlink()
    told = capsys.readouterr()
    assert f"reference for drift: {N} scans of the site in" in told.out
    assert "broken.png" in told.err
    card = read_card(out)
    assert card.model_copy(update={"drift": None}) == read_card(model)
    found = histogram(out)
    assert list(found.counts) == count_bins(scores(model, site), found.edges).tolist()
    assert [each.name for each in card.drift.histograms] == [  # type: ignore[union-attr]
        "score", "brightness", "contrast", "sharpness",
    ]  # fmt: skip
    assert "hospital" not in card.model_dump_json()
    assert run([*asked, "--threads", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["drift"]["n"] == N


def test_a_fit_takes_its_scans_at_the_new_probabilities(
    model: Path, site: Path, tmp_path: Path
) -> None:
    out = tmp_path / "site.onnx"
    calibrate_model(model, site, out, unlabelled=True, threads=1)
    found = histogram(out)
    assert list(found.counts) == count_bins(scores(out, site), found.edges).tolist()
    assert scores(out, site) != scores(model, site)


def test_a_share_alone_moves_the_edges_of_the_scores(
    model: Path, site: Path, tmp_path: Path
) -> None:
    watched, moved = tmp_path / "watched.onnx", tmp_path / "moved.onnx"
    add_reference(model, site, watched, threads=1)
    calibrate_model(watched, None, moved, prior=0.1)
    before, after = histogram(watched), histogram(moved)
    assert after.counts == before.counts
    assert list(after.counts) == count_bins(scores(moved, site), after.edges).tolist()
    assert histogram(moved, "contrast") == histogram(watched, "contrast")
    bare = tmp_path / "bare.onnx"
    calibrate_model(model, None, bare, prior=0.1)
    assert read_card(bare).drift is None


def test_edges_that_meet_at_the_end_of_the_scale_join_their_bins() -> None:
    histogram = ReferenceHistogram(
        name="score", edges=(0.5, 1 - 1e-12, 1 - 1e-13, 1.0), counts=(4, 3, 2, 1, 0)
    )
    reference = DriftReference(
        date="2026-11-30", scans="drawn scans", n=10, groups=10, histograms=(histogram,)
    )
    (moved,) = moved_reference(reference, 30.0).histograms
    assert sum(moved.counts) == 10
    assert np.all(np.diff(moved.edges) > 0)
    assert log_odds(moved.edges[0]) == pytest.approx(30.0, rel=0.01)


def test_too_few_scans_and_the_file_itself_are_refused(model: Path, tmp_path: Path) -> None:
    draw_set(tmp_path / "few", 6, 6)
    with pytest.raises(DataError, match="50 scans that the model answers, and there are 12"):
        add_reference(model, tmp_path / "few", tmp_path / "new.onnx", threads=1)
    with pytest.raises(ConfigError, match="never changed"):
        add_reference(model, tmp_path / "few", model)
    assert not (tmp_path / "new.onnx").exists()


@pytest.mark.parametrize("more", [["--unlabelled"], ["--prior", "0.2"], ["--target", "0.9"]])
def test_the_reference_goes_without_options_of_a_fit(
    more: list[str], site: Path, tmp_path: Path, capsys: Capture
) -> None:
    asked = ["calibrate", str(site), "--out", str(tmp_path / "n.onnx"), "--reference-only"]
    assert run([*asked, *more]) == 2
    assert "goes without" in capsys.readouterr().err
