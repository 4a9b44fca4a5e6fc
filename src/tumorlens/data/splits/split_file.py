"""`Split`: the part of each record. Split files are never overwritten and verified when read."""

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
GROUPING_VERSION = 4
"""Version of the rule of `group_records`: 1 by hashes alone; 2 also by distant near-duplicates
confirmed on pixels; 3 by near-duplicates of heads or whole images, all confirmed on pixels, where
their interiors have to agree; 4 also by person over all sources, with images of two persons linked
only as copies. Stated in a split file since format 2."""

_FORMAT = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Keys of records by part; each part is sorted.

    Attributes:
        name: the method, such as ``grouped`` or ``random-leaky``.
        seed: random seed of the method.
        train: keys for fitting weights.
        validation: keys for choosing the epoch and the settings.
        calibration: keys for fitting temperature, threshold and conformal quantiles.
        test: keys for reporting metrics only.
        data_sha256: digest of keys, labels, file digests and groups of the data.
        grouping: the `GROUPING_VERSION` of the groups.
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
        """Digest of the whole split; equal digests mean equal splits."""
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
        by_key = {record.key: record for record in records}
        keys = self.parts()[part]
        unknown = [key for key in keys if key not in by_key]
        if unknown:
            raise SplitError(
                f"split '{self.name}': {len(unknown)} keys of '{part}' are not in the data, "
                f"first {unknown[0]}; load the sources of the split"
            )
        return [by_key[key] for key in keys]


def make_split(
    name: str,
    seed: int,
    parts: Mapping[str, Sequence[str]],
    records: Sequence[Record],
    *,
    grouping: int = GROUPING_VERSION,
) -> Split:
    """Build a split of ``records`` from keys by part (missing parts are empty)."""
    sorted_parts = {part: tuple(sorted(parts.get(part, ()))) for part in PARTS}
    return Split(name, seed, **sorted_parts, data_sha256=data_digest(records), grouping=grouping)


def data_digest(records: Sequence[Record]) -> str:
    """Return a digest of the data of a split: keys, labels, file digests and groups.

    Independent of the order of records and the numbering of groups.

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
    """Check that no group and no record is in two parts.

    In a split of an older `GROUPING_VERSION` groups may be (see `grouping_note`).

    Args:
        split: the split to check.
        records: from `group_records`, with all keys of the split.

    Raises:
        LeakageError: lists the groups and their records in each part.
        SplitError: a key has no record, or records have no groups.
    """
    parts_of: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    part_of: dict[str, str] = {}
    for part in PARTS:
        for record in split.records(part, records):
            if record.key in part_of:
                both = f"{part_of[record.key]} and in {part}"
                raise LeakageError(f"split '{split.name}': {record.key} is in {both}")
            part_of[record.key] = part
            parts_of[_group(record)][part].append(record.key)
    leaks = {group: parts for group, parts in parts_of.items() if len(parts) > 1}
    if leaks and split.grouping == GROUPING_VERSION:
        shown = "\n".join(f"  {_describe(group, leaks[group])}" for group in sorted(leaks)[:5])
        more = f"\n  … and {len(leaks) - 5} more" if len(leaks) > 5 else ""
        raise LeakageError(
            f"split '{split.name}': {len(leaks)} groups of near-duplicates or patients are in more "
            "than one part, so its metrics would be optimistically biased; make one with "
            f"grouped_split\n{shown}{more}"
        )


def grouping_note(split: Split) -> str | None:
    """Return the caveat of a split made with an older grouping; None for the current one."""
    if split.grouping == GROUPING_VERSION:
        return None
    return (
        f"split '{split.name}' was made with grouping version {split.grouping} (now "
        f"{GROUPING_VERSION}): some images outside its training part may have near-duplicates in "
        "it, and changes of files or labels cannot be detected; use it to compare with earlier "
        "results, and make a new one (tumorlens split) for a new model"
    )


def write_split(split: Split, path: str | Path) -> None:
    """Write a split as a read-only JSON file, unless the same split exists there.

    Raises:
        SplitError: the file contains another split.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if path.exists():
        if read_split(path).sha256 != split.sha256:
            raise SplitError(
                f"{path}: contains another split; splits are not overwritten, so that results stay "
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
        path: a file written by `write_split`.
        records: if given, checked to be the data of the split (with groups), and that no group is
            in two parts. Not possible with an older grouping: logs `grouping_note` as a warning.

    Raises:
        SplitError: missing, damaged, edited, of a newer version, or made for other data.
        LeakageError: a group is in two parts (only with ``records``).
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
    members = "; ".join(
        f"{part}: {keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")
        for part, keys in parts.items()
    )
    return f"group {group} — {members}"
