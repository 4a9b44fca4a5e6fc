"""Data sets from Kaggle through its own client, with a hash manifest of every file.

The client keeps downloads under ``$KAGGLEHUB_CACHE``, here ``./kaggle_cache`` by default. The hash
manifest beside a download is written when it is first seen: it shows later whether the files have
changed, and lets a machine without a network use what it has.
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

from tumorlens.atomic import atomic_file
from tumorlens.data.catalogue import KNOWN_SOURCES, SourceInfo
from tumorlens.data.sources import cached_folder, kaggle_cache
from tumorlens.errors import DownloadError, MissingExtraError, OutputError, SourceNotFoundError

_FORMAT = 1
_SIGN_IN = (
    "make a token on kaggle.com under Settings > API, and give it as KAGGLE_API_TOKEN or save it "
    "as ~/.kaggle/kaggle.json"
)


@dataclass(frozen=True)
class Download:
    """A data set on disk.

    Attributes:
        info: what is known of it; its licence binds whoever uses the files.
        folder: give this to `load_source`, the audit or the training.
        version: Kaggle's number of the version.
        n_files: files below ``folder``.
        sha256: digest over all paths and file digests.
        hashes: the hash manifest.
        fetched: False when the files were there already.
    """

    info: SourceInfo
    folder: Path
    version: int
    n_files: int
    sha256: str
    hashes: Path
    fetched: bool


def download(name: str, *, cache: str | Path | None = None, force: bool = False) -> Download:
    """Download a data set, or find it where an earlier call left it.

    Args:
        name: of a known source, such as ``navoneel``, or any handle ``owner/dataset``.
        cache: where downloads are kept; ``$KAGGLEHUB_CACHE``, else ``./kaggle_cache``.
        force: fetch again even if it is there.

    Raises:
        SourceNotFoundError: neither a known source that Kaggle has, nor a handle.
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
            raise DownloadError(f"{handle}: the download holds no files; try again")
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
            f"{root}: the download cannot be kept ({error.strerror or error}); free space, or name "
            "another folder with --cache or KAGGLEHUB_CACHE"
        ) from error


def _call_kaggle(handle: str, force: bool) -> None:
    """The one place where errors of Kaggle's client become ours."""
    import kagglehub
    import requests
    from kagglehub.exceptions import DataCorruptionError, UnauthenticatedError

    page = f"https://www.kaggle.com/datasets/{handle}"
    try:
        kagglehub.dataset_download(handle, force_download=force)
    except UnauthenticatedError as error:
        raise DownloadError(f"{handle}: Kaggle requires authentication; {_SIGN_IN}") from error
    except DataCorruptionError as error:
        raise DownloadError(f"{handle}: arrived damaged; run the same command again") from error
    except requests.HTTPError as error:
        raise DownloadError(f"{handle}: {_refusal(error)}") from error
    except requests.RequestException as error:
        raise DownloadError(
            f"{handle}: Kaggle cannot be reached; check the network or proxy (HTTPS_PROXY) and run "
            f"the same command again, which goes on where it stopped. Without a network: fetch "
            f"{page} elsewhere, unpack it, and give its folder in place of the name"
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
        return "Kaggle says there were too many requests; wait some minutes"
    return f"Kaggle answers with an error ({status}); try again later"


@contextmanager
def _cache_at(root: Path) -> Iterator[None]:
    """Let Kaggle's client, which reads the variable at each call, use ``root``."""
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
    """Compare the files with the hash manifest, or write it when there is none yet."""
    found = {
        path.relative_to(folder).as_posix(): _file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    if hashes.is_file() and not fresh:
        known = _read_hashes(hashes)
        changed = sorted(name for name in {*known, *found} if known.get(name) != found.get(name))
        if changed:
            shown = ", ".join(changed[:3]) + (" …" if len(changed) > 3 else "")
            raise DownloadError(
                f"{folder}: {len(changed)} files are not those that were downloaded ({shown}); "
                f"fetch them again: tumorlens download {info.handle} --force"
            )
    else:
        _write_hashes(hashes, info, found)
    return len(found), _digest(found)


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
            f"{path}: not a hash manifest, or damaged; delete it to trust the files as they are"
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
    with atomic_file(path, parents=True) as file:
        file.write(json.dumps(content, indent=1).encode())
