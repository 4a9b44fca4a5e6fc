"""A site calibration on the card: what it accepts, and how every form of the card shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.models_for_tests import tiny_card, tiny_onnx, write_tiny_model
from tumorlens.cli.app import run
from tumorlens.modelfile import SiteCalibration, SiteMetric, SiteValue, read_card
from tumorlens.modelfile.markdown import model_card_markdown

FIELDS: dict[str, Any] = {
    "date": "2026-11-30",
    "kind": "labelled",
    "base_sha256": "ab" * 32,
    "n": 240,
    "groups": 200,
    "n_tumor": 60,
    "left_out": 3,
    "temperature": SiteValue(value=0.5, low=0.4, high=0.6),
    "bias": SiteValue(value=-1.25, low=-1.5, high=-1.0),
    "threshold": SiteValue(value=0.2, low=0.1, high=0.3),
    "prior": SiteValue(value=0.25),
    "metrics": (
        SiteMetric(
            name="log_loss",
            before=SiteValue(value=0.6, low=0.5, high=0.7),
            after=SiteValue(value=0.3, low=0.2, high=0.4),
            difference=SiteValue(value=-0.3, low=-0.4, high=-0.2),
        ),
    ),
}
SITE = SiteCalibration(**FIELDS)


def test_it_survives_the_file(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "m.onnx", site=SITE, bias=-1.25, prior=0.25)
    card = read_card(path)
    assert (card.site, card.bias, card.prior) == (SITE, -1.25, 0.25)


def test_the_markdown_card_shows_bias_values_and_metrics() -> None:
    text = model_card_markdown(tiny_card(tiny_onnx(), site=SITE, bias=-1.25, prior=0.25))
    assert "temperature 0.5 and bias -1.25, for scans of which 0.25 are tumours\n" in text
    assert "### Site calibration" in text
    assert "on 240 labelled scans in 200 groups, 60 tumours, 2026-11-30" in text
    assert "| bias | -1.25 (-1.5 to -1) |" in text
    assert "| share of tumours | 0.25 |" in text
    assert "| log loss | 0.6 (0.5 to 0.7) | 0.3 (0.2 to 0.4) | -0.3 (-0.4 to -0.2) |" in text
    assert "Site calibration" not in model_card_markdown(tiny_card(tiny_onnx()))


def test_the_command_shows_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tiny_model(tmp_path / "m.onnx", site=SITE, bias=-1.25, prior=0.25)
    assert run(["model", str(path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "site calibration on 240 labelled scans in 200 groups, 60 tumours, 2026-11-30" in out
    assert "temperature 0.5 (0.4 to 0.6)" in out
    assert "bias -1.25 prior 0.25 of the scans are tumours" in out
    assert "log loss 0.6 (0.5 to 0.7) 0.3 (0.2 to 0.4) -0.3 (-0.4 to -0.2)" in out


@pytest.mark.parametrize(
    ("field", "value"),
    [("date", "today"), ("kind", "guessed"), ("base_sha256", "ab"), ("n", -1), ("folder", "x")],
)
def test_a_wrong_field_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        SiteCalibration(**{**FIELDS, field: value})
