"""The audit: image summaries, near-duplicates, label conflicts and shortcuts of a data set."""
