"""Data sets as records: read, audited, grouped by near-duplicate and patient, and split."""
