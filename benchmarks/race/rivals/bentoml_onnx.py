"""BentoML and ONNX Runtime: a worker for each core."""

from __future__ import annotations

import os

import bentoml
from PIL.Image import Image

from benchmarks.race.rivals.student import calibrated, onnx_student, pixels


@bentoml.service(workers=int(os.environ["RACE_CORES"]), traffic={"timeout": 60})
class Student:
    def __init__(self) -> None:
        self.session = onnx_student()

    @bentoml.api
    def predict(self, file: Image) -> dict[str, float]:
        (logit,) = self.session.run(["logit"], {"image": pixels(file)})
        return {"prob": calibrated(float(logit[0]))}
