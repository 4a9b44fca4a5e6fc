"""The Storage SCP: who may send what, and that success means that it is on disk."""

from __future__ import annotations

import os
import ssl
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pynetdicom", reason="receiving DICOM is an extra")

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    CTImageStorage,
    EnhancedMRImageStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    Verification,
)

from tests.imaging.dicoms import dataset, encode
from tests.pacs.fakes import settings_of
from tests.pacs.orthanc import storescu
from tumorlens.errors import ConfigError
from tumorlens.pacs.metrics import PacsMetrics
from tumorlens.pacs.queue import key_of
from tumorlens.pacs.receiver import CANNOT_UNDERSTAND, DOES_NOT_MATCH, OUT_OF_RESOURCES, Receiver
from tumorlens.pacs.spool import Spool
from tumorlens.pacs.state import StateFolder

SERIES = "1.2.826.9.1"


def image(number: int = 1, **more: Any) -> Dataset:
    made = dataset(np.arange(64, dtype=np.uint16).reshape(8, 8))
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.826.9", SERIES
    made.SOPInstanceUID = f"{SERIES}.{number}"
    made.Modality = "MR"
    for keyword, value in more.items():
        setattr(made, keyword, value)
    encode(made)  # gives it file meta information
    return made


@dataclass
class Listening:
    port: int
    spool: Spool
    metrics: PacsMetrics
    receiver: Receiver

    def files(self, series: str = SERIES) -> list[Path]:
        return self.spool.files(key_of(series))


@contextmanager
def listening(folder: Path, **more: Any) -> Iterator[Listening]:
    settings = settings_of(folder, port=0, **more)
    state = StateFolder.open(folder)
    spool, metrics = Spool(state.spool), PacsMetrics()
    receiver = Receiver(settings, state, spool, metrics)
    try:
        yield Listening(receiver.start(), spool, metrics, receiver)
    finally:
        receiver.stop(5)
        state.close()


@contextmanager
def associated(
    port: int, *classes: str, calling: str = "SENDER", called: str = "TUMORLENS", **more: Any
) -> Iterator[Association]:
    entity = AE(ae_title=calling)
    for each in classes or (MRImageStorage, EnhancedMRImageStorage, Verification):
        entity.add_requested_context(each)
    association = entity.associate("127.0.0.1", port, ae_title=called, **more)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        entity.shutdown()
        # pynetdicom leaves the socket of a failed handshake open.
        if association.dul.socket is not None and association.dul.socket.socket is not None:
            association.dul.socket.socket.close()


def sent(association: Association, made: Dataset) -> int:
    return int(association.send_c_store(made).Status)


def test_success_means_that_the_bytes_are_on_disk_as_they_were_sent(tmp_path: Path) -> None:
    with listening(tmp_path) as here:
        with associated(here.port) as association:
            assert association.send_c_echo().Status == 0
            for number in (1, 2):
                assert sent(association, image(number)) == 0
                assert len(here.files()) == number
            assert sent(association, image(2)) == 0
            assert sent(association, image(3, SOPClassUID=EnhancedMRImageStorage)) == 0
        assert len(here.files()) == 3
        assert {path.suffix for path in here.files()} == {".dcm"}
        found = [dcmread(path) for path in here.files()]
        assert sorted(each.SOPInstanceUID for each in found) == [f"{SERIES}.{k}" for k in (1, 2, 3)]
        assert all(each.PatientName == "DOE^JANE" for each in found)
        assert all(each.PixelData == image().PixelData for each in found)
        names = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
        assert not [name for name in names if "DOE" in name or SERIES in name]


@pytest.mark.parametrize("kind", [CTImageStorage, SecondaryCaptureImageStorage])
def test_other_kinds_of_object_are_not_even_negotiated(kind: str, tmp_path: Path) -> None:
    with listening(tmp_path) as here, associated(here.port, kind, Verification) as association:
        assert [each.abstract_syntax for each in association.accepted_contexts] == [Verification]
        assert [each.abstract_syntax for each in association.rejected_contexts] == [kind]


@pytest.mark.parametrize(
    ("calling", "called", "accepted"),
    [("SENDER", "TUMORLENS", True), ("OTHER", "TUMORLENS", False), ("SENDER", "ANY", False)],
)
def test_only_allowed_titles_that_know_ours_may_send(
    calling: str, called: str, accepted: bool, tmp_path: Path
) -> None:
    with (
        listening(tmp_path, allow="SENDER, SECOND") as here,
        associated(here.port, calling=calling, called=called) as association,
    ):
        assert association.is_established == accepted
        assert association.is_rejected != accepted


def test_more_associations_than_allowed_are_refused_until_one_ends(tmp_path: Path) -> None:
    with listening(tmp_path) as here:
        with associated(here.port), associated(here.port), associated(here.port):
            with associated(here.port) as fourth:
                assert fourth.is_established
                with associated(here.port) as fifth:
                    assert fifth.is_rejected
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                with associated(here.port) as again:
                    if again.is_established:
                        break
            assert time.monotonic() < deadline
        assert here.metrics.registry.get_sample_value("tumorlens_pacs_rejected_associations_total")


def test_an_object_that_is_not_what_was_announced_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Then the request has the UIDs of the file meta information, and the data are sent as they are.
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    content = encode(image())
    meta_end = content.index(b"\x08\x00\x16\x00")
    other = content[:meta_end].replace(f"{SERIES}.1".encode(), f"{SERIES}.2".encode())
    files = {"other": other + content[meta_end:], "damaged": content[:meta_end] + b"DOE^JANE" * 9}
    expected = {"other": DOES_NOT_MATCH, "damaged": DOES_NOT_MATCH}
    with listening(tmp_path / "state") as here, associated(here.port) as association:
        for name, status in expected.items():
            (tmp_path / name).write_bytes(files[name])
            assert association.send_c_store(tmp_path / name).Status == status
        monkeypatch.undo()
        without = image()
        del without.SeriesInstanceUID
        assert sent(association, without) == CANNOT_UNDERSTAND
        assert here.files() == []


def test_a_full_disk_is_answered_as_out_of_resources_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(tmp_path) as here, associated(here.port) as association:
        real = os.fsync

        def full(number: int) -> None:
            if not stat.S_ISDIR(os.fstat(number).st_mode):
                raise OSError(28, "No space left on device")
            real(number)

        monkeypatch.setattr(os, "fsync", full)
        assert sent(association, image()) == OUT_OF_RESOURCES
        assert not [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]
        monkeypatch.setattr(os, "fsync", real)
        assert sent(association, image()) == 0


def test_little_free_space_is_answered_before_anything_is_written(tmp_path: Path) -> None:
    with (
        listening(tmp_path, min_free_bytes=2**60) as here,
        associated(here.port) as association,
    ):
        assert sent(association, image()) == OUT_OF_RESOURCES
        assert here.files() == []


def test_an_object_over_the_limit_ends_the_association(tmp_path: Path) -> None:
    with listening(tmp_path, max_object_bytes=200_000) as here:
        with associated(here.port) as association:
            large = image()
            large.Rows = large.Columns = 1024
            large.PixelData = bytes(2 * 1024 * 1024)
            assert "Status" not in association.send_c_store(large)
        assert here.files() == []
        with associated(here.port) as association:
            assert sent(association, image()) == 0


def test_half_written_files_of_a_killed_process_are_removed_and_the_rest_found(
    tmp_path: Path,
) -> None:
    with listening(tmp_path) as here, associated(here.port) as association:
        assert sent(association, image()) == 0
        (here.files()[0].parent / "0000.part").write_bytes(b"half")
    with listening(tmp_path) as here:
        assert len(here.files()) == 1
        assert not list(tmp_path.rglob("*.part"))
        assert here.spool.settled(0) == [key_of(SERIES)]
        assert here.spool.settled(0) == []


def test_stopping_lets_an_open_association_finish(tmp_path: Path) -> None:
    with listening(tmp_path) as here:
        with associated(here.port) as association:
            stopping = threading.Thread(target=here.receiver.stop, args=(30,))
            stopping.start()
            assert sent(association, image()) == 0
        stopping.join(30)
        assert not stopping.is_alive()
        assert len(here.files()) == 1


def certificate(folder: Path) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


@pytest.mark.system("openssl")
def test_tls_is_spoken_and_strangers_are_refused(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    client = ssl.create_default_context(cafile=str(cert))
    options = {"tls_certfile": cert, "tls_keyfile": key, "ca_file": cert, "tls_clients": True}
    with listening(tmp_path / "state", **options) as here:
        with associated(here.port) as association:
            assert not association.is_established
        with associated(here.port, tls_args=(client, "localhost")) as association:
            assert not association.is_established or sent_fails(association)
        client.load_cert_chain(cert, key)
        with associated(here.port, tls_args=(client, "localhost")) as association:
            assert sent(association, image()) == 0


def sent_fails(association: Association) -> bool:
    """With TLS 1.3 a client learns of its refusal with the first answer only."""
    return not association.is_established or "Status" not in association.send_c_store(image())


def test_certificates_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("nothing", "utf-8")
    options = {"tls_certfile": tmp_path / "no.pem", "tls_keyfile": tmp_path / "no.pem"}
    with pytest.raises(ConfigError, match="PEM"), listening(tmp_path / "state", **options):
        pass


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with listening(tmp_path / "one") as here:
        settings = settings_of(tmp_path / "two", port=here.port)
        state = StateFolder.open(tmp_path / "two")
        receiver = Receiver(settings, state, Spool(state.spool), PacsMetrics())
        with pytest.raises(ConfigError, match=str(here.port)):
            receiver.start()
        state.close()


def test_a_folder_has_one_process(tmp_path: Path) -> None:
    with listening(tmp_path), pytest.raises(ConfigError, match="another tumorlens pacs"):
        StateFolder.open(tmp_path)


@pytest.mark.system("storescu")
def test_dcmtk_sends_and_is_answered(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.dcm").write_bytes(encode(image(number)))
    with listening(tmp_path / "state") as here:
        storescu(folder, here.port, called="TUMORLENS")
        assert len(here.files()) == 5
