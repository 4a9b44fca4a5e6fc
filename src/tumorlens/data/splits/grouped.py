"""Splits by group: into parts with given shares, and into cross-validation folds."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tumorlens.data.manifest import Record
from tumorlens.data.splits.split_file import PARTS, Split, check_groups, make_split
from tumorlens.errors import SplitError

DEFAULT_FRACTIONS: Mapping[str, float] = MappingProxyType(
    {"train": 0.7, "validation": 0.1, "calibration": 0.1, "test": 0.1}
)


def grouped_split(
    records: Sequence[Record],
    *,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    seed: int,
    held_out: Collection[str] = (),
) -> Split:
    """Split so that no group crosses and every part has its share of each source and label.

    Args:
        records: with groups, as `group_records` returns them.
        fractions: of the records by part; they sum to 1, and a part left out stays empty.
        seed: the same seed and records give the same split.
        held_out: sources that go to ``test`` whole. Records of other sources that share a group
            with them are left out of the split, so that the test is external.

    Raises:
        SplitError: records without groups, or fractions that do not sum to 1.
    """
    _check_fractions(fractions)
    _check_sources(records, held_out)
    tainted = {record.group for record in records if record.source in held_out}
    external = [record.key for record in records if record.source in held_out]
    open_records = [record for record in records if record.group not in tainted]
    parts = _assign(open_records, fractions, np.random.default_rng(seed))
    parts["test"] = [*parts.get("test", []), *external]
    split = make_split("grouped", seed, parts, records)
    check_groups(split, records)
    return split


def grouped_folds(
    records: Sequence[Record],
    *,
    n_folds: int = 5,
    repeats: int = 1,
    seed: int,
    validation: float = 0.0,
    calibration: float = 0.0,
) -> list[Split]:
    """Repeated grouped cross-validation: each record is tested once in every repeat.

    Args:
        records: with groups.
        n_folds: at least 2.
        repeats: how often the folds are drawn anew.
        seed: of the first repeat; repeat ``r`` uses ``seed + r``.
        validation: share of each fold's training side that is set aside, by group.
        calibration: the same for calibration.

    Returns:
        ``n_folds * repeats`` splits named ``grouped-5-fold/r0/f0`` and so on.

    Raises:
        SplitError: records without groups, or fewer groups than folds.
    """
    n_groups = len({record.group for record in records})
    if not 2 <= n_folds <= n_groups:
        raise SplitError(f"{n_folds} folds of {n_groups} groups; choose 2 up to that many")
    inner = {"validation": validation, "calibration": calibration}
    inner = {"train": 1 - sum(inner.values()), **inner}
    _check_fractions(inner)
    splits = []
    for repeat in range(repeats):
        rng = np.random.default_rng(seed + repeat)
        folds = _assign(records, {f"{k}": 1 / n_folds for k in range(n_folds)}, rng)
        for k in range(n_folds):
            test = set(folds.get(f"{k}", []))
            rest = [record for record in records if record.key not in test]
            parts = {**_assign(rest, inner, rng), "test": sorted(test)}
            name = f"grouped-{n_folds}-fold/r{repeat}/f{k}"
            splits.append(make_split(name, seed + repeat, parts, records))
            check_groups(splits[-1], records)
    return splits


def _assign(
    records: Sequence[Record], fractions: Mapping[str, float], rng: np.random.Generator
) -> dict[str, list[str]]:
    """Deal whole groups, largest first, each to the part that lacks most of what it holds.

    Strata are source × label. A part's lack is relative to its own target, so that small parts
    are served as well as large ones.
    """
    parts = [part for part, share in fractions.items() if share > 0]
    strata = sorted({_stratum(record) for record in records})
    content, keys = _by_group(records, strata)
    totals = np.maximum(sum(content.values(), np.zeros(len(strata))), 1)
    shares = np.array([fractions[part] for part in parts])
    held = np.zeros((len(parts), len(strata)))
    groups = sorted(content)
    drawn = rng.permutation(len(groups))
    # A stable sort by size keeps the drawn order among equals.
    order = sorted(drawn, key=lambda at: -content[groups[at]].sum())
    dealt: dict[str, list[str]] = defaultdict(list)
    for at in order:
        group = groups[at]
        weight = content[group] / totals
        lack = 1 - held / (shares[:, None] * totals)
        best = int(np.argmax(lack @ weight))
        held[best] += content[group]
        dealt[parts[best]].extend(keys[group])
    return dict(dealt)


def _by_group(
    records: Sequence[Record], strata: Sequence[tuple[str, str]]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, list[str]]]:
    """Per group how many records of each stratum, and their keys; named by the first key.

    The name does not depend on the order of the records, so neither does the split.
    """
    members: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        if record.group is None:
            raise SplitError(f"{record.key}: has no group yet; pass the records to group_records")
        members[record.group].append(record)
    content, keys = {}, {}
    for group in members.values():
        held = sorted(record.key for record in group)
        count = Counter(_stratum(record) for record in group)
        content[held[0]] = np.array([count[stratum] for stratum in strata], float)
        keys[held[0]] = held
    return content, keys


def _stratum(record: Record) -> tuple[str, str]:
    return record.source, str(record.label)


def _check_fractions(fractions: Mapping[str, float]) -> None:
    unknown = set(fractions) - set(PARTS)
    if unknown:
        raise SplitError(f"no part {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}")
    if min(fractions.values()) < 0 or not math.isclose(sum(fractions.values()), 1, abs_tol=1e-9):
        raise SplitError(f"fractions {dict(fractions)} are not shares that sum to 1")


def _check_sources(records: Sequence[Record], held_out: Collection[str]) -> None:
    unknown = set(held_out) - {record.source for record in records}
    if unknown:
        raise SplitError(f"held-out source {', '.join(sorted(unknown))} is not in the data")
