"""`Split`: which record belongs to which part. Written once, verified whenever it is read."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tumorlens.atomic import atomic_file
from tumorlens.data.manifest import Record
from tumorlens.errors import LeakageError, SplitError

PARTS = ("train", "validation", "calibration", "test")
GROUPING_VERSION = 2
"""How `group_records` forms groups: 1 by hashes alone; 2 also groups distant near-duplicates that
are confirmed on pixels. A split states the version it was made with; format 1 states none."""

_FORMAT = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Keys of records by part; each part is sorted.

    Attributes:
        name: how it was made, such as ``grouped`` or ``random-leaky``.
        seed: with which seed.
        train: keys to fit weights on.
        validation: keys to choose the epoch and the settings by.
        calibration: keys to fit temperature, threshold and conformal quantiles on.
        test: keys to report on, not used for anything else.
        data_sha256: digest of the keys, labels, file digests and groups it was made for.
        grouping: the `GROUPING_VERSION` of those groups.
    """

    name: str
    seed: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    calibration: tuple[str, ...]
    test: tuple[str, ...]
    data_sha256: str
    grouping: int = GROUPING_VERSION

    @property
    def sha256(self) -> str:
        """Digest of the whole split; two splits are the same if and only if it agrees."""
        return _digest(_body(self))

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return the four parts by name."""
        return {part: getattr(self, part) for part in PARTS}

    def records(self, part: str, records: Sequence[Record]) -> list[Record]:
        """Return the records of one part, in the part's order.

        Raises:
            SplitError: no such part, or a key has no record.
        """
        if part not in PARTS:
            raise SplitError(f"split '{self.name}': no part {part!r}; it has {', '.join(PARTS)}")
        known = {record.key: record for record in records}
        keys = self.parts()[part]
        unknown = [key for key in keys if key not in known]
        if unknown:
            raise SplitError(
                f"split '{self.name}': {len(unknown)} keys of '{part}' are not in the data, "
                f"first {unknown[0]}; load the sources it was made for"
            )
        return [known[key] for key in keys]


def make_split(
    name: str,
    seed: int,
    parts: Mapping[str, Sequence[str]],
    records: Sequence[Record],
    *,
    grouping: int = GROUPING_VERSION,
) -> Split:
    """Build a split of ``records`` from keys by part (a part left out is empty)."""
    sorted_parts = {part: tuple(sorted(parts.get(part, ()))) for part in PARTS}
    return Split(name, seed, **sorted_parts, data_sha256=data_digest(records), grouping=grouping)


def data_digest(records: Sequence[Record]) -> str:
    """Digest of what a split depends on: keys, labels, file digests and groups.

    Does not depend on the records' order, nor on how groups are numbered.

    Raises:
        SplitError: a record has no group or digest.
    """
    members: dict[int, list[str]] = defaultdict(list)
    for record in records:
        members[_group(record)].append(record.key)
    named = {group: min(keys) for group, keys in members.items()}
    rows = sorted(
        [record.key, str(record.label), str(record.sha256), named[_group(record)]]
        for record in records
    )
    return _digest(rows)


def check_groups(split: Split, records: Sequence[Record]) -> None:
    """Refuse a split in which one group, or one record, is in two parts.

    Groups may cross a split of an older `GROUPING_VERSION`: `grouping_note` says what that means.

    Args:
        split: the split to check.
        records: as `group_records` returns them, holding all of the split's keys.

    Raises:
        LeakageError: naming the groups and what they hold in each part.
        SplitError: a key has no record, or records have no groups.
    """
    sides: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    seen: dict[str, str] = {}
    for part in PARTS:
        for record in split.records(part, records):
            if record.key in seen:
                both = f"{seen[record.key]} and in {part}"
                raise LeakageError(f"split '{split.name}': {record.key} is in {both}")
            seen[record.key] = part
            sides[_group(record)][part].append(record.key)
    leaks = {group: parts for group, parts in sides.items() if len(parts) > 1}
    if leaks and split.grouping == GROUPING_VERSION:
        shown = "\n".join(f"  {_describe(group, leaks[group])}" for group in sorted(leaks)[:5])
        more = f"\n  … and {len(leaks) - 5} more" if len(leaks) > 5 else ""
        raise LeakageError(
            f"split '{split.name}': {len(leaks)} groups of near-duplicates or patients are in more "
            "than one part, so its metrics would be optimistically biased; make one with "
            f"grouped_split\n"
            f"{shown}{more}"
        )


def grouping_note(split: Split) -> str | None:
    """Return what it means that a split was made with an older grouping; None for the current."""
    if split.grouping == GROUPING_VERSION:
        return None
    return (
        f"split '{split.name}' was made with grouping version {split.grouping} (now "
        f"{GROUPING_VERSION}): some images outside its training part may have near-duplicates in "
        "it, and changes of files or labels cannot be detected; it stays usable to compare with "
        "earlier results, but make a new one (tumorlens split) for a new model"
    )


def write_split(split: Split, path: str | Path) -> None:
    """Write a split as JSON, read-only; the same split again is no change.

    Raises:
        SplitError: another split stands there already.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if path.exists():
        if read_split(path).sha256 != split.sha256:
            raise SplitError(
                f"{path}: holds another split; splits are written once, so that results stay "
                "comparable: choose a new name, or delete it if no result depends on it"
            )
        return
    text = json.dumps({**_body(split), "sha256": split.sha256}, indent=1)
    with atomic_file(path, parents=True) as file:
        file.write(f"{text}\n".encode())
        Path(file.name).chmod(0o444)


def read_split(path: str | Path, records: Sequence[Record] | None = None) -> Split:
    """Read and verify a split.

    Args:
        path: a file of `write_split`.
        records: when given, the data (with groups) must be what the split was made for, and no
            group may cross; of a split with an older grouping that cannot be told, and
            `grouping_note` is logged as a warning.

    Raises:
        SplitError: missing, damaged, edited, of a newer version, or made for other data.
        LeakageError: a group crosses; only when ``records`` are given.
    """
    path = Path(path)
    try:
        body: Any = json.loads(path.read_text(encoding="utf-8"))
        stated = body.pop("sha256")
        if body["format"] not in (1, _FORMAT):
            raise SplitError(f"{path}: format {body['format']}, not {_FORMAT}; update TumorLens")
        grouping = 1 if body["format"] == 1 else body["grouping"]
        if not 1 <= grouping <= GROUPING_VERSION:
            raise SplitError(
                f"{path}: grouping version {grouping}, not {GROUPING_VERSION}; update TumorLens"
            )
        parts = {part: tuple(body["parts"][part]) for part in PARTS}
        split = Split(body["name"], body["seed"], **parts, data_sha256=body["data_sha256"],
                      grouping=grouping)  # fmt: skip
    except OSError as error:
        raise SplitError(f"{path}: cannot be read ({error.strerror}); make it first") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SplitError(f"{path}: not a split file, or damaged; make it again") from error
    if stated != split.sha256:
        raise SplitError(f"{path}: was changed after it was written; make it again")
    if records is not None:
        if note := grouping_note(split):
            _log.warning("%s: %s", path, note)
        elif data_digest(records) != split.data_sha256:
            raise SplitError(
                f"{path}: was made for other data (files, labels or groups have changed); "
                "restore the data, or make a new split under a new name"
            )
        check_groups(split, records)
    return split


def _body(split: Split) -> dict[str, Any]:
    version = {"format": 1} if split.grouping == 1 else {"format": 2, "grouping": split.grouping}
    return {
        **version,
        "name": split.name,
        "seed": split.seed,
        "data_sha256": split.data_sha256,
        "parts": {part: list(keys) for part, keys in split.parts().items()},
    }


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _group(record: Record) -> int:
    if record.group is None or record.sha256 is None:
        raise SplitError(f"{record.key}: has no group yet; pass the records to group_records first")
    return record.group


def _describe(group: int, parts: Mapping[str, Sequence[str]]) -> str:
    held = "; ".join(
        f"{part}: {keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")
        for part, keys in parts.items()
    )
    return f"group {group} — {held}"
