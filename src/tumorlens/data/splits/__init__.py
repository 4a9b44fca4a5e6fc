"""Splits of records into parts, by group or (for comparison) leaky, and their files."""

from tumorlens.data.splits.grouped import DEFAULT_FRACTIONS, grouped_folds, grouped_split
from tumorlens.data.splits.leaky import (
    RANDOM_LEAKY,
    random_folds,
    random_split,
    with_copies,
)
from tumorlens.data.splits.split_file import (
    GROUPING_VERSION,
    PARTS,
    Split,
    check_groups,
    data_digest,
    grouping_note,
    make_split,
    read_split,
    write_split,
)

__all__ = [
    "DEFAULT_FRACTIONS",
    "GROUPING_VERSION",
    "PARTS",
    "RANDOM_LEAKY",
    "Split",
    "check_groups",
    "data_digest",
    "grouped_folds",
    "grouped_split",
    "grouping_note",
    "make_split",
    "random_folds",
    "random_split",
    "read_split",
    "with_copies",
    "write_split",
]
