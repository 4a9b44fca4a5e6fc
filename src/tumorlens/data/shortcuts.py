"""Can something that is not the lesion give the answer away?

For each kind of clue (file type, size, aspect, border, view, a 16×16 thumbnail) a random forest
tries to tell the label, or the source, of images it has not seen. Copies stay on one side of every
fold, so that remembering a scan does not count. A ROC-AUC well above one half means that a network
can score by the clue instead of the tumour. A thumbnail may show a large tumour too; a file type
cannot. The view is a clue only among images whose view is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tumorlens.data.looks import Look
from tumorlens.data.manifest import Plane
from tumorlens.errors import MissingExtraError
from tumorlens.metrics.binary import Estimate, evaluate

CLUES = ("file type", "size", "aspect", "border", "view", "thumbnail")
SUSPICIOUS = 0.6
"""A clue is reported when the interval of its ROC-AUC begins above this."""

_PLANES = get_args(Plane)
_FOLDS = 5
_TREES = 100
_SMALLEST_LEAF = 3
_FEWEST_GROUPS = 10  # of each class; below, a cross-validated figure says nothing
_RESAMPLES = 500


@dataclass(frozen=True)
class Shortcut:
    """How well one clue alone predicts one thing.

    Attributes:
        clue: one of `CLUES`.
        within: the source inside which it was tried, or ``all sources``.
        target: ``label``, or ``source: NAME`` for that source against the others.
        auc: cross-validated ROC-AUC with its grouped-bootstrap interval.
    """

    clue: str
    within: str
    target: str
    auc: Estimate

    @property
    def suspicious(self) -> bool:
        """Whether the interval begins above `SUSPICIOUS`."""
        return self.auc.low > SUSPICIOUS

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return {**asdict(self), "suspicious": self.suspicious}


def find_shortcuts(
    looks: Sequence[Look],
    groups: NDArray[np.int64],
    *,
    clues: Sequence[str] = CLUES,
    seed: int = 0,
) -> list[Shortcut]:
    """Try each clue on the label inside each source and over all, and on the source.

    Args:
        looks: the images.
        groups: ``int64 [N]``; images of one group stay in one fold.
        clues: which of `CLUES` to try.
        seed: of folds, forests and bootstrap.

    Returns:
        What could be tried; a target needs ten groups of each class, among the images in which
        the clue is known.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    check_installed()
    features = {clue: (_features(looks, clue), _known(looks, clue)) for clue in clues}
    found = []
    for within, target, members, classes in _questions(looks, groups):
        for clue, (values, known) in features.items():
            rows, of = members[known[members]], classes[known[members]]
            if not _enough(of, groups[rows]):
                continue
            scores = _out_of_fold(values[rows], of, groups[rows], seed)
            for name, truth, score in _one_against_rest(target, of, scores):
                estimate = evaluate(
                    truth, score, groups=groups[rows], n_boot=_RESAMPLES, seed=seed
                )["roc_auc"]
                found.append(Shortcut(clue, within, name, estimate))
    return found


def check_installed() -> None:
    """Raise `MissingExtraError` unless the search for shortcuts can be done here."""
    if find_spec("sklearn") is None:
        raise MissingExtraError("the search for shortcuts", "audit")


def _questions(
    looks: Sequence[Look], groups: NDArray[np.int64]
) -> Iterator[tuple[str, str, NDArray[np.int64], NDArray[np.str_]]]:
    """What to predict, of which images: ``(within, target, indices, class names)``."""
    labels = np.array([str(look.record.label) for look in looks])
    sources = np.array([look.record.source for look in looks])
    names = sorted(set(sources))
    wheres = {name: sources == name for name in names}
    if len(names) > 1:
        wheres["all sources"] = np.ones(len(looks), bool)
    for within, where in wheres.items():
        members = np.flatnonzero(where & (labels != "None"))
        if _enough(labels[members], groups[members]):
            yield within, "label", members, labels[members]
    everything = np.arange(len(looks))
    if len(names) > 1 and _enough(sources, groups):
        yield "all sources", "source", everything, sources


def _enough(classes: NDArray[np.str_], groups: NDArray[np.int64]) -> bool:
    held = Counter(name for name, _ in {*zip(classes.tolist(), groups.tolist(), strict=True)})
    return len(held) > 1 and min(held.values()) >= _FEWEST_GROUPS


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
    """Class probabilities ``[N, K]``, each from a forest that saw none of the image's group."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    names, codes = np.unique(classes, return_inverse=True)
    scores = np.zeros((len(codes), len(names)))
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(features, codes, groups):
        forest = RandomForestClassifier(
            _TREES,
            min_samples_leaf=_SMALLEST_LEAF,
            class_weight="balanced",
            random_state=seed,
        )
        forest.fit(features[train], codes[train])
        scores[np.ix_(test, forest.classes_)] = forest.predict_proba(features[test])
    return scores


def _known(looks: Sequence[Look], clue: str) -> NDArray[np.bool_]:
    """Whether the clue is known, ``[N]``: a missing view tells of the source, not of the head."""
    return np.array([clue != "view" or look.record.view in _PLANES for look in looks], bool)


def _features(looks: Sequence[Look], clue: str) -> NDArray[np.float64]:
    """Numbers ``[N, F]`` that hold the clue and nothing else."""
    if clue == "file type":
        # Case counts: a folder of .JPG beside one of .jpg tells two cameras, or two collectors.
        kinds = [(look.format, look.record.file.suffix) for look in looks]
        return np.array([[kind == known for known in sorted(set(kinds))] for kind in kinds], float)
    if clue == "size":
        return np.log([[look.width, look.height, look.n_bytes] for look in looks])
    if clue == "aspect":
        return np.array([[look.width / look.height] for look in looks])
    if clue == "border":
        return np.array([look.border for look in looks])
    if clue == "view":
        return np.array([[look.record.view == plane for plane in _PLANES] for look in looks], float)
    return np.stack([look.thumbnail.ravel() for look in looks]).astype(np.float64)
