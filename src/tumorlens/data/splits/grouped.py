"""Splits by group: into parts with given fractions, and into cross-validation folds."""

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
    earlier: Split | None = None,
) -> Split:
    """Split without dividing groups, stratified by source and finding.

    Args:
        records: with groups, from `group_records`.
        fractions: of the records by part, with sum 1; other parts are empty.
        seed: the same seed and records give the same split.
        held_out: sources used only as ``test``. Records of other sources in the same groups are
            excluded from the split, so that the test is external.
        earlier: a split whose test and calibration scans stay in their part, with their groups, so
            that a model trained on more data can be compared with its predecessor.

    Raises:
        SplitError: records without groups, or fractions that do not sum to 1.
    """
    _check_fractions(fractions)
    _check_sources(records, held_out)
    external = [record for record in records if record.source in held_out]
    excluded = {record.group for record in external}
    remaining = [record for record in records if record.group not in excluded]
    fixed = _kept_parts(earlier, remaining)
    parts = _assign(remaining, fractions, np.random.default_rng(seed), fixed)
    parts["test"] = [*parts.get("test", []), *(record.key for record in external)]
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
    """Repeated grouped cross-validation: each record is in one test part per repeat.

    Args:
        records: with groups.
        n_folds: at least 2.
        repeats: number of times the folds are drawn.
        seed: of the first repeat; repeat ``r`` uses ``seed + r``.
        validation: fraction of each fold's training records for validation, by group.
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


def _kept_parts(earlier: Split | None, records: Sequence[Record]) -> dict[str, str]:
    """Return record → part for the parts of an earlier split that must stay unseen.

    A slice stays where any slice of its volume was, since others may have been taken of it now.
    """
    if earlier is None:
        return {}
    # The test part comes last: what is in both goes there.
    kept = {key: part for part in ("calibration", "test") for key in getattr(earlier, part)}
    volumes = {key.rpartition("#")[0]: part for key, part in kept.items()}
    found = {
        record.key: volumes.get(record.key.rpartition("#")[0]) if record.is_slice
        else kept.get(record.key)
        for record in records
    }  # fmt: skip
    return {key: part for key, part in found.items() if part is not None}


def _assign(
    records: Sequence[Record],
    fractions: Mapping[str, float],
    rng: np.random.Generator,
    fixed: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, list[str]]:
    """Assign groups, largest first, each to the part with the largest deficit in its strata.

    Strata are source × finding; volumes of all sources share theirs, since many come alone.
    Deficits are relative to a part's target, so that small parts are stratified as well as large
    ones. A group with ``fixed`` records goes to their part.
    """
    parts = [part for part, fraction in fractions.items() if fraction > 0]
    strata = sorted({_stratum(record) for record in records})
    content, keys = _by_group(records, strata)
    totals = np.maximum(sum(content.values(), np.zeros(len(strata))), 1)
    targets = np.array([fractions[part] for part in parts])[:, None] * totals
    assigned = np.zeros((len(parts), len(strata)))
    result: dict[str, list[str]] = defaultdict(list)
    for group, part in _fixed_groups(keys, fixed).items():
        if part in parts:
            assigned[parts.index(part)] += content[group]
        result[part].extend(keys.pop(group))
    groups = sorted(keys)
    # The sort is stable: groups of equal size stay in random order.
    order = sorted(rng.permutation(len(groups)), key=lambda at: -content[groups[at]].sum())
    for at in order:
        group = groups[at]
        deficit = 1 - assigned / targets
        best = int(np.argmax(deficit @ (content[group] / totals)))
        assigned[best] += content[group]
        result[parts[best]].extend(keys[group])
    return dict(result)


def _fixed_groups(keys: Mapping[str, list[str]], fixed: Mapping[str, str]) -> dict[str, str]:
    """Return group → part of the groups with fixed records, the test part first."""
    found = {}
    for group, members in keys.items():
        parts = {fixed[key] for key in members if key in fixed}
        if parts:
            found[group] = "test" if "test" in parts else min(parts)
    return found


def _by_group(
    records: Sequence[Record], strata: Sequence[tuple[str, str]]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, list[str]]]:
    """Return per group the number of records in each stratum, and their keys, by the first key.

    The first key, and so the split, does not depend on the order of the records.
    """
    members: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        if record.group is None:
            raise SplitError(f"{record.key}: has no group yet; pass the records to group_records")
        members[record.group].append(record)
    content, keys = {}, {}
    for group in members.values():
        group_keys = sorted(record.key for record in group)
        count = Counter(_stratum(record) for record in group)
        content[group_keys[0]] = np.array([count[stratum] for stratum in strata], float)
        keys[group_keys[0]] = group_keys
    return content, keys


def _stratum(record: Record) -> tuple[str, str]:
    source = f"volumes {record.skull_stripped}" if record.is_slice else record.source
    return source, str(record.shows)


def _check_fractions(fractions: Mapping[str, float]) -> None:
    unknown = set(fractions) - set(PARTS)
    if unknown:
        raise SplitError(f"no part {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}")
    if min(fractions.values()) < 0 or not math.isclose(sum(fractions.values()), 1, abs_tol=1e-9):
        raise SplitError(f"fractions {dict(fractions)} must be 0 or more and sum to 1")


def _check_sources(records: Sequence[Record], held_out: Collection[str]) -> None:
    unknown = set(held_out) - {record.source for record in records}
    if unknown:
        raise SplitError(f"held-out source {', '.join(sorted(unknown))} is not in the data")
