"""Volumes and series: files, folders and archives → upright slices with their geometry."""
