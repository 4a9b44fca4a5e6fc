"""Opens the archive at an address."""

from __future__ import annotations

from tumorlens.pacs.archives.archive import Archive
from tumorlens.pacs.archives.dicomweb import DicomWeb
from tumorlens.pacs.archives.http import HttpClient
from tumorlens.pacs.archives.orthanc import Orthanc
from tumorlens.pacs.settings import PacsSettings, check_url


def open_archive(url: str, settings: PacsSettings) -> Archive:
    """Return the archive: Orthanc if it says so or ``archive_kind`` does, else DICOMweb.

    Raises:
        ConfigError: no usable address.
        ArchiveError: its kind must be asked for, and it cannot be reached.
    """
    http = HttpClient(check_url(url), settings)
    kind = settings.archive_kind
    if kind == "auto":
        kind = "orthanc" if Orthanc.answers(http) else "dicomweb"
    return Orthanc(http) if kind == "orthanc" else DicomWeb(http, settings)
