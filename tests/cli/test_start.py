"""What a start imports decides how long it takes: these modules are not among it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.serving.scans import png_scan

# Read by extras, training, reports, or files of other formats; each takes 20 ms to seconds.
HEAVY = {
    "torch", "lightning", "monai", "sklearn", "pandas", "matplotlib", "scipy", "pydicom",
    "nibabel", "SimpleITK", "tifffile", "requests", "httpx", "onnx", "jinja2",
}  # fmt: skip
SERVICE = {"fastapi", "starlette", "uvicorn", "structlog", "prometheus_client"}


def imported(program: str, *arguments: str) -> set[str]:
    code = f"import sys\n{program}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_a_picture_is_predicted_without_anything_heavy(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    picture = tmp_path / "scan.png"
    picture.write_bytes(png_scan())
    loaded = imported(
        "from tumorlens.cli.app import run\nassert run(['predict', *sys.argv[1:]]) == 0",
        *(str(picture), "--model", str(tiny_model_path), "--format", "jsonl"),
    )
    assert loaded & (HEAVY | SERVICE | {"rich"}) == set()
    # Of Pillow, and of the readers of volumes, only what this file needs.
    assert "PIL.PngImagePlugin" in loaded
    assert not loaded & {"PIL.TiffImagePlugin", "PIL.WebPImagePlugin", "PIL.JpegImagePlugin"}
    assert not {name for name in loaded if name.startswith("tumorlens.volumes.dicom.")}


def test_the_service_starts_without_anything_heavy(tiny_model_path: Path) -> None:
    loaded = imported(
        "import tumorlens.cli.serve\n"
        "from tumorlens.serving.server import create_app, open_predictor\n"
        "from tumorlens.serving.settings import Settings\n"
        "settings = Settings(model=sys.argv[1])\n"
        "create_app(open_predictor(settings), settings)",
        str(tiny_model_path),
    )
    assert loaded & HEAVY == set()


def test_the_version_is_shown_without_numpy() -> None:
    loaded = imported("from tumorlens.cli.app import run\nassert run(['--version']) == 0")
    slow = {"numpy", "cv2", "onnxruntime", "pydantic", "rich"}
    assert loaded & (HEAVY | SERVICE | slow) == set()
