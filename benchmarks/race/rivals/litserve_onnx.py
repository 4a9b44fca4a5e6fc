"""LitServe and ONNX Runtime: a worker for each core."""

from __future__ import annotations

import sys

import litserve as ls
import numpy as np
from numpy.typing import NDArray

from benchmarks.race.rivals.student import calibrated, onnx_student, pixels


class StudentAPI(ls.LitAPI):
    def setup(self, device: str) -> None:
        self.session = onnx_student()

    # Untyped, as its documentation has it: LitServe reads the annotations.
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return pixels(request["file"].file)

    def predict(self, image: NDArray[np.float32]) -> float:
        (logit,) = self.session.run(["logit"], {"image": image})
        return float(logit[0])

    def encode_response(self, logit):  # type: ignore[no-untyped-def]
        return {"prob": calibrated(logit)}


if __name__ == "__main__":
    server = ls.LitServer(StudentAPI(), accelerator="cpu", workers_per_device=int(sys.argv[2]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
