"""Plain FastAPI and torch: one process, its thread pool, a torch thread for each request."""

from __future__ import annotations

import sys
from typing import Annotated

import torch
import uvicorn
from fastapi import FastAPI, File, UploadFile

from benchmarks.race.rivals.student import calibrated, pixels, torch_student

app = FastAPI()
network = torch_student()


@app.post("/predict")
def predict(file: Annotated[UploadFile, File()]) -> dict[str, float]:
    with torch.inference_mode():
        logit = network(torch.from_numpy(pixels(file.file))).logit
    return {"prob": calibrated(float(logit[0]))}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
