"""The protocol's JSON objects (Open Inference Protocol, HTTP/REST, version 2).

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Parameters = dict[str, Any]


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Whether the server lives."""

    live: bool


class Ready(BaseModel):
    """Whether the server, or a model, takes requests."""

    ready: bool


class ModelReady(Ready):
    """Whether one model takes requests."""

    name: str


class TensorMetadata(BaseModel):
    """Name, type and shape of a tensor; -1 is a dimension of any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "tumorlens-default",
                    "versions": ["1.0.0"],
                    "platform": "tumorlens_onnx",
                    "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
                    "outputs": [{"name": "prob", "datatype": "FP32", "shape": [-1]}],
                }
            ]
        }
    )

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class RequestInput(BaseModel):
    """One input tensor; its data stand here, or behind the JSON with the binary extension."""

    name: str
    shape: list[int] = Field(min_length=1)
    datatype: str
    parameters: Parameters = {}
    data: list[Any] | None = None


class RequestOutput(BaseModel):
    """One output that is asked for."""

    name: str
    parameters: Parameters = {}


class InferRequest(BaseModel):
    """The body of an inference request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "42",
                    "inputs": [
                        {"name": "image", "shape": [1], "datatype": "BYTES",
                         "data": ["iVBORw0KGgo="]}
                    ],
                    "outputs": [{"name": "prob"}],
                }
            ]
        }
    )  # fmt: skip

    id: str | None = None
    parameters: Parameters = {}
    inputs: list[RequestInput]
    outputs: list[RequestOutput] | None = None


class ResponseOutput(BaseModel):
    """One output tensor; ``data`` is missing where it follows in binary."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: list[Any] = []


class InferAnswer(BaseModel):
    """The body of an inference response."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model_name": "tumorlens-default",
                    "model_version": "1.0.0",
                    "id": "42",
                    "outputs": [{"name": "prob", "shape": [1], "datatype": "FP32", "data": [0.93]}],
                }
            ]
        }
    )

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[ResponseOutput]


class ProtocolError(BaseModel):
    """Every error of these routes."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"error": "The request is malformed: inputs: none."}]}
    )

    error: str
