"""Detection of near-duplicates: fingerprints, their search, and confirmation on pixels."""
