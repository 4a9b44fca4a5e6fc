"""Pretrained weights by name: a local file, or a file on the Hugging Face Hub (cached)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tumorlens.errors import (
    ConfigError,
    DownloadError,
    MissingExtraError,
    OutputError,
    TumorLensError,
)

PREFIX = "hf:"
FILE_NAME = "model.safetensors"
# timm hosts torchvision's weights (V1, the only version) under the tag "tv_in1k".
_TORCHVISION = re.compile(r"(?i)(resnet(?:18|34))(?:_weights\.(?:imagenet1k_v1|default))?")
_TIMM = re.compile(r"(?:timm/)?(resnet(?:18|34)\.\w+_in1k)")


@dataclass(frozen=True)
class HubFile:
    """A file in a repository on the Hub.

    Attributes:
        repo: ``owner/name``.
        revision: Branch, tag or commit; only a commit is immutable.
        file: Path inside the repository.
    """

    repo: str
    revision: str = "main"
    file: str = FILE_NAME


def hub_file(name: str) -> HubFile | None:
    """Return the file on the Hub that ``name`` refers to; None for a local path.

    ``hf:owner/repo`` is a repository, ``hf:owner/repo/folder/x.safetensors`` a file in it;
    ``resnet18.a1_in1k`` and the like are timm's names; ``resnet18`` and
    ``ResNet18_Weights.IMAGENET1K_V1`` are torchvision's, hosted by timm as ``tv_in1k``.
    ``@revision`` may follow each of them.

    Raises:
        ConfigError: ``hf:`` is not followed by ``owner/repo``.
    """
    given, _, revision = name.removeprefix(PREFIX).partition("@")
    if timm := _TIMM.fullmatch(given):
        given = f"timm/{timm[1]}"
    elif torchvision := _TORCHVISION.fullmatch(given):
        given = f"timm/{torchvision[1].lower()}.tv_in1k"
    elif not name.startswith(PREFIX):
        return None
    owner, _, rest = given.partition("/")
    repo, _, file = rest.partition("/")
    if not owner or not repo:
        raise ConfigError(
            f"weights {name!r}: not a repository on the Hub; write hf:owner/name, such as "
            "hf:timm/resnet18.a1_in1k"
        )
    return HubFile(f"{owner}/{repo}", revision or "main", file or FILE_NAME)


def weights_path(name: str) -> Path:
    """Return the local path of named weights, downloading from the Hub if necessary.

    An existing file of that name takes precedence. Cache, endpoint, token and offline mode are
    the Hub client's (``HF_HOME``, ``HF_HUB_CACHE``, ``HF_ENDPOINT``, ``HF_TOKEN``,
    ``HF_HUB_OFFLINE``); a cached file needs no network. A local path is not checked for
    existence; reading it reports a missing file.

    Raises:
        ConfigError: The name is not that of a repository.
        DownloadError: Not on the Hub, access denied, or the Hub cannot be reached.
        OutputError: The cache cannot be written.
        MissingExtraError: huggingface_hub is not installed.
    """
    path = Path(name).expanduser()
    remote = None if path.is_file() else hub_file(name)
    return path if remote is None else _fetch(remote)


def origin(name: str, path: Path) -> str:
    """Return the origin to record on the card for ``path``, the `weights_path` of ``name``.

    ``owner/repo@commit/file`` on the Hub, else the file's name, without local folders.
    """
    remote = None if Path(name).expanduser().is_file() else hub_file(name)
    if remote is None:
        return path.name
    # The cache stores the files of a commit below snapshots/<commit>.
    parts = path.parts
    commit = parts[parts.index("snapshots") + 1] if "snapshots" in parts else remote.revision
    return f"{remote.repo}@{commit}/{remote.file}"


def _fetch(remote: HubFile) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise MissingExtraError("weights from the Hugging Face Hub", "train") from error
    # Base class of the errors of the client's HTTP library (requests or httpx).
    transport = cast("type[Exception]", HfHubHTTPError.__bases__[0])
    try:
        return Path(hf_hub_download(remote.repo, remote.file, revision=remote.revision))
    except HFValidationError as error:
        raise ConfigError(f"weights hf:{remote.repo}: {error}") from error
    except (OSError, transport) as error:
        raise _translated(error, remote) from error


def _translated(error: Exception, remote: HubFile) -> TumorLensError:
    """Return the error as a TumorLens error with advice."""
    from huggingface_hub import errors

    where = f"weights hf:{remote.repo}@{remote.revision}"
    by_hand = (
        f"or download {remote.file} elsewhere from https://huggingface.co/{remote.repo} and give "
        "its path (model.arguments.weights=PATH)"
    )
    causes: list[tuple[type[Exception], str]] = [
        (errors.GatedRepoError, "accept its terms on the Hub and set HF_TOKEN"),
        (
            errors.RepositoryNotFoundError,
            "no such repository, or a private one; check the name, or set HF_TOKEN",
        ),
        (errors.RevisionNotFoundError, "no such revision; omit @… for the latest"),
    ]
    for kind, advice in causes:
        if isinstance(error, kind):
            return DownloadError(f"{where}: {advice}")
    if isinstance(error, errors.LocalEntryNotFoundError):
        if isinstance(error.__cause__, errors.OfflineModeIsEnabled):
            return DownloadError(
                f"{where}: not in the cache, and HF_HUB_OFFLINE is set; unset it once, {by_hand}"
            )
        reason = error.__cause__ or error
        return DownloadError(
            f"{where}: the Hub cannot be reached ({_first_line(reason)}); check the network or "
            f"proxy, {by_hand}"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return DownloadError(
            f"{where}: has no {remote.file}; pickled weights are not supported: choose a "
            "repository with safetensors or give the file (hf:owner/repo/file.safetensors)"
        )
    if isinstance(error, OSError) and error.errno is not None:
        return OutputError(
            f"{where}: the cache cannot be written ({error.strerror}); free space, or set HF_HOME"
        )
    return DownloadError(
        f"{where}: the download failed ({_first_line(error)}); try again, {by_hand}"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
