"""The command ``tumorlens``: one module per verb, loaded when the verb is called."""

from tumorlens.cli.app import main

__all__ = ["main"]
