"""Start the service: one process, or several that share a port and their metrics."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

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
# Inference threads give up the interpreter lock this often, in seconds. With the default of 5 ms
# the event loop waits that long behind each of them, which an overload multiplies.
SWITCH_SECONDS = 0.0005
# From glibc's malloc.h.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE_BYTES = 2**20
_ARENAS = 2


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; returns after accepted requests were answered.

    ``announce`` is called once with the address when connections are taken. Raises
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
    """Return the application as a worker process builds it: from the environment alone."""
    settings = load_settings()
    configure_logging(settings)
    _tune()
    return create_app(open_predictor(settings), settings)


def _serve_one(settings: Settings, announce: Callable[[str], None]) -> None:
    _tune()
    app = create_app(open_predictor(settings), settings)
    config = _config(app, settings)
    listener = _listen(settings)
    announce(_address(settings, listener))
    # uvicorn raises the signal again after its graceful stop; that stop is the answer to it.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    uvicorn.Server(config).run([listener])


def _tune() -> None:
    sys.setswitchinterval(SWITCH_SECONDS)
    _return_freed_memory()


def _return_freed_memory() -> None:
    """Make glibc return freed images to the system; does nothing with another C library.

    By itself it raises its threshold for separate mappings to the largest block it has seen
    freed, up to 32 MiB, and keeps such blocks in one heap a thread, where they fragment.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    libc.mallopt(_M_ARENA_MAX, _ARENAS)


def _serve_many(settings: Settings, announce: Callable[[str], None]) -> None:
    # A model that cannot be used stops the start here, instead of restarting workers for ever.
    open_predictor(settings)
    folder = Path(tempfile.mkdtemp(prefix="tumorlens-metrics-"))
    try:
        os.environ[MULTIPROC_VARIABLE] = str(folder)
        _hand_down(settings)
        config = _config(WORKER_APP, settings)
        listener = _listen(settings)
        announce(_address(settings, listener))
        _Supervisor(config, sockets=[listener]).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# Beyond the stop limit, which the workers keep themselves.
_STOP_MARGIN_SECONDS = 2.0


class _Supervisor(Multiprocess):
    """Restarts workers that end; closes the port as soon as it is told to stop.

    If this process kept the port open after its workers have closed it, the kernel would accept
    connections that nobody answers.
    """

    def terminate_all(self) -> None:
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def join_all(self) -> None:
        """Wait for the workers within the stop limit; end one that hangs beyond it.

        A worker that is told to stop while it still starts may never end by itself.
        """
        limit = (self.config.timeout_graceful_shutdown or 0) + _STOP_MARGIN_SECONDS
        deadline = time.monotonic() + limit
        for worker in self.processes:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
            worker.join()


def _hand_down(settings: Settings) -> None:
    """Put the settings into the environment, where the worker processes find them."""
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value == Settings.model_fields[name].default:
            continue
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif isinstance(value, tuple):
            value = ",".join(value)
        os.environ[PREFIX + name.upper()] = str(value)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's algorithm off for TCP by that name only;
    # with it, the second packet of an answer waits 40 ms for the client's acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
        # uvloop, where it is installed, left new connections waiting for seconds in an overload.
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
