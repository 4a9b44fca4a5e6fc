"""Data sets as records: read, fingerprint, group, split."""
