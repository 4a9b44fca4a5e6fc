"""``tumorlens pacs``: series from an archive or a sender, answered into their study."""

from __future__ import annotations

from tumorlens.cli.pacs.queue import retry, status
from tumorlens.cli.pacs.run import listen, watch

COMMANDS = {"watch": watch, "listen": listen, "status": status, "retry": retry}


def pacs() -> None:
    """Answer MR series of an archive (PACS), and store the results in their study."""
