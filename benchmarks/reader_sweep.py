"""The test files of other readers, each answered or refused: a line a file, counts at the end."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections import Counter
from pathlib import Path

from benchmarks.header_fuzz import peak_mb
from tumorlens.errors import InputError
from tumorlens.imaging.image import Limits
from tumorlens.imaging.preprocess import DEFAULT, preprocess
from tumorlens.volumes.discover import discover
from tumorlens.volumes.entries import Entry, Picture, SeriesInput, Unreadable
from tumorlens.volumes.slices import cut


def outcome(entry: Entry) -> str:
    """Read an entry as far as the network's input; return what became of it, in one line."""
    if isinstance(entry, Unreadable):
        raise entry.error
    if isinstance(entry, Picture):
        pixels = entry.decode(Limits()).pixels
        preprocess(pixels, DEFAULT)
        return f"picture {pixels.shape[1]} × {pixels.shape[0]}"
    volume = entry.load()
    slices = list(cut(volume))
    preprocess(slices[len(slices) // 2].pixels(), DEFAULT)
    sides = " × ".join(map(str, volume.data.shape))
    said = [*volume.remarks, *([] if volume.oriented else ["no orientation"])]
    if isinstance(entry, SeriesInput):
        said += [entry.header.refusal or "", f"set aside {len(entry.set_aside)}"]
    return f"volume {sides} {volume.plane} {volume.sequence} {'; '.join(filter(None, said))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--together", action="store_true", help="group the files of a folder")
    chosen = parser.parse_args()
    counts: Counter[str] = Counter()
    files = [path for folder in chosen.folders for path in sorted(folder.rglob("*"))]
    groups = chosen.folders if chosen.together else [path for path in files if path.is_file()]
    for given in groups:
        try:
            entries = discover([given])
            for entry in entries:
                try:
                    said = outcome(entry)
                except InputError as error:
                    said = f"{type(error).__name__}: {str(error).rpartition('/')[2]}"
                counts[said.split(":")[0].split(" ")[0]] += 1
                print(f"{Path(entry.name).name}: {said}")
        except Exception:  # noqa: BLE001, the point of this program
            counts["ESCAPED"] += 1
            print(f"{given}: ESCAPED {traceback.format_exc(limit=-3)}")
    print(dict(counts.most_common()), f"{peak_mb()} MB")
    sys.exit(counts["ESCAPED"] > 0)


if __name__ == "__main__":
    main()
