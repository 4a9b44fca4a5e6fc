"""Structured log lines on standard error: numbers of jobs, counts, fixed words; no identifier."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from typing import Any

import structlog

from tumorlens.pacs.settings import PacsSettings

# What these log or warn of holds addresses with UIDs, AE titles, or values of files.
_LIBRARIES = (
    "pynetdicom", "pydicom", "highdicom", "dicomweb_client", "requests", "urllib3", "retrying",
    "sqlalchemy", "PIL",
)  # fmt: skip
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def silence_libraries() -> None:
    """Drop what libraries log and warn of, for as long as this process lives."""
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
    warnings.simplefilter("ignore")


def configure_logs(settings: PacsSettings) -> None:
    """Write log lines to standard error; only the command's entry point calls this."""
    silence_libraries()
    terminal = sys.stderr.isatty()
    console = settings.log_format == "console" or (settings.log_format == "auto" and terminal)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=terminal)
            if console
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.log_level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def open_log() -> Any:
    """Return the log."""
    return structlog.get_logger("tumorlens.pacs")


def fault(error: BaseException) -> dict[str, object]:
    """Return what may be logged of an unexpected error: its type, and places in the code."""
    places = [
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-6:]
    ]
    return {"error": type(error).__name__, "at": places}
