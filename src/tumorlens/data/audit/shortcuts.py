"""Shortcuts: can a feature other than the lesion predict the label?

For each feature (file type, size, aspect, border, view, a 16×16 thumbnail) a random forest
predicts the label, or the source, in cross-validation. Near-duplicates stay in one fold, so that
memorised scans do not count. A ROC-AUC well above 0.5 means that a network can use the feature
instead of the tumour (although a thumbnail may show a large tumour). The view is tested only on
images whose view is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tumorlens.data.audit.image_summary import ImageSummary
from tumorlens.data.manifest import Plane
from tumorlens.errors import MissingExtraError
from tumorlens.metrics.binary import evaluate
from tumorlens.metrics.intervals import Estimate

FEATURES = ("file type", "size", "aspect", "border", "view", "thumbnail")
SUSPICIOUS = 0.6
"""A feature is reported when the interval of its ROC-AUC begins above this."""

_PLANES = get_args(Plane)
_FOLDS = 5
_TREES = 100
_MIN_LEAF = 3
_MIN_GROUPS = 10  # of each class, for a meaningful estimate
_RESAMPLES = 500


@dataclass(frozen=True)
class Shortcut:
    """How well one feature alone predicts one target.

    Attributes:
        feature: one of `FEATURES`.
        within: the source within which it was tested, or ``all sources``.
        target: ``label``, or ``source: NAME`` for that source against the others.
        auc: cross-validated ROC-AUC with its grouped-bootstrap interval.
    """

    feature: str
    within: str
    target: str
    auc: Estimate

    @property
    def suspicious(self) -> bool:
        """Whether the interval begins above `SUSPICIOUS`."""
        return self.auc.low > SUSPICIOUS

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready fields."""
        return {**asdict(self), "suspicious": self.suspicious}


def find_shortcuts(
    images: Sequence[ImageSummary],
    groups: NDArray[np.int64],
    *,
    features: Sequence[str] = FEATURES,
    seed: int = 0,
) -> list[Shortcut]:
    """Test how each feature predicts the label (within each source and overall) and the source.

    Args:
        images: the audited images.
        groups: ``int64 [N]``; images of one group stay in one fold.
        features: which of `FEATURES` to test.
        seed: of folds, forests and bootstrap.

    Returns:
        One result per feature and target with at least ten groups of each class among the images
        in which the feature is known.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    check_installed()
    inputs = {name: (_values(images, name), _known(images, name)) for name in features}
    shortcuts = []
    for within, target, members, classes in _targets(images, groups):
        for feature, (values, known) in inputs.items():
            rows, row_classes = members[known[members]], classes[known[members]]
            if not _enough_groups(row_classes, groups[rows]):
                continue
            scores = _out_of_fold(values[rows], row_classes, groups[rows], seed)
            for name, truth, score in _one_against_rest(target, row_classes, scores):
                estimate = evaluate(
                    truth, score, groups=groups[rows], n_boot=_RESAMPLES, seed=seed
                )["roc_auc"]
                shortcuts.append(Shortcut(feature, within, name, estimate))
    return shortcuts


def check_installed() -> None:
    """Raise `MissingExtraError` unless scikit-learn is installed."""
    if find_spec("sklearn") is None:
        raise MissingExtraError("testing for shortcuts", "audit")


def _targets(
    images: Sequence[ImageSummary], groups: NDArray[np.int64]
) -> Iterator[tuple[str, str, NDArray[np.int64], NDArray[np.str_]]]:
    """Yield the prediction tasks: ``(within, target, indices of images, their classes)``."""
    labels = np.array([str(image.record.label) for image in images])
    sources = np.array([image.record.source for image in images])
    names = sorted(set(sources))
    subsets = {name: sources == name for name in names}
    if len(names) > 1:
        subsets["all sources"] = np.ones(len(images), bool)
    for within, subset in subsets.items():
        members = np.flatnonzero(subset & (labels != "None"))
        if _enough_groups(labels[members], groups[members]):
            yield within, "label", members, labels[members]
    everything = np.arange(len(images))
    if len(names) > 1 and _enough_groups(sources, groups):
        yield "all sources", "source", everything, sources


def _enough_groups(classes: NDArray[np.str_], groups: NDArray[np.int64]) -> bool:
    counts = Counter(name for name, _ in {*zip(classes.tolist(), groups.tolist(), strict=True)})
    return len(counts) > 1 and min(counts.values()) >= _MIN_GROUPS


def _one_against_rest(
    target: str, classes: NDArray[np.str_], scores: NDArray[np.float64]
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float64]]]:
    names = np.unique(classes)
    if target == "label":
        yield target, (classes == "1").astype(np.int64), scores[:, list(names).index("1")]
        return
    for column, name in enumerate(names):
        yield f"source: {name}", (classes == name).astype(np.int64), scores[:, column]


def _out_of_fold(
    features: NDArray[np.float64],
    classes: NDArray[np.str_],
    groups: NDArray[np.int64],
    seed: int,
) -> NDArray[np.float64]:
    """Return cross-validated class probabilities ``[N, K]``, with whole groups in one fold."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    names, codes = np.unique(classes, return_inverse=True)
    scores = np.zeros((len(codes), len(names)))
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(features, codes, groups):
        forest = RandomForestClassifier(
            _TREES,
            min_samples_leaf=_MIN_LEAF,
            class_weight="balanced",
            random_state=seed,
        )
        forest.fit(features[train], codes[train])
        scores[np.ix_(test, forest.classes_)] = forest.predict_proba(features[test])
    return scores


def _known(images: Sequence[ImageSummary], feature: str) -> NDArray[np.bool_]:
    """Return where the feature is known, ``[N]``: views are missing for whole sources."""
    return np.array([feature != "view" or image.record.view in _PLANES for image in images], bool)


def _values(images: Sequence[ImageSummary], feature: str) -> NDArray[np.float64]:
    """Return the feature's values ``[N, F]``."""
    if feature == "file type":
        # Case-sensitive: .JPG and .jpg in one set have different origins.
        kinds = [(image.format, image.record.file.suffix) for image in images]
        return np.array([[kind == known for known in sorted(set(kinds))] for kind in kinds], float)
    if feature == "size":
        return np.log([[image.width, image.height, image.n_bytes] for image in images])
    if feature == "aspect":
        return np.array([[image.width / image.height] for image in images])
    if feature == "border":
        return np.array([image.border for image in images])
    if feature == "view":
        return np.array(
            [[image.record.view == plane for plane in _PLANES] for image in images], float
        )
    return np.stack([image.thumbnail.ravel() for image in images]).astype(np.float64)
