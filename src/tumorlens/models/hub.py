"""Backbone weights by name: a file at hand, or one of the Hugging Face Hub, fetched once."""

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
# torchvision's own file of 2016 is kept by timm under the tag "tv"; V1 is the only one there is.
_TORCHVISION = re.compile(r"(?i)(resnet(?:18|34))(?:_weights\.(?:imagenet1k_v1|default))?")
_TIMM = re.compile(r"(?:timm/)?(resnet(?:18|34)\.\w+_in1k)")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository of the Hub.

    Attributes:
        repo: ``owner/name``.
        revision: Branch, tag or commit; ``main`` moves, a commit does not.
        file: Path inside the repository.
    """

    repo: str
    revision: str = "main"
    file: str = FILE_NAME


def hub_file(name: str) -> HubFile | None:
    """Return the Hub's file that ``name`` means; None when it means a local path.

    ``hf:owner/repo`` is any repository, ``hf:owner/repo/folder/x.safetensors`` a certain file
    of it. ``resnet18.a1_in1k`` and the like are timm's names; ``resnet18`` and
    ``ResNet18_Weights.IMAGENET1K_V1`` are torchvision's, whose weights timm keeps as
    ``tv_in1k``. ``@revision`` may follow each of them.

    Raises:
        ConfigError: ``hf:`` is followed by something else than ``owner/repo``.
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
            f"weights {name!r}: not a repository of the Hub; write hf:owner/name, such as "
            "hf:timm/resnet18.a1_in1k"
        )
    return HubFile(f"{owner}/{repo}", revision or "main", file or FILE_NAME)


def weights_path(name: str) -> Path:
    """Return the file of a name of weights, from the Hub's cache or the Hub where it is one.

    A file that exists under the name is taken as it is. The cache is the Hub client's own
    (``HF_HOME``, ``HF_HUB_CACHE``), as are the endpoint, the token and the offline switch
    (``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``). A file that is there already is used
    without a network. The file of a local path may not exist; whoever reads it says so.

    Raises:
        ConfigError: The name is no repository's.
        DownloadError: The Hub does not have it, does not give it, or cannot be reached.
        OutputError: The cache cannot be written.
        MissingExtraError: huggingface_hub is not installed.
    """
    path = Path(name).expanduser()
    wanted = None if path.is_file() else hub_file(name)
    return path if wanted is None else _fetch(wanted)


def origin(name: str, path: Path) -> str:
    """Return what a card calls the file ``path`` that `weights_path` gave for ``name``.

    ``owner/repo@commit`` for the Hub's, else the file's name: no place of this machine.
    """
    wanted = None if Path(name).expanduser().is_file() else hub_file(name)
    if wanted is None:
        return path.name
    # The client's cache keeps each commit's files below snapshots/<commit>.
    parts = path.parts
    commit = parts[parts.index("snapshots") + 1] if "snapshots" in parts else wanted.revision
    return f"{wanted.repo}@{commit}/{wanted.file}"


def _fetch(wanted: HubFile) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise MissingExtraError("weights from the Hugging Face Hub", "train") from error
    # The base of what the client's own HTTP library raises, whichever that is.
    transport = cast("type[Exception]", HfHubHTTPError.__bases__[0])
    try:
        return Path(hf_hub_download(wanted.repo, wanted.file, revision=wanted.revision))
    except HFValidationError as error:
        raise ConfigError(f"weights hf:{wanted.repo}: {error}") from error
    except (OSError, transport) as error:
        raise _translated(error, wanted) from error


def _translated(error: Exception, wanted: HubFile) -> TumorLensError:
    """Say what went wrong in our words, and what to do."""
    from huggingface_hub import errors

    where = f"weights hf:{wanted.repo}@{wanted.revision}"
    by_hand = (
        f"or download {wanted.file} elsewhere from https://huggingface.co/{wanted.repo} and give "
        "its path (model.arguments.weights=PATH)"
    )
    answers: list[tuple[type[Exception], str]] = [
        (errors.GatedRepoError, "accept its terms on the Hub and set HF_TOKEN"),
        (
            errors.RepositoryNotFoundError,
            "no such repository, or a private one; check the name, or set HF_TOKEN",
        ),
        (errors.RevisionNotFoundError, "no such revision; leave @… out for the newest"),
    ]
    for kind, advice in answers:
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
            f"{where}: holds no {wanted.file}; pickled weights are not read, choose a repository "
            "with safetensors or name the file (hf:owner/repo/file.safetensors)"
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
