"""Names of weights, and the Hub's real client against a local server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save

from tests.models.hub_stand_in import StandIn, commit, serve
from tumorlens.errors import ConfigError, DownloadError, OutputError
from tumorlens.models.hub import HubFile, hub_file, origin, weights_path
from tumorlens.models.resnet import ResNetClassifier, build_backbone

pytest.importorskip("huggingface_hub")
A1, FILE = "timm/resnet18.a1_in1k", "model.safetensors"
FILES = {
    (A1, "main", FILE): b"new",
    (A1, "v1", FILE): b"old",
    (A1, "v1", "sub/other.safetensors"): b"other",
    ("lab/mri", "main", "pytorch_model.bin"): b"pickle",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf:timm/resnet18.a1_in1k", HubFile(A1)),
        ("hf:timm/resnet18.a1_in1k@v1", HubFile(A1, "v1")),
        ("hf:lab/mri/deep/w.safetensors@v2", HubFile("lab/mri", "v2", "deep/w.safetensors")),
        ("resnet18.a1_in1k", HubFile(A1)),
        ("timm/resnet34.gluon_in1k", HubFile("timm/resnet34.gluon_in1k")),
        ("hf:resnet18.fb_ssl_in1k@v1", HubFile("timm/resnet18.fb_ssl_in1k", "v1")),
        ("resnet18", HubFile("timm/resnet18.tv_in1k")),
        ("ResNet34_Weights.IMAGENET1K_V1", HubFile("timm/resnet34.tv_in1k")),
        ("ResNet18_Weights.DEFAULT@v1", HubFile("timm/resnet18.tv_in1k", "v1")),
        ("resnet18.safetensors", None),
        ("runs/resnet18.pt", None),
        ("resnet50", None),
    ],
)  # fmt: skip
def test_names_are_resolved(name: str, expected: HubFile | None) -> None:
    assert hub_file(name) == expected


@pytest.mark.parametrize("name", ["hf:", "hf:alone", "hf:/x", "hf:resnet50"])
def test_a_name_without_an_owner_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="write hf:owner/name"):
        hub_file(name)


def test_a_file_of_that_name_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("resnet18").write_bytes(b"mine")
    assert weights_path("resnet18") == Path("resnet18")
    assert origin(str(tmp_path / "resnet18"), tmp_path / "resnet18") == "resnet18"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The Hub's real client, led to a local server, with a cache of its own and no token."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http, close_session

    # Failed requests are tried again as ever, but without the pauses between.
    hasty = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    monkeypatch.setattr(_http, "time", hasty)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serve(dict(FILES)) as server:
        lead_to(server.url, monkeypatch)
        yield server
        close_session()


def lead_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT does before the client is imported."""
    from huggingface_hub import constants

    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def test_the_file_is_cached_by_commit(hub: StandIn) -> None:
    name = f"hf:{A1}"
    path = weights_path(name)
    assert path.read_bytes() == b"new"
    assert origin(name, path) == f"{A1}@{commit('main')}/{FILE}"
    assert hub.asked == [f"HEAD {A1}@main", f"GET {A1}@main"]
    assert weights_path("resnet18.a1_in1k") == path
    assert [line for line in hub.asked if line.startswith("GET")] == [f"GET {A1}@main"]


@pytest.mark.parametrize("revision", ["v1", commit("v1")])
def test_a_revision_is_used(hub: StandIn, revision: str) -> None:
    name = f"{A1}@{revision}"
    path = weights_path(name)
    assert path.read_bytes() == b"old"
    assert origin(name, path) == f"{A1}@{commit('v1')}/{FILE}"
    other = f"hf:{A1}/sub/other.safetensors@{revision}"
    assert weights_path(other).read_bytes() == b"other"
    assert origin(other, weights_path(other)) == f"{A1}@{commit('v1')}/sub/other.safetensors"


def test_a_commit_in_the_cache_needs_no_network(hub: StandIn) -> None:
    name = f"hf:{A1}@{commit('v1')}"
    path = weights_path(name)
    asked = len(hub.asked)
    assert weights_path(name) == path
    assert len(hub.asked) == asked


def test_cached_files_are_used_offline(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    path = weights_path(f"hf:{A1}")
    lead_to(closed_port(), monkeypatch)
    assert weights_path(f"hf:{A1}") == path


def closed_port() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("hf:nobody/nothing", r"nobody/nothing@main: no such repository.*HF_TOKEN"),
        (f"hf:{A1}@v7", r"a1_in1k@v7: no such revision"),
        ("hf:lab/mri", r"has no model\.safetensors; pickled weights are not supported"),
    ],
)
def test_missing_repositories_revisions_and_files_are_reported(
    hub: StandIn, name: str, advice: str
) -> None:
    with pytest.raises(DownloadError, match=advice) as refused:
        weights_path(name)
    assert refused.value.__cause__ is not None


def test_a_gated_repository_is_reported(hub: StandIn) -> None:
    hub.gated = True
    with pytest.raises(DownloadError, match="accept its terms on the Hub and set HF_TOKEN"):
        weights_path(f"hf:{A1}")


def test_a_server_error_is_reported(hub: StandIn) -> None:
    hub.status = 500
    with pytest.raises(DownloadError, match=r"500.*model\.arguments\.weights=PATH"):
        weights_path(f"hf:{A1}")


def test_an_invalid_name_is_a_config_error(hub: StandIn) -> None:
    with pytest.raises(ConfigError, match=r"hf:lab/--a"):
        weights_path("hf:lab/--a")


def test_without_a_network_the_error_gives_advice(
    hub: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_to(closed_port(), monkeypatch)
    with pytest.raises(DownloadError, match="the Hub cannot be reached") as refused:
        weights_path("resnet18.a1_in1k")
    for hint in ("network or proxy", f"https://huggingface.co/{A1}", "weights=PATH"):
        assert hint in str(refused.value)


def test_offline_mode_is_reported(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set; unset it once"):
        weights_path("resnet18.a1_in1k")
    assert hub.asked == []


def test_a_cache_that_cannot_be_written_is_an_output_error(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    (tmp_path / "file").write_bytes(b"in the way")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    with pytest.raises(OutputError, match="set HF_HOME"):
        weights_path(f"hf:{A1}")


def test_the_hub_client_s_variables_are_used(tmp_path: Path) -> None:
    """As a user has it: a fresh process, HF_ENDPOINT and HF_HOME."""
    code = (
        "import sys; from tumorlens.models.hub import weights_path;"
        "print(weights_path(sys.argv[1])); assert 'torch' not in sys.modules"
    )
    with serve(dict(FILES)) as server:
        told = subprocess.run(
            [sys.executable, "-c", code, f"{A1}@v1"],
            env={**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path),
                 "NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(tmp_path)},
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    path = Path(told.strip())
    assert path.is_relative_to(tmp_path)
    assert path.read_bytes() == b"old"


def test_a_network_is_initialised_from_the_hub(hub: StandIn) -> None:
    state = {name: tensor.half() for name, tensor in build_backbone(18, 3).state_dict().items()}
    state["layer4.1.conv2.weight"] = torch.full((512, 512, 3, 3), 0.125).half()
    hub.files[(A1, "main", FILE)] = save(state)
    network = ResNetClassifier(weights="resnet18.a1_in1k")
    assert network.backbone.layer4[1].conv2.weight.unique().tolist() == [0.125]
