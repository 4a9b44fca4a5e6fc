"""A Storage SCP: takes MR images from allowed senders; success means that they are on disk."""

from __future__ import annotations

import errno
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

from tumorlens.errors import ConfigError, InputError, MissingExtraError
from tumorlens.pacs.identity import read_identity
from tumorlens.pacs.logs import fault, open_log
from tumorlens.pacs.metrics import PacsMetrics
from tumorlens.pacs.settings import PacsSettings
from tumorlens.pacs.spool import Spool
from tumorlens.pacs.state import StateFolder

if TYPE_CHECKING:
    from pynetdicom.ae import ApplicationEntity
    from pynetdicom.events import Event

# PS3.4, B.2.3: statuses of C-STORE.
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NAMES = {SUCCESS: "success", OUT_OF_RESOURCES: "out_of_resources",
          DOES_NOT_MATCH: "does_not_match", CANNOT_UNDERSTAND: "cannot_understand"}  # fmt: skip
_MAX_PDU = 128 * 1024  # larger ones cost fewer turns; dcmtk's senders take no more


class Receiver:
    """The SCP, in threads of its own."""

    def __init__(
        self, settings: PacsSettings, state: StateFolder, spool: Spool, metrics: PacsMetrics
    ) -> None:
        self._settings = settings
        self._state = state
        self._spool = spool
        self._metrics = metrics
        self._log = open_log()
        self._entity: ApplicationEntity | None = None
        self._server: Any = None
        self._sizes: dict[Any, int] = {}
        self._open: set[Any] = set()
        self._lock = threading.Lock()

    def start(self) -> int:
        """Listen, and return the port.

        Raises:
            ConfigError: the port is taken, or the certificate cannot be used.
            MissingExtraError: the extra ``dicom`` is not installed.
        """
        try:
            from pynetdicom import evt
        except ImportError as error:
            raise MissingExtraError("receiving DICOM", "dicom") from error
        settings, context = self._settings, _tls(self._settings)
        self._entity = _entity(settings)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, lambda _: SUCCESS),
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_DATA_RECV, self._grew),
        ]
        try:
            self._server = self._entity.start_server(
                (settings.host, settings.port), block=False, ssl_context=context,
                evt_handlers=handlers,
            )  # fmt: skip
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); "
                "choose another port"
            ) from error
        return int(self._server.server_address[1])

    def stop(self, timeout: float) -> None:
        """Take no more associations, let the open ones end, and abort what is left."""
        if self._server is None or self._entity is None:
            return
        self._server.shutdown()
        self._server = None
        until = time.monotonic() + timeout
        while self._entity.active_associations and time.monotonic() < until:
            time.sleep(0.05)
        self._entity.shutdown()

    def _store(self, event: Event) -> int:
        status = CANNOT_UNDERSTAND
        # Whatever an object makes a library raise is that object's answer, and ends no association.
        try:
            status = self._keep(event)
        except Exception as error:  # noqa: BLE001
            self._log.error("fault", **fault(error))
        self._metrics.received.labels(_NAMES[status]).inc()
        if status != SUCCESS:
            self._log.warning("object refused", status=_NAMES[status])
        return status

    def _keep(self, event: Event) -> int:
        request: Any = event.request
        content = event.encoded_dataset()
        if self._state.free_bytes() < self._settings.min_free_bytes + len(content):
            return OUT_OF_RESOURCES
        try:
            its = read_identity(content)
        except InputError:
            return CANNOT_UNDERSTAND
        asked = (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID)
        if (its.sop_class, its.sop_instance) != asked:
            return DOES_NOT_MATCH
        if not its.series or not its.study:
            return CANNOT_UNDERSTAND
        try:
            self._spool.add(its.series, its.sop_instance, content)
        except OSError as error:
            full = error.errno in _DISK_FULL
            self._log.error("disk full" if full else "disk fails", **fault(error))
            return OUT_OF_RESOURCES
        self._metrics.received_bytes.inc(len(content))
        return SUCCESS

    def _grew(self, event: Event) -> None:
        """Abort an association whose object is over the limit, before it fills the memory."""
        waiting = event.assoc.dimse.message
        stream = getattr(waiting, "data_set", None)
        if stream is None or stream.tell() <= self._settings.max_object_bytes:
            return
        self._log.warning("object too large", limit=self._settings.max_object_bytes)
        self._metrics.received.labels("too_large").inc()
        event.assoc.abort()

    def _opened(self, event: Event) -> None:
        with self._lock:
            self._open.add(event.assoc)
        self._metrics.associations.set(len(self._open))

    def _closed(self, event: Event) -> None:
        with self._lock:
            self._open.discard(event.assoc)
        self._metrics.associations.set(len(self._open))

    def _rejected(self, _: Event) -> None:
        self._metrics.rejected.inc()
        self._log.warning("association rejected")


def _entity(settings: PacsSettings) -> ApplicationEntity:
    from pynetdicom import AE
    from pynetdicom.sop_class import (  # type: ignore[attr-defined]
        EnhancedMRImageStorage,
        MRImageStorage,
        Verification,
    )

    from tumorlens.pacs.syntaxes import TRANSFER_SYNTAXES

    entity = AE(ae_title=settings.aet)
    entity.add_supported_context(Verification)
    for kind in (MRImageStorage, EnhancedMRImageStorage):
        entity.add_supported_context(kind, list(TRANSFER_SYNTAXES))
    entity.maximum_associations = settings.max_associations
    entity.maximum_pdu_size = _MAX_PDU
    entity.require_called_aet = True
    entity.require_calling_aet = list(settings.allow)
    entity.network_timeout = settings.network_timeout
    entity.acse_timeout = entity.dimse_timeout = settings.network_timeout
    return entity


def _tls(settings: PacsSettings) -> ssl.SSLContext | None:
    if settings.tls_certfile is None:
        return None
    try:
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=settings.ca_file and str(settings.ca_file)
        )
        context.load_cert_chain(settings.tls_certfile, settings.tls_keyfile)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            "tls_certfile, tls_keyfile or ca_file cannot be used; give PEM files that match"
        ) from error
    if settings.tls_clients:
        context.verify_mode = ssl.CERT_REQUIRED
    return context
