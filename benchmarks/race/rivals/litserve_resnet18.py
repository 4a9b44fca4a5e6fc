"""LitServe and a plain ResNet-18 in torch at 128 pixels: a worker for each core."""

from __future__ import annotations

import sys

import litserve as ls
import torch

from benchmarks.race.rivals.student import calibrated, pixels
from tumorlens.models.registry import build

SIZE = 128


class ResNetAPI(ls.LitAPI):
    def setup(self, device: str) -> None:
        torch.set_num_threads(1)
        # Random weights: time does not depend on them.
        self.network = build("resnet", depth=18).eval().to(device)
        self.device = device

    # Untyped, as its documentation has it: LitServe reads the annotations.
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return torch.from_numpy(pixels(request["file"].file, SIZE)).to(self.device)

    def predict(self, image: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            logit: torch.Tensor = self.network(image).logit
        return logit

    def encode_response(self, logit):  # type: ignore[no-untyped-def]
        return {"prob": calibrated(float(logit[0]))}


if __name__ == "__main__":
    server = ls.LitServer(ResNetAPI(), accelerator="cpu", workers_per_device=int(sys.argv[2]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
