"""The peer on PyPI, detect-tumor, as it comes: a VGG16 of 65 MB. It has no server of its own."""

from __future__ import annotations

import sys
from typing import Annotated

import uvicorn
from detect_tumor import TumorDetector
from fastapi import FastAPI, File, UploadFile

app = FastAPI()
detector = TumorDetector()


@app.post("/predict")
def predict(file: Annotated[UploadFile, File()]) -> dict[str, float]:
    result = detector.predict(file.file.read())
    return {"prob": 1 - float(result.probabilities["notumor"]) / 100}  # it gives percentages


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
