"""The room's public names: all there, and none of them at the price of a slow import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tumorlens import imaging


def test_every_public_name_is_there_and_listed() -> None:
    for name in imaging.__all__:
        assert getattr(imaging, name).__module__.startswith("tumorlens.imaging.")
    assert set(imaging.__all__) <= set(dir(imaging))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        imaging.nothing  # noqa: B018


def test_reading_a_png_loads_neither_pydicom_nor_nibabel() -> None:
    program = (
        "import sys; from tumorlens.imaging.decode import decode; import tumorlens.imaging;"
        "from tumorlens.errors import DecodeError\n"
        "try: decode(b'\\x89PNG\\r\\n\\x1a\\n' + bytes(40))\n"
        "except DecodeError: pass\n"
        "sys.exit(bool({'pydicom', 'nibabel'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
