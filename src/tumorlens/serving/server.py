"""Start the service: one process, or several that share a port and metrics."""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import reduction
from pathlib import Path
from typing import Any

import cv2
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from uvicorn.supervisors import Multiprocess

from tumorlens.errors import ConfigError
from tumorlens.serving.app import create_app
from tumorlens.serving.connection import BoundedConnection, ConnectionConfig
from tumorlens.serving.observability.metrics import MULTIPROC_VARIABLE
from tumorlens.serving.observability.telemetry import configure_logging
from tumorlens.serving.processing.served_model import open_predictor
from tumorlens.serving.settings import PREFIX, Settings, load_settings

WORKER_APP = "tumorlens.serving.server:worker_app"
BACKLOG = 1024
# After a worker has accepted a connection, so that another accepts the next.
_PAUSE_SECONDS = 0.0005
# How often, in seconds, inference threads release the GIL. With the default of 5 ms the event loop
# would wait that long for each of them, which adds up under overload.
SWITCH_SECONDS = 0.0005
# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Larger blocks return to the system at once. Those of a usual scan must not: each page of a block
# that comes back costs a fault, 500 an answer.
_LARGE_BYTES = 4 * 2**20
_KEPT_BYTES = 16 * 2**20
_ARENAS = 2


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; returns after accepted requests were answered.

    ``announce`` is called once with the URL when connections are accepted. Raises
    :class:`ModelFileError` before anything listens when the model cannot be used, and
    :class:`ConfigError` when the address or the TLS files cannot be used, and on Windows.
    """
    if sys.platform == "win32":
        raise ConfigError(
            "the service runs on Linux and macOS, not on Windows; "
            "start it in WSL 2, or use the container image (docs/deploy.md)"
        )
    configure_logging(settings)
    if settings.workers == 1:
        _serve_one(settings, announce)
    else:
        _serve_many(settings, announce)


def worker_app() -> FastAPI:
    """Return the application of a worker process, configured by the environment."""
    settings = load_settings()
    configure_logging(settings)
    _tune()
    return create_app(open_predictor(settings), settings)


def _serve_one(settings: Settings, announce: Callable[[str], None]) -> None:
    _tune()
    app = create_app(open_predictor(settings), settings)
    # What was made until now stays; the collector need not look through it again.
    gc.freeze()
    config = _config(app, settings)
    listener = _listen(settings)
    announce(_address(settings, listener))
    # uvicorn raises the signal again after its graceful shutdown, where it must have no effect.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    uvicorn.Server(config).run([listener])


def _tune() -> None:
    sys.setswitchinterval(SWITCH_SECONDS)
    cv2.setNumThreads(1)  # each core has an inference thread already
    _return_freed_memory()


def _return_freed_memory() -> None:
    """Make glibc return the memory of freed images to the system; a no-op with other C libraries.

    By default glibc raises the mmap threshold to the largest freed block, up to 32 MiB, and keeps
    such blocks in a heap for each thread, which fragments. Up to 16 MiB at a heap's end are kept.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    libc.mallopt(_M_ARENA_MAX, _ARENAS)


def _serve_many(settings: Settings, announce: Callable[[str], None]) -> None:
    # An unusable model fails here instead of restarting workers forever.
    open_predictor(settings)
    folder = Path(tempfile.mkdtemp(prefix="tumorlens-metrics-"))
    try:
        os.environ[MULTIPROC_VARIABLE] = str(folder)
        _export_settings(settings)
        config = _config(WORKER_APP, settings)
        listener = _listen(settings)
        announce(_address(settings, listener))
        _Supervisor(config, sockets=[listener]).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# Beyond the stop timeout, which the workers apply themselves.
_STOP_MARGIN_SECONDS = 2.0


class _Supervisor(Multiprocess):
    """Restarts workers that end; closes the port as soon as it shuts down.

    If this process kept the port open after its workers have closed it, the kernel would accept
    connections that are never served.
    """

    def terminate_all(self) -> None:
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def join_all(self) -> None:
        """Wait for the workers until the stop timeout, then kill those that hang.

        A worker that is stopped during its start may never end by itself.
        """
        limit = (self.config.timeout_graceful_shutdown or 0) + _STOP_MARGIN_SECONDS
        deadline = time.monotonic() + limit
        for worker in self.processes:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
            worker.join()


def _export_settings(settings: Settings) -> None:
    """Write the settings to the environment of the worker processes."""
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value == Settings.model_fields[name].default:
            continue
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif isinstance(value, tuple):
            value = ",".join(value)
        os.environ[PREFIX + name.upper()] = str(value)


class _Listener(socket.socket):
    """A listening socket that accepts one connection in each turn of the event loop.

    asyncio accepts all that wait, so of several workers the first to wake would take every client
    that connects in that moment, and the others would idle for as long as connections are kept.
    Where the cores are busy, the others also need a moment in which to be scheduled.
    """

    is_shared = False
    _has_accepted = False

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, and say every second time that no more wait."""
        if self._has_accepted:
            self._has_accepted = False
            raise BlockingIOError
        accepted = super().accept()
        self._has_accepted = True
        if self.is_shared:
            time.sleep(_PAUSE_SECONDS)
        return accepted

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a worker process have the same socket."""
        return _shared_listener, (reduction.DupFd(self.fileno()),)


def _shared_listener(descriptor: Any) -> _Listener:
    listener = _Listener(fileno=descriptor.detach())
    listener.is_shared = True
    return listener


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio disables Nagle's algorithm only for sockets created with an explicit IPPROTO_TCP; with
    # it, the second packet of a response waits 40 ms for the client's acknowledgement.
    listener = _Listener(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise ConfigError(
            f"{settings.host} port {settings.port}: cannot listen there "
            f"({exc.strerror or exc}); choose another --host or --port"
        ) from exc
    listener.set_inheritable(True)
    return listener


def _address(settings: Settings, listener: socket.socket) -> str:
    scheme = "https" if settings.ssl_certfile else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{listener.getsockname()[1]}{settings.root_path}"


def _config(app: FastAPI | str, settings: Settings) -> ConnectionConfig:
    for file in (settings.ssl_certfile, settings.ssl_keyfile):
        if file is not None and not file.is_file():
            raise ConfigError(f"{file}: no such TLS file; check TUMORLENS_SSL_CERTFILE and KEYFILE")
    config = ConnectionConfig(
        app,
        factory=isinstance(app, str),
        host=settings.host,
        port=settings.port,
        root_path=settings.root_path,
        workers=settings.workers,
        http=BoundedConnection,
        ws="none",
        # With uvloop, new connections waited for seconds under overload.
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        backlog=BACKLOG,
        timeout_keep_alive=settings.keep_alive,
        timeout_graceful_shutdown=settings.stop_timeout,
        ssl_certfile=settings.ssl_certfile,
        ssl_keyfile=settings.ssl_keyfile,
    )
    config.header_timeout = settings.header_timeout
    config.max_connections = settings.max_connections
    config.write_timeout = settings.body_timeout
    return config
