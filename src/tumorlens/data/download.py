"""Download data sets with Kaggle's client, and verify them with a hash manifest.

Downloads are stored under ``$KAGGLEHUB_CACHE``, by default ``./kaggle_cache``. A hash manifest is
written with the first download; later calls verify the files, also offline.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tumorlens.atomic import write_text
from tumorlens.data.catalogue import KNOWN_SOURCES, SourceInfo
from tumorlens.data.sources import cached_folder, kaggle_cache
from tumorlens.errors import DownloadError, MissingExtraError, OutputError, SourceNotFoundError

_FORMAT = 1
_SIGN_IN = (
    "create a token on kaggle.com under Settings > API, and set KAGGLE_API_TOKEN or save it "
    "as ~/.kaggle/kaggle.json"
)


@dataclass(frozen=True)
class Download:
    """A data set on disk.

    Attributes:
        info: its licence, citation and origin.
        folder: for `load_source`, audit or training.
        version: Kaggle's version number.
        n_files: files below ``folder``.
        sha256: digest over all paths and file digests.
        hashes: path of the hash manifest.
        fetched: False if the files had been downloaded earlier.
    """

    info: SourceInfo
    folder: Path
    version: int
    n_files: int
    sha256: str
    hashes: Path
    fetched: bool


def download(name: str, *, cache: str | Path | None = None, force: bool = False) -> Download:
    """Download a data set, or verify an earlier download.

    Args:
        name: a known source such as ``navoneel``, or any handle ``owner/dataset``.
        cache: folder of downloads; ``$KAGGLEHUB_CACHE``, else ``./kaggle_cache``.
        force: download again.

    Raises:
        SourceNotFoundError: neither a known source on Kaggle nor a handle.
        DownloadError: no network, no permission, no such data set, or damaged files.
        OutputError: the cache cannot be written.
        MissingExtraError: the Kaggle client is not installed.
    """
    info, handle = _info(name)
    root = Path(cache) if cache else kaggle_cache()
    folder = None if force else cached_folder(info, root)
    fetched = folder is None
    if folder is None:
        _fetch(handle, root, force)
        folder = cached_folder(info, root)
        if folder is None:
            raise DownloadError(f"{handle}: the download contains no files; try again")
    version = _version(folder)
    hashes = root / "hashes" / f"{handle.replace('/', '--')}-v{version}.json"
    n_files, digest = _verify(folder, hashes, info, fresh=fetched)
    return Download(info, folder, version, n_files, digest, hashes, fetched)


def _info(name: str) -> tuple[SourceInfo, str]:
    for info in KNOWN_SOURCES.values():
        if info.handle is not None and name in (info.name, info.handle):
            return info, info.handle
    owner, slash, dataset = name.partition("/")
    if slash and owner and dataset and "/" not in dataset:
        url = f"https://www.kaggle.com/datasets/{name}"
        return SourceInfo(dataset, "unknown: see the data set's page", "unknown", url, name), name
    known = ", ".join(sorted(i.name for i in KNOWN_SOURCES.values() if i.handle))
    raise SourceNotFoundError(f"{name}: not a handle owner/dataset, nor one of {known}")


def _fetch(handle: str, root: Path, force: bool) -> None:
    if find_spec("kagglehub") is None:
        raise MissingExtraError("tumorlens download", "train")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _cache_at(root):
            _call_kaggle(handle, force)
    except OSError as error:
        raise OutputError(
            f"{root}: the download cannot be stored ({error.strerror or error}); free space, or "
            "give another folder with --cache or KAGGLEHUB_CACHE"
        ) from error


def _call_kaggle(handle: str, force: bool) -> None:
    """Download, translating the errors of Kaggle's client."""
    import kagglehub
    import requests
    from kagglehub.exceptions import DataCorruptionError, UnauthenticatedError

    page = f"https://www.kaggle.com/datasets/{handle}"
    try:
        kagglehub.dataset_download(handle, force_download=force)
    except UnauthenticatedError as error:
        raise DownloadError(f"{handle}: Kaggle requires authentication; {_SIGN_IN}") from error
    except DataCorruptionError as error:
        raise DownloadError(
            f"{handle}: the download is damaged; run the same command again"
        ) from error
    except requests.HTTPError as error:
        raise DownloadError(f"{handle}: {_refusal(error)}") from error
    except requests.RequestException as error:
        raise DownloadError(
            f"{handle}: Kaggle cannot be reached; check the network or proxy (HTTPS_PROXY) and run "
            f"the same command again to resume. Without a network: download "
            f"{page} elsewhere, unpack it, and give its folder instead of the name"
        ) from error
    except ValueError as error:  # credentials or an answer that is not JSON
        raise DownloadError(f"{handle}: Kaggle's client failed ({error}); {_SIGN_IN}") from error


def _refusal(error: Any) -> str:
    status = error.response.status_code if error.response is not None else 0
    if status in (401, 403):
        return (
            f"Kaggle refuses access ({status}); {_SIGN_IN}, and accept the data set's terms on its "
            "page if it has any"
        )
    if status == 404:
        return "Kaggle has no such data set; check the handle owner/dataset"
    if status == 429:
        return "too many requests to Kaggle; wait some minutes"
    return f"Kaggle reports an error ({status}); try again later"


@contextmanager
def _cache_at(root: Path) -> Iterator[None]:
    """Set the cache folder of Kaggle's client, which reads the variable at each call."""
    before = os.environ.get("KAGGLEHUB_CACHE")
    os.environ["KAGGLEHUB_CACHE"] = str(root.resolve())
    try:
        yield
    finally:
        if before is None:
            del os.environ["KAGGLEHUB_CACHE"]
        else:
            os.environ["KAGGLEHUB_CACHE"] = before


def _version(folder: Path) -> int:
    parts = folder.parts
    return int(parts[len(parts) - 1 - parts[::-1].index("versions") + 1])


def _verify(folder: Path, hashes: Path, info: SourceInfo, *, fresh: bool) -> tuple[int, str]:
    """Verify the files with the hash manifest, or write it after a download."""
    digests = {
        path.relative_to(folder).as_posix(): _file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    if hashes.is_file() and not fresh:
        expected = _read_hashes(hashes)
        names = {*expected, *digests}
        changed = sorted(name for name in names if expected.get(name) != digests.get(name))
        if changed:
            shown = ", ".join(changed[:3]) + (" …" if len(changed) > 3 else "")
            raise DownloadError(
                f"{folder}: {len(changed)} files have changed since the download ({shown}); "
                f"download them again: tumorlens download {info.handle} --force"
            )
    else:
        _write_hashes(hashes, info, digests)
    return len(digests), _digest(digests)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _read_hashes(path: Path) -> dict[str, str]:
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DownloadError(
            f"{path}: not a hash manifest, or damaged; delete it to accept the files as they are"
        ) from error
    return dict(files)


def _write_hashes(path: Path, info: SourceInfo, files: dict[str, str]) -> None:
    content = {
        "format": _FORMAT,
        "handle": info.handle,
        "licence": info.licence,
        "citation": info.citation,
        "url": info.url,
        "sha256": _digest(files),
        "files": files,
    }
    write_text(path, json.dumps(content, indent=1), parents=True)
