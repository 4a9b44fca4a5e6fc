"""Reading a picture costs no import that only DICOM or NIfTI need."""

from __future__ import annotations

import subprocess
import sys


def test_reading_a_png_loads_neither_pydicom_nor_nibabel() -> None:
    program = (
        "import sys; from tumorlens.imaging.decode import decode; import tumorlens.imaging;"
        "from tumorlens.errors import DecodeError\n"
        "try: decode(b'\\x89PNG\\r\\n\\x1a\\n' + bytes(40))\n"
        "except DecodeError: pass\n"
        "sys.exit(bool({'pydicom', 'nibabel'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
