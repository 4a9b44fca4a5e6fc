"""What libraries raise, warn and log while reading stays on their side of the seam."""

from __future__ import annotations

import logging
import threading
import traceback
import warnings

import numpy as np
import pytest

from tests.imaging.dicoms import SECRET, dataset, encode
from tumorlens.errors import DecodeError, TooLargeError
from tumorlens.imaging.decode import decode
from tumorlens.imaging.foreign import foreign, quiet


class OddError(Exception):
    """An error of nobody's family."""


def test_anything_a_library_raises_is_the_files_error() -> None:
    with pytest.raises(DecodeError, match=r"^scan: is damaged$") as caught, \
            foreign("scan", "is damaged"):  # fmt: skip
        raise OddError(SECRET)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_our_own_errors_pass() -> None:
    with pytest.raises(TooLargeError, match="mine"), foreign("scan", "is damaged"):
        raise TooLargeError("mine")


def warn_as(module: str) -> None:
    warnings.warn_explicit(SECRET, UserWarning, "file.py", 1, module=module)


def test_warnings_and_logs_of_readers_are_dropped_while_reading(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Whatever level a service, started by an earlier test, has left behind.
    for logger in ("", "pydicom"):
        caplog.set_level(logging.DEBUG, logger=logger)
    before = list(warnings.filters)
    with foreign("scan", "is damaged"):
        warn_as("pydicom.valuerep")
        logging.getLogger("pydicom.pixels").error(SECRET)
        logging.getLogger("PIL.TiffImagePlugin").error(SECRET)
        with pytest.raises(UserWarning):
            warn_as("somebody.else")
    assert not caplog.records
    assert list(warnings.filters) == before
    with pytest.raises(UserWarning):
        warn_as("pydicom.valuerep")
    logging.getLogger("pydicom").error("heard")
    assert [record.message for record in caplog.records] == ["heard"]


def test_many_files_can_be_read_quietly(caplog: pytest.LogCaptureFixture) -> None:
    before, level = list(warnings.filters), logging.getLogger("pydicom").level
    with quiet():
        with foreign("scan", "is damaged"):
            pass
        warn_as("pydicom.valuerep")
        logging.getLogger("pydicom.pixels").error(SECRET)
    assert not caplog.records
    assert (list(warnings.filters), logging.getLogger("pydicom").level) == (before, level)


def test_the_last_thread_out_restores_the_filters() -> None:
    before = list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def read() -> None:
        with foreign("scan", "is damaged"):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=read)
    thread.start()
    inside.wait(10)
    with foreign("scan", "is damaged"):
        pass
    warn_as("pydicom.valuerep")  # the other thread is still reading
    leave.set()
    thread.join()
    assert list(warnings.filters) == before


def test_a_file_with_odd_values_warns_nobody(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    made = dataset(np.arange(384, dtype=np.uint8).reshape(16, 24))
    for keyword in ("WindowCenter", "InstanceNumber", "Modality", "EchoTime", "ImageType"):
        made.add_new(keyword, "LO", f"{SECRET} in {keyword}")
    decode(encode(made) + bytes(7))
    assert not caplog.records
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
