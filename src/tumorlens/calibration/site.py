"""A model file and a site's scans → a new model file for the site."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tumorlens.calibration.drift import check_output, moved_reference, site_reference
from tumorlens.calibration.fit import Fitted, as_shipped, fit_labelled, fit_unlabelled, moved_to
from tumorlens.calibration.scans import LeftOut, Progress, SiteScans, read_site
from tumorlens.errors import ConfigError
from tumorlens.inference.default_model import find_model
from tumorlens.inference.predictor import Predictor
from tumorlens.modelfile import (
    DriftReference,
    Metric,
    ModelCard,
    SeriesRule,
    SiteCalibration,
    SiteValue,
    read_model,
    write_model,
)
from tumorlens.modelfile.site import Kind

# Metrics of a card that stay true when temperature and bias change, and those that stay true when
# the threshold moves along with the bias.
_BY_ORDER = frozenset({"roc_auc", "pr_auc", "pointing", "pointing_15px"})
_BY_LABEL = frozenset(
    {"accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1", "mcc"}
)
# Below it the user is warned.
_LOW_SPECIFICITY = 0.5
_SUFFIX = "+site"
_NOTE = "Fitted to a site "


@dataclass(frozen=True)
class Calibrated:
    """The outcome: the new file, its card's record, what was not used, and reasons to doubt it."""

    path: Path
    sha256: str
    site: SiteCalibration
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        return {
            "model": str(self.path),
            "sha256": self.sha256,
            "site": self.site.model_dump(mode="json"),
            "left_out": [{"path": each.path, "reason": each.reason} for each in self.left_out],
            "warnings": list(self.warnings),
        }


def calibrate_model(
    model: str | Path | None,
    folder: str | Path | None,
    output: Path,
    *,
    unlabelled: bool = False,
    prior: float | None = None,
    target: float | None = None,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Calibrated:
    """Fit a model file to a site and write the result to ``output``; ``model`` stays as it is.

    Args:
        model: The model file; None takes the default as in `Predictor.open`.
        folder: The site's scans, as `load_source` takes them; None with ``prior`` alone.
        output: The new model file.
        unlabelled: Fit the share of tumours alone, by EM.
        prior: A known share of tumours, in (0, 1), that the probabilities are moved to.
        target: Sensitivity of the threshold; None takes the card's. Labelled scans only.
        seed: Seed of folds and bootstrap.
        threads: Number of inference threads.
        progress: Called with the number of scans done and in total.

    Raises:
        ConfigError: Options that exclude each other, or ``output`` is the model file itself.
        DataError: The scans cannot be used: too few, one class only, contradicting labels.
        InputError: A volume cannot be read.
        ModelFileError: The model file cannot be used.
        OutputError: ``output`` cannot be written.
    """
    source = find_model(model)
    _check_options(folder, unlabelled, prior, target)
    check_output(source, output)
    predictor, model_file = Predictor.open(source, threads=threads), read_model(source)
    card = model_file.card
    if folder is None or unlabelled:
        _check_prior(card, source)
    elif target is None and (target := card.threshold.target) is None:
        raise ConfigError(f"{source}: the card states no target sensitivity; give --target")
    scans = None
    if folder is not None:
        scans = read_site(predictor, folder, labelled=not unlabelled, progress=progress)
    fitted, kind = _fit(card, scans, prior, target, seed)
    record = _record(fitted, kind, scans, model_file.sha256)
    drift = _reference(card, fitted, scans)
    write_model(model_file.onnx_bytes, _new_card(card, fitted, record, drift), output)
    return Calibrated(
        output,
        read_model(output).sha256,
        record,
        scans.left_out if scans else (),
        tuple(_warnings(card, fitted, scans, record)),
    )


def _check_options(
    folder: str | Path | None, unlabelled: bool, prior: float | None, target: float | None
) -> None:
    if folder is None and prior is None:
        raise ConfigError("nothing to fit to: give a folder of the site's scans, or --prior")
    if folder is None and unlabelled:
        raise ConfigError("--unlabelled needs a folder of scans")
    if unlabelled and prior is not None:
        raise ConfigError("--unlabelled estimates the share of tumours and --prior states it; "
                          "give one of them")  # fmt: skip
    if target is not None and (folder is None or unlabelled):
        raise ConfigError("--target needs labelled scans, on which sensitivity can be measured")
    if prior is not None and not 0 < prior < 1:
        raise ConfigError(f"--prior is {prior:g}; give a share between 0 and 1, such as 0.2")


def _check_prior(card: ModelCard, source: Path) -> None:
    if card.prior is None:
        raise ConfigError(
            f"{source}: the card does not say for which share of tumours it is calibrated, so it "
            "cannot be moved to another; calibrate on labelled scans"
        )


def _fit(
    card: ModelCard,
    scans: SiteScans | None,
    prior: float | None,
    target: float | None,
    seed: int,
) -> tuple[Fitted, Kind]:
    given = None if prior is None else SiteValue(value=prior)
    if scans is None:
        assert given is not None
        return moved_to(as_shipped(card), given), "prior"
    if scans.labels is None:
        return fit_unlabelled(card, scans, seed), "unlabelled"
    assert target is not None
    fitted = fit_labelled(card, scans, target, seed)
    return (moved_to(fitted, given) if given else fitted), "labelled"


def _record(
    fitted: Fitted, kind: Kind, scans: SiteScans | None, base_sha256: str
) -> SiteCalibration:
    return SiteCalibration(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        kind=kind,
        base_sha256=base_sha256,
        n=len(scans.logits) if scans else 0,
        groups=scans.n_groups if scans else 0,
        n_tumor=int(scans.labels.sum()) if scans and scans.labels is not None else None,
        left_out=len(scans.left_out) if scans else 0,
        temperature=fitted.temperature,
        bias=fitted.bias,
        threshold=fitted.threshold_interval,
        prior=fitted.prior,
        metrics=fitted.metrics,
    )


def _reference(card: ModelCard, fitted: Fitted, scans: SiteScans | None) -> DriftReference | None:
    """Return the histograms of the site's scans; without any, the card's with its scores moved."""
    if scans is not None:
        return site_reference(scans, fitted.temperature.value, fitted.bias.value)
    if card.drift is None:
        return None
    return moved_reference(card.drift, fitted.bias.value - card.bias)


def _new_card(
    card: ModelCard, fitted: Fitted, record: SiteCalibration, drift: DriftReference | None
) -> ModelCard:
    """Return the card with the new values, without the metrics they make untrue."""
    metrics = tuple(each for each in card.metrics if _stays_true(each, record.kind))
    notes = [line for line in card.limitations if not line.startswith(_NOTE)]
    notes.append(
        f"{_NOTE}{record.describe()}: probabilities, threshold and sets hold for scans like "
        "those. Metrics that depend on what was fitted are not on this card."
    )
    changes: dict[str, Any] = {
        "version": card.version.removesuffix(_SUFFIX) + _SUFFIX,
        "temperature": fitted.temperature.value,
        "bias": fitted.bias.value,
        "prior": fitted.prior.value,
        "threshold": fitted.threshold,
        "conformal": fitted.conformal,
        "site": record,
        "series": _uncalibrated(card.series),
        "drift": drift,
        "metrics": metrics,
        "limitations": tuple(notes),
    }
    return ModelCard.model_validate(card.model_dump() | changes)


def _uncalibrated(rule: SeriesRule | None) -> SeriesRule | None:
    """Return the rule for series without its fit, which was to the shipped probabilities."""
    if rule is None:
        return None
    fit = {"slope", "intercept", "threshold", "origin", "conformal", "n", "persons"}
    return SeriesRule.model_validate(rule.model_dump(exclude=fit))


def _stays_true(metric: Metric, kind: Kind) -> bool:
    return metric.name in _BY_ORDER or (kind != "labelled" and metric.name in _BY_LABEL)


def _warnings(
    card: ModelCard, fitted: Fitted, scans: SiteScans | None, record: SiteCalibration
) -> list[str]:
    found = []
    trained = {source.source for source in card.data}
    if scans is not None and (known := sorted(trained & scans.sources)):
        found.append(
            f"the model was trained on images of {', '.join(known)}: on scans it has seen its "
            "answers are surer than elsewhere; calibrate on others"
        )
    for metric in fitted.metrics:
        if metric.name == "log_loss" and (metric.difference.high or 0) >= 0:
            found.append(
                "these scans do not show that the new probabilities are better than the shipped "
                f"ones (log loss changes by {metric.difference}); the shipped model may serve as "
                "well"
            )
        if metric.name == "specificity" and metric.after.value < _LOW_SPECIFICITY:
            found.append(
                f"at the threshold, {1 - metric.after.value:.0%} of the site's healthy scans are "
                "predicted positive: this model tells few of them from tumours at that "
                "sensitivity. Choose a lower --target, or do not use it on such scans"
            )
    if fitted.conformal and max(fitted.conformal[0].tumor, fitted.conformal[0].healthy) >= 1:
        found.append(
            f"too few scans for sets at an error rate of {fitted.conformal[0].alpha:g}: a class "
            "stays in every set, and most decisions will be 'uncertain'"
        )
    if record.kind == "unlabelled":
        found.append(
            "this holds only where tumours and healthy heads look as they did to the model in "
            "training (scanner, sequence, view) and nothing but their shares differs; where they "
            "look different it can do harm, and labelled scans are needed"
        )
    return found
