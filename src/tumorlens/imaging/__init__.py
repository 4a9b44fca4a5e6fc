"""Bytes or files to pixels, pixels to network input, and what a head looks like."""
