"""Every DICOM file of pydicom (and pydicom-data): read as pydicom reads it, or refused.

    python -m benchmarks.dicom_sweep
    python -m benchmarks.dicom_sweep FOLDER …      # other folders of DICOM files

The reference is pydicom's own: `pixel_array`, modality table or rescale, MONOCHROME1; both are
brought to square pixels and to the range of the slice, because TumorLens uses a window only where
it keeps the head. Files that both read are compared; a difference, a refusal without a cause, and
any exception that is no `InputError` are printed, and end with status 1.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from tumorlens.errors import InputError
from tumorlens.imaging.decode import Limits, decode
from tumorlens.imaging.dicom.geometry import pixel_ratio
from tumorlens.imaging.square import to_square

LIMITS = Limits(max_bytes=2**30, max_pixels=2**27)
_MIN_SIDE = 8  # pixels a side, and of those that are neither black nor white


def folders(given: list[Path]) -> list[Path]:
    if given:
        return given
    wheel = get_testdata_file("MR_small.dcm", download=False)
    assert isinstance(wheel, str)
    found = [Path(wheel).parent]
    more = importlib.util.find_spec("data_store")  # the module of pydicom-data
    if more is not None and more.origin is not None:
        found.append(Path(more.origin).parent / "data")
    return found


def reference(path: Path) -> np.ndarray | None:
    """Return pydicom's pixels as floats, or None where it has none of one frame."""
    try:
        dataset = dcmread(path, force=True)
        if int(dataset.get("NumberOfFrames") or 1) > 1:
            return None
        stored = dataset.pixel_array
        kind = str(dataset.get("PhotometricInterpretation", ""))
        if kind == "PALETTE COLOR":
            values = apply_color_lut(stored, dataset)
        elif stored.ndim == 2:
            values = apply_modality_lut(stored, dataset)
        else:
            values = stored
        values = np.asarray(values, dtype=np.float64)
        values = -values if kind == "MONOCHROME1" else values
        return to_square(values, pixel_ratio(dataset), path.name, LIMITS)
    except Exception:  # noqa: BLE001
        return None


def same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether two pictures are the same up to scale and rounding, where not clipped by a window."""
    if ours.shape != theirs.shape:
        return False
    if min(ours.shape[:2]) < _MIN_SIDE:
        return True
    top = float(np.iinfo(ours.dtype).max)
    inside = (ours > 0) & (ours < top)
    if inside.sum() < _MIN_SIDE:
        return True  # one colour, or a CT of which its window leaves next to nothing
    ours, theirs = ours[inside].astype(np.float64), theirs[inside]
    slope, start = np.polyfit(theirs, ours, 1)
    return bool(slope > 0 and np.abs(slope * theirs + start - ours).max() <= 0.005 * top)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    warnings.simplefilter("ignore")
    logging.disable()
    counts: collections.Counter[str] = collections.Counter()
    wrong = []
    for folder in folders(parser.parse_args().folders):
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            theirs = reference(path)
            try:
                ours = decode(path, limits=LIMITS).pixels
            except InputError as error:
                counts["refused" if theirs is None else "refused, read by pydicom"] += 1
                if theirs is not None:
                    print(f"refused: {error}")
            except Exception as error:  # noqa: BLE001
                wrong.append(f"{path.name}: {type(error).__name__}")
            else:
                agrees = theirs is not None and same(ours, theirs)
                counts["same" if agrees else "read" if theirs is None else "different"] += 1
                if theirs is not None and not agrees:
                    wrong.append(f"{path.name}: differs from pydicom")
    print(*(f"{count:5d}  {what}" for what, count in counts.most_common()), sep="\n")
    print(*wrong, sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
