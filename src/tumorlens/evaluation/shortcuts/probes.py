"""Linear probes: can source, view and resolution be predicted from a model's outputs?

A logistic regression predicts them from the class map and the logit (or from features of the
network), cross-validated by group and within one label, so that it cannot use the label. A property
that can be predicted need not be used by the model; an association of the logit itself with the
property, again within one label, shows that it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import MissingExtraError
from tumorlens.evaluation.shortcuts.measurement import Measurement
from tumorlens.evaluation.shortcuts.scans import ScanSet
from tumorlens.metrics.shares import auc_estimate, macro_auc_estimate

_FOLDS = 5
_FEWEST_GROUPS = 5  # of each class, one a fold; classes with fewer are left out
_PENALTY = 0.01  # inverse strength of the L2 penalty; there are more features than scans
_READABLE = 0.8
_ASSOCIATED = (0.3, 0.7)
_LABEL_NAMES = {0: "healthy", 1: "tumour"}


def check_installed() -> None:
    """Raise `MissingExtraError` unless scikit-learn is installed."""
    if find_spec("sklearn") is None:
        raise MissingExtraError("the classifiers of the shortcut tests", "audit")


def probes(data: ScanSet, features: Mapping[str, NDArray[np.float64]]) -> list[Measurement]:
    """Return how well each property is predicted from each set of features, within each label.

    Args:
        data: The scans and the model's outputs for them.
        features: Name → features float64 ``[N, F]``.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    check_installed()
    found = []
    for attribute, label, values, rows in _testable(data):
        _, codes = np.unique(values, return_inverse=True)
        for name, table in features.items():
            scores = _out_of_fold(table[rows], codes, data.groups[rows], data.seed)
            if scores.shape[1] == 2:
                scores = scores[:, 1:]
            auc = macro_auc_estimate(
                codes, scores, data.groups[rows], n_boot=data.n_boot, seed=data.seed
            )
            meaning = f"The {attribute} of {label} scans can be read from the {name}: "
            limit = _READABLE if label == "healthy" else None
            found.append(
                Measurement(f"{attribute} from {name}", f"macro ROC-AUC among {label}", auc,
                            None, limit, meaning + "macro ROC-AUC {}", percent=False)
            )  # fmt: skip
    return found


def associations(data: ScanSet) -> list[Measurement]:
    """Return how well the logit alone separates one source, view or resolution from the others.

    This is a ROC-AUC among scans of one label: 0.5 if the logit is independent of the property,
    above if scans with it get higher probabilities than the others.
    """
    found = []
    for attribute, label, values, rows in _testable(data):
        classes = np.unique(values)
        for name in classes[:1] if classes.size == 2 else classes:
            auc = auc_estimate(
                (values == name).astype(np.int64), data.outputs.logits[rows], data.groups[rows],
                n_boot=data.n_boot, seed=data.seed,
            )  # fmt: skip
            meaning = (
                f"Among {label} scans the prediction depends on the {attribute}: it separates "
                f"{name} from the others with ROC-AUC {{}}"
            )
            found.append(
                Measurement(f"logit by {attribute}", f"{name} against others, {label}", auc,
                            *_ASSOCIATED, meaning, percent=False)
            )  # fmt: skip
    return found


def properties(data: ScanSet) -> dict[str, NDArray[np.str_]]:
    """Return source, view and resolution of each scan as strings ``[N]``; "" if not known.

    The resolution is the longer side of the original image, binned at its tertiles.
    """
    records = [scan.record for scan in data.scans]
    sides = np.array([scan.side for scan in data.scans])
    edges = np.unique(np.quantile(sides, (1 / 3, 2 / 3)).round().astype(int))
    names = [f"below {edges[0]} px", *(f"{edge} px or more" for edge in edges)]
    return {
        "source": np.array([record.source for record in records]),
        "view": np.array([record.view or "" for record in records]),
        "resolution": np.array([names[i] for i in np.searchsorted(edges, sides, side="right")]),
    }


def skipped(data: ScanSet) -> tuple[str, ...]:
    """Return what was left out for too few groups, one sentence each."""
    tested = {(attribute, label) for attribute, label, *_ in _testable(data)}
    return tuple(
        f"{attribute} among {label}: fewer than two classes with {_FEWEST_GROUPS} groups of scans"
        for attribute in properties(data)
        for label in _LABEL_NAMES.values()
        if (attribute, label) not in tested
    )


def map_features(data: ScanSet) -> dict[str, NDArray[np.float64]]:
    """Return the model file's outputs as features: the logit, and the map's cells if it has one."""
    logits = data.outputs.logits[:, None]
    if data.outputs.maps is None:
        return {"logit": logits}
    cells = data.outputs.maps.reshape(len(logits), -1).astype(np.float64)
    return {"map and logit": np.concatenate([cells, logits], axis=1)}


def _testable(data: ScanSet) -> Iterator[tuple[str, str, NDArray[np.str_], NDArray[np.int64]]]:
    """Yield property, label, values ``[K]`` and rows ``[K]`` where at least two classes occur."""
    for attribute, values in properties(data).items():
        for label, name in _LABEL_NAMES.items():
            rows = _usable(values, data, label)
            if np.unique(values[rows]).size >= 2:
                yield attribute, name, values[rows], rows


def _usable(values: NDArray[np.str_], data: ScanSet, label: int) -> NDArray[np.int64]:
    """Return the rows of one label whose class is known and has enough groups."""
    kept = []
    for name in np.unique(values[values != ""]):
        rows = np.flatnonzero((values == name) & (data.labels == label))
        if np.unique(data.groups[rows]).size >= _FEWEST_GROUPS:
            kept.append(rows)
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, dtype=np.int64)


def _out_of_fold(
    table: NDArray[np.float64], codes: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Return class scores ``[K, classes]`` from a cross-validation that keeps groups together."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = np.zeros((len(codes), int(codes.max()) + 1))
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(table, codes, groups):
        model = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=_PENALTY, class_weight="balanced", max_iter=1000),
        )
        model.fit(table[train], codes[train])
        scores[np.ix_(test, model.classes_)] = model.predict_proba(table[test])
    return scores
