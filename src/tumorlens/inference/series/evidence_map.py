"""The class maps of a series as one volume on the voxels of the scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tumorlens.inference.overlay import to_heatmap
from tumorlens.inference.series.run import SeriesRun

DESCRIPTION = "TumorLens: evidence for a tumour, percent; research only"
_AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}


def evidence_volume(run: SeriesRun) -> NDArray[np.uint8]:
    """Return the heat maps of the answered slices, uint8 ``[X, Y, Z]``, 0 to 100.

    Percent of the fixed scale of `Explanation.heatmap`, on the volume's voxels in RAS order (so
    its `affine` holds); 0 where no slice was answered. Raises `ExplanationUnavailableError` for a
    model without a class map.
    """
    run.predictor.require_map()
    evidence = np.zeros(run.volume.data.shape, np.uint8)
    for each in run.answered:
        assert each.class_map is not None
        assert each.frame is not None
        heat = each.cut.to_grid(to_heatmap(each.class_map, each.frame, 1.0, 0.0))
        place = [slice(None)] * 3
        place[_AXIS[run.plane]] = slice(each.cut.index, each.cut.index + 1)
        evidence[tuple(place)] = np.expand_dims(np.rint(heat * 100), _AXIS[run.plane])
    return evidence
