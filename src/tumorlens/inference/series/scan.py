"""One pass over the slices of a volume, in batches: what the network says of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import InputError
from tumorlens.imaging.frame import Frame
from tumorlens.imaging.image import Image
from tumorlens.inference.prediction import Prediction
from tumorlens.inference.read_ahead import read_ahead
from tumorlens.metrics.calibration import calibrated_logit
from tumorlens.volumes.slices import SeriesSlice, head_extent

if TYPE_CHECKING:
    from tumorlens.inference.network_input import NetworkInput
    from tumorlens.inference.predictor import Predictor

TOO_LITTLE_HEAD = "too little of the head"


@dataclass(frozen=True, eq=False)
class SliceEvidence:
    """One slice and what the network says of it.

    Attributes:
        cut: the slice.
        prediction: None where the network was not asked.
        set_aside: why the slice is not answered, or None.
        logit: calibrated logit; NaN where the network was not asked.
        class_map: float32 ``[h, w]`` in calibrated logits, or None.
        frame: the map's place on the slice, or None.
    """

    cut: SeriesSlice
    prediction: Prediction | None
    set_aside: str | None
    logit: float = float("nan")
    class_map: NDArray[np.float32] | None = None
    frame: Frame | None = None

    @property
    def answered(self) -> bool:
        """Whether the slice counts for the series."""
        return self.set_aside is None

    def peak_mm(self) -> tuple[float, float]:
        """Return row and column of the map's maximum in millimetres; NaN without a map."""
        if self.class_map is None or self.frame is None:
            return float("nan"), float("nan")
        rows, columns = self.class_map.shape
        row, column = divmod(int(np.argmax(self.class_map)), columns)
        y = self.frame.y0 + (row + 0.5) / rows * self.frame.h
        x = self.frame.x0 + (column + 0.5) / columns * self.frame.w
        return y * self.cut.pixel_mm, x * self.cut.pixel_mm

    def mask(self, level: float) -> NDArray[np.bool_]:
        """Return where the map reaches ``level``, bool ``[H, W]`` on the slice's pixels."""
        assert self.class_map is not None
        assert self.frame is not None
        # Shifted, because a frame's surroundings are 0.
        return np.asarray(self.frame.map_to_image(self.class_map - np.float32(level)) > 0)


def scan_slices(
    predictor: Predictor, cuts: Sequence[SeriesSlice], batch_size: int, readers: int
) -> Iterator[list[SliceEvidence]]:
    """Yield the slices' evidence in order, about ``batch_size`` at a time.

    Slices outside the head (see `head_extent`) are set aside without asking the network.
    """
    volume, plane = cuts[0].volume, cuts[0].plane
    first, last = head_extent(volume, plane)
    outside = [SliceEvidence(each, None, TOO_LITTLE_HEAD) for each in cuts]
    if first:
        yield outside[:first]
    read = partial(_read, predictor)
    ready = read_ahead(cuts[first : last + 1], read, readers, batch_size + readers)
    while batch := list(islice(ready, batch_size)):
        yield _forward(predictor, batch)
    if outside[last + 1 :]:
        yield outside[last + 1 :]


_Read = tuple[SeriesSlice, "NetworkInput | InputError", float]


def _read(predictor: Predictor, cut: SeriesSlice) -> _Read:
    start = perf_counter()
    try:
        ready: NetworkInput | InputError = predictor.prepare(Image(cut.pixels(), "nifti", cut.name))
    except InputError as error:
        ready = error
    return cut, ready, (perf_counter() - start) * 1000


def _forward(predictor: Predictor, batch: Sequence[_Read]) -> list[SliceEvidence]:
    asked = [each for _, each, _ in batch if not isinstance(each, InputError)]
    start = perf_counter()
    outputs = predictor.infer(np.stack([each.tensor for each in asked])) if asked else None
    shared_ms = (perf_counter() - start) * 1000 / max(len(asked), 1)
    found, row = [], 0
    for cut, ready, read_ms in batch:
        if isinstance(ready, InputError) or outputs is None:
            found.append(SliceEvidence(cut, None, str(ready).removeprefix(f"{cut.name}: ")))
            continue
        prediction = predictor.interpret(outputs, ready.quality, read_ms + shared_ms, row)
        temperature, bias = predictor.card.temperature, predictor.card.bias
        class_map = outputs.maps[row] if outputs.maps is not None else None
        found.append(
            SliceEvidence(
                cut,
                prediction,
                None if prediction.in_domain else prediction.in_domain_reason,
                float(calibrated_logit(outputs.logits[row : row + 1], temperature, bias)[0]),
                None if class_map is None else calibrated_logit(class_map, temperature, bias),
                ready.frame,
            )
        )
        row += 1
    return found
