"""The rivals: each a server in one file, written as its own documentation shows."""
