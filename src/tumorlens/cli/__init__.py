"""The command ``tumorlens``: one module a verb, each importing its tower when it is called."""

from tumorlens.cli.app import main

__all__ = ["main"]
