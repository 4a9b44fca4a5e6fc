"""LitServe and torch: a worker for each core."""

from __future__ import annotations

import sys

import litserve as ls
import torch

from benchmarks.race.rivals.student import calibrated, pixels, torch_student


class StudentAPI(ls.LitAPI):
    def setup(self, device: str) -> None:
        self.network = torch_student().to(device)
        self.device = device

    # Untyped, as its documentation has it: LitServe reads the annotations.
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return torch.from_numpy(pixels(request["file"].file)).to(self.device)

    def predict(self, image: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            logit: torch.Tensor = self.network(image).logit
        return logit

    def encode_response(self, logit):  # type: ignore[no-untyped-def]
        return {"prob": calibrated(float(logit[0]))}


if __name__ == "__main__":
    server = ls.LitServer(StudentAPI(), accelerator="cpu", workers_per_device=int(sys.argv[2]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
