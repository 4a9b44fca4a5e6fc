"""`tumorlens pacs watch` and `listen`."""

from __future__ import annotations

from typing import Any

import typer

from tumorlens.cli.app import require
from tumorlens.cli.pacs.flags import give_flags, settings_of
from tumorlens.pacs.settings import PacsSettings

_PACKAGES = ("sqlalchemy", "pynetdicom", "dicomweb_client", "highdicom")
_ONLY_WATCH = frozenset({"poll_seconds", "backlog", "lookback_days"})
_ONLY_LISTEN = frozenset({
    "host", "port", "aet", "allow", "max_associations", "max_object_bytes", "min_free_bytes",
    "keep_hours", "network_timeout", "tls_certfile", "tls_keyfile", "tls_clients",
})  # fmt: skip


def watch(url: str, **flags: Any) -> None:
    """Watch the archive at URL (Orthanc or DICOMweb), and answer each MR series that comes.

    Runs until it is stopped (SIGTERM); what it had begun goes on at the next start.
    """
    _serve(url, flags, listen=False)


def listen(url: str, **flags: Any) -> None:
    """Receive MR series by DICOM (C-STORE), and store their results in the archive at URL.

    Runs until it is stopped (SIGTERM); what was received is answered, now or at the next start.
    """
    _serve(url, flags, listen=True)


def _serve(url: str, flags: dict[str, Any], *, listen: bool) -> None:
    require("dicom", "tumorlens pacs", *_PACKAGES)
    from tumorlens.pacs.logs import configure_logs
    from tumorlens.pacs.service import open_service, serve_until_signal

    settings = settings_of(flags)
    configure_logs(settings)
    service = open_service(url, settings, listen=listen)
    serve_until_signal(service, lambda port: _announce(settings, port))


def _announce(settings: PacsSettings, port: int | None) -> None:
    if port is None:
        typer.echo("TumorLens watches the archive", err=True)
    else:
        typer.echo(f"TumorLens receives on {settings.host}:{port} as {settings.aet}", err=True)


give_flags(watch, _ONLY_LISTEN)
give_flags(listen, _ONLY_WATCH)
