"""pytorch-grad-cam on the same network behind plain FastAPI: prediction and overlay as JSON."""

from __future__ import annotations

import base64
import io
import sys
import threading
from importlib.util import find_spec
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, File, UploadFile
from PIL import Image

from benchmarks.race.rivals.student import calibrated, pixels, torch_student


def _without_torchvision() -> None:
    """Let Grad-CAM be imported where torchvision's wheels do not fit torch.

    The package imports torchvision and ttach for parts that are not used here: boxes of detectors,
    other methods, test-time augmentation.
    """
    spec = find_spec("pytorch_grad_cam")
    package = ModuleType("pytorch_grad_cam")
    package.__path__ = list(spec.submodule_search_locations or ()) if spec else []
    sys.modules["pytorch_grad_cam"] = package
    for name, members in (
        ("torchvision", ()),
        ("torchvision.transforms", ("Compose", "Normalize", "ToTensor")),
        ("ttach", ("Compose", "HorizontalFlip", "Multiply")),
    ):
        module = ModuleType(name)
        for member in members:
            setattr(module, member, lambda *_arguments, **_named: None)
        sys.modules[name] = module


_without_torchvision()
from pytorch_grad_cam.grad_cam import GradCAM  # noqa: E402
from pytorch_grad_cam.utils.image import show_cam_on_image  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: E402


class Logits(torch.nn.Module):
    """The network as the package wants it: ``[N, classes]`` out."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logit: torch.Tensor = self.network(image).logit
        return logit[:, None]


app = FastAPI()
network = Logits(torch_student())
cam = GradCAM(model=network, target_layers=[network.network.smooth])
one_at_a_time = threading.Lock()  # its hooks keep activations on the object


@app.post("/explain")
def explain(file: Annotated[UploadFile, File()]) -> dict[str, Any]:
    picture = Image.open(file.file)
    image = torch.from_numpy(pixels(picture))
    with one_at_a_time:
        heat = cam(input_tensor=image, targets=[ClassifierOutputTarget(0)])[0]
        logit = float(cam.outputs[0, 0])
    scan = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    size = (scan.shape[1], scan.shape[0])
    heat = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))
    buffer = io.BytesIO()
    Image.fromarray(show_cam_on_image(scan, heat, use_rgb=True)).save(buffer, "PNG")
    return {
        "prob": calibrated(logit),
        "overlay": base64.b64encode(buffer.getvalue()).decode("ascii"),
    }


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
