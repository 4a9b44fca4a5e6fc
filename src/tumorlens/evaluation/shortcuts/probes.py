"""Can source, view and resolution be read from what the model makes of a scan?

A logistic regression tries to name them from the class map and the logit (or from features of the
network), on scans of groups it has not seen, and only among scans of one label, so that it cannot
go by the label. That something can be read does not say that the prediction uses it; the
association of the logit itself, again inside one label, does.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import MissingExtraError
from tumorlens.evaluation.shortcuts.measurement import Measurement
from tumorlens.evaluation.shortcuts.scans import ScanSet
from tumorlens.metrics.shares import auc_estimate, macro_auc_estimate

_FOLDS = 5
_FEWEST_GROUPS = 5  # of each class, one a fold; below, nothing is tried
_PENALTY = 0.01  # inverse strength of the regression's L2 penalty; features outnumber scans
_READABLE = 0.8
_ASSOCIATED = (0.3, 0.7)
_WORDS = {0: "healthy", 1: "tumour"}


def check_installed() -> None:
    """Raise `MissingExtraError` unless the classifiers can be trained here."""
    if find_spec("sklearn") is None:
        raise MissingExtraError("the classifiers of the shortcut tests", "audit")


def probes(data: ScanSet, features: Mapping[str, NDArray[np.float64]]) -> list[Measurement]:
    """Return how well each property is read from each set of features, inside each label.

    Args:
        data: The scans and the model's outputs for them.
        features: Name → numbers float64 ``[N, F]``, a row a scan.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    check_installed()
    found = []
    for attribute, values in properties(data).items():
        for label, word in _WORDS.items():
            rows = _usable(values, data, label)
            classes, codes = np.unique(values[rows], return_inverse=True)
            if classes.size < 2:
                continue
            for name, table in features.items():
                scores = _out_of_fold(table[rows], codes, data.groups[rows], data.seed)
                if classes.size == 2:
                    scores = scores[:, 1:]
                auc = macro_auc_estimate(
                    codes, scores, data.groups[rows], n_boot=data.n_boot, seed=data.seed
                )
                meaning = (
                    f"The {attribute} of {word} scans can be read from the {name}: "
                    "macro ROC-AUC {}"
                )
                limit = _READABLE if label == 0 else None
                found.append(
                    Measurement(f"{attribute} from {name}", f"macro ROC-AUC among {word}", auc,
                           None, limit, meaning, percent=False)
                )  # fmt: skip
    return found


def associations(data: ScanSet) -> list[Measurement]:
    """Return how far the logit alone tells one source, view or size from the rest.

    A ROC-AUC of the logit among scans of one label: one half when the logit does not depend on
    it, above when scans of this kind are given higher probabilities than the others.
    """
    found = []
    for attribute, values in properties(data).items():
        for label, word in _WORDS.items():
            rows = _usable(values, data, label)
            classes = np.unique(values[rows])
            if classes.size < 2:
                continue
            for name in classes[:1] if classes.size == 2 else classes:
                auc = auc_estimate(
                    (values[rows] == name).astype(np.int64), data.outputs.logits[rows],
                    data.groups[rows], n_boot=data.n_boot, seed=data.seed,
                )  # fmt: skip
                meaning = (
                    f"Among {word} scans the prediction leans on the {attribute}: it tells {name} "
                    "from the others with ROC-AUC {}"
                )
                found.append(
                    Measurement(f"logit by {attribute}", f"{name} against others, {word}", auc,
                           *_ASSOCIATED, meaning, percent=False)
                )  # fmt: skip
    return found


def properties(data: ScanSet) -> dict[str, NDArray[np.str_]]:
    """Return source, view and resolution of each scan, ``[N]`` words; "" is not known.

    The resolution is the longer side of the image as read, cut at its tertiles.
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
    """Return what was not tried for want of groups, in words."""
    return tuple(
        f"{attribute} among {word}: fewer than two classes with {_FEWEST_GROUPS} groups of scans"
        for attribute, values in properties(data).items()
        for label, word in _WORDS.items()
        if np.unique(values[_usable(values, data, label)]).size < 2
    )


def map_features(data: ScanSet) -> dict[str, NDArray[np.float64]]:
    """Return what the model file itself shows: the logit, and the map's cells where it has one."""
    logits = data.outputs.logits[:, None]
    if data.outputs.maps is None:
        return {"logit": logits}
    cells = data.outputs.maps.reshape(len(logits), -1).astype(np.float64)
    return {"map and logit": np.concatenate([cells, logits], axis=1)}


def _usable(values: NDArray[np.str_], data: ScanSet, label: int) -> NDArray[np.int64]:
    """Return the rows of one label whose class is known and has groups enough."""
    kept = []
    for name in np.unique(values[values != ""]):
        rows = np.flatnonzero((values == name) & (data.labels == label))
        if np.unique(data.groups[rows]).size >= _FEWEST_GROUPS:
            kept.append(rows)
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, dtype=np.int64)


def _out_of_fold(
    table: NDArray[np.float64], codes: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Return class scores ``[K, classes]``, each from a model that saw none of the scan's group."""
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
