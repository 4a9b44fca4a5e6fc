"""The work of one inference request: images or prepared tensors → output tensors."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import InputError
from tumorlens.imaging.decode import Limits
from tumorlens.imaging.quality import Quality
from tumorlens.inference.predictor import Predictor
from tumorlens.serving.open_inference.schemas import InferRequest, ModelMetadata, TensorMetadata
from tumorlens.serving.open_inference.tensors import (
    Output,
    byte_elements,
    floats,
    malformed,
    read_request,
)
from tumorlens.serving.problems import ProblemError, from_exception
from tumorlens.serving.processing import jobs

PLATFORM = "onnxruntime_onnx"
DEFAULT_OUTPUTS = ("label", "prob", "decision", "in_domain", "reason")
_BATCH = 4  # images in one forward pass


@dataclass(frozen=True)
class Answered:
    """The answers to a request, and what the response must repeat or send in binary."""

    answers: list[jobs.Answer]
    outputs: list[Output]
    id: str | None
    binary: set[str]


def metadata(predictor: Predictor) -> ModelMetadata:
    """Return what the model takes and gives; ``image`` and ``tensor`` exclude each other."""
    card = predictor.card
    shape = [-1, card.preprocess.channels, card.preprocess.size, card.preprocess.size]
    outputs = [
        *(("label", "BYTES", [-1]), ("prob", "FP32", [-1]), ("decision", "BYTES", [-1])),
        *(("in_domain", "BOOL", [-1]), ("reason", "BYTES", [-1]), ("logit", "FP32", [-1])),
    ]
    if card.has_map:
        outputs.append(("map", "FP32", [-1, -1, -1]))
    return ModelMetadata(
        name=card.name,
        versions=[card.version],
        platform=PLATFORM,
        inputs=[
            TensorMetadata(name="image", datatype="BYTES", shape=[-1]),
            TensorMetadata(name="tensor", datatype="FP32", shape=shape),
        ],
        outputs=[TensorMetadata(name=n, datatype=kind, shape=shape) for n, kind, shape in outputs],
    )


def infer_job(
    predictor: Predictor, body: bytes, header_length: str | None, limits: Limits, most: int
) -> Callable[[jobs.Progress], Answered]:
    """Return the job that answers one request of at most ``most`` images.

    An image that is no usable slice of a head is answered with ``in_domain`` false and the reason.
    The job raises `ProblemError`; for an image that cannot be read it says which.
    """

    def job(progress: jobs.Progress) -> Answered:
        with progress.stage("read"):
            request, parts = read_request(body, header_length)
            names = _outputs_of(request, predictor)
        if len(request.inputs) != 1:
            raise malformed("inputs: give one, image or tensor.")
        tensor, part = request.inputs[0], parts[0]
        if (tensor.name, tensor.datatype) == ("image", "BYTES"):
            answers = []
            for index, data in enumerate(byte_elements(tensor, part, most)):
                try:
                    one = jobs.predict(predictor, data, limits, refuse=False)
                    answers.append(one(progress))
                except InputError as error:
                    raise _of_image(index, error) from None
        elif (tensor.name, tensor.datatype) == ("tensor", "FP32"):
            spec = predictor.card.preprocess
            values = floats(tensor, part, (spec.channels, spec.size, spec.size), most)
            answers = _from_tensors(predictor, values, progress)
        else:
            raise malformed("inputs: give image of BYTES or tensor of FP32; see the metadata.")
        outputs = [_output(name, answers) for name in names]
        return Answered(answers, outputs, request.id, _in_binary(request, names))

    return job


def _from_tensors(
    predictor: Predictor, values: NDArray[np.float32], progress: jobs.Progress
) -> list[jobs.Answer]:
    begin = time.perf_counter()
    try:
        with progress.stage("forward"):
            found = predictor.infer(values, _BATCH)
    except InputError as error:
        raise malformed(f"tensor: {error}.") from None
    each_ms = (time.perf_counter() - begin) * 1000 / len(values)
    # There is no picture to hold the rules of quality against; the detectors in the model remain.
    usable = Quality(usable=True, reason=None)
    return [
        jobs.Answer(
            predictor.interpret(found, usable, each_ms, row),
            None,
            logit=float(found.logits[row]),
            class_map=None if found.maps is None else found.maps[row],
        )
        for row in range(len(values))
    ]


def _outputs_of(request: InferRequest, predictor: Predictor) -> list[str]:
    if request.outputs is None:
        return list(DEFAULT_OUTPUTS)
    known = {output.name for output in metadata(predictor).outputs}
    names = [output.name for output in request.outputs]
    if not set(names) <= known or len(set(names)) != len(names):
        raise malformed(f"outputs: name each of {', '.join(sorted(known))} at most once.")
    return names


def _in_binary(request: InferRequest, names: list[str]) -> set[str]:
    everything = request.parameters.get("binary_data_output") is True
    chosen = {
        output.name: output.parameters.get("binary_data", everything)
        for output in request.outputs or ()
    }
    return {name for name in names if chosen.get(name, everything) is True}


def _output(name: str, answers: list[jobs.Answer]) -> Output:
    found = [answer.prediction for answer in answers]
    if name == "prob":
        return Output(name, np.array([each.prob for each in found], dtype=np.float32))
    if name == "in_domain":
        return Output(name, np.array([each.in_domain for each in found], dtype=np.bool_))
    if name == "logit":
        return Output(name, np.array([each.logit for each in answers], dtype=np.float32))
    if name == "map":
        maps = [each.class_map for each in answers if each.class_map is not None]
        return Output(name, np.stack(maps))
    if name == "reason":
        return Output(name, [each.in_domain_reason or "" for each in found])
    return Output(name, [str(getattr(each, name)) for each in found])


def _of_image(index: int, error: InputError) -> ProblemError:
    problem = from_exception(error)
    return ProblemError(problem.kind.slug, f"Image {index}: {problem.detail}")
