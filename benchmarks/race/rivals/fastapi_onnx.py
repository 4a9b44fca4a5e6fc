"""Plain FastAPI and ONNX Runtime: one process, its thread pool, one session of one thread."""

from __future__ import annotations

import sys
from typing import Annotated

import uvicorn
from fastapi import FastAPI, File, UploadFile

from benchmarks.race.rivals.student import calibrated, onnx_student, pixels

app = FastAPI()
session = onnx_student()


@app.post("/predict")
def predict(file: Annotated[UploadFile, File()]) -> dict[str, float]:
    (logit,) = session.run(["logit"], {"image": pixels(file.file)})
    return {"prob": calibrated(float(logit[0]))}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
