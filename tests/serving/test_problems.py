"""One table from exceptions to problems, complete, and the document it becomes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import jsonschema
import pytest
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from tumorlens import errors
from tumorlens.serving.problems import TYPES, ProblemError, document, from_exception, overloaded

EXPECTED = {
    "TumorLensError": "internal-error",
    "InputError": "not-decodable",
    "UnreadableFileError": "internal-error",
    "EmptyInputError": "empty-file",
    "UnsupportedFormatError": "unsupported-format",
    "TooLargeError": "too-large",
    "DecodeError": "not-decodable",
    "NotBrainMRIError": "not-brain-mri",
    "ModelFileError": "not-ready",
    "ModelNotFoundError": "not-ready",
    "ModelDamagedError": "not-ready",
    "ForeignModelError": "not-ready",
    "NewerModelError": "not-ready",
    "OlderModelError": "not-ready",
    "ExplanationUnavailableError": "explanation-unavailable",
    "DataError": "internal-error",
    "SourceNotFoundError": "internal-error",
    "ManifestError": "internal-error",
    "DownloadError": "internal-error",
    "SplitError": "internal-error",
    "LeakageError": "internal-error",
    "ConfigError": "internal-error",
    "ExportError": "internal-error",
    "OutputError": "internal-error",
    "ServiceError": "internal-error",
    "ArchiveError": "internal-error",
    "LostProcessError": "internal-error",
    "QueueError": "internal-error",
    "MissingExtraError": "internal-error",
}


def tree(kind: type[errors.TumorLensError]) -> Iterator[type[errors.TumorLensError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from tree(below)


def make(kind: type[errors.TumorLensError]) -> errors.TumorLensError:
    if kind is errors.MissingExtraError:
        return errors.MissingExtraError("x", "otel")
    return kind("/secret/path: broken")


def test_every_exception_has_its_problem() -> None:
    found = {k.__name__: from_exception(make(k)).kind.slug for k in tree(errors.TumorLensError)}
    assert found == EXPECTED


def test_faults_of_the_service_keep_their_message_inside() -> None:
    for kind in tree(errors.TumorLensError):
        problem = from_exception(make(kind))
        assert (problem.kind.status >= 500) == ("/secret/path" not in problem.detail)


@pytest.mark.parametrize(
    ("slug", "status"),
    [
        ("malformed-request", 400),
        ("unauthorized", 401),
        ("too-large", 413),
        ("unsupported-format", 415),
        ("empty-file", 422),
        ("not-decodable", 422),
        ("not-brain-mri", 422),
        ("rate-limited", 429),
        ("overloaded", 503),
        ("timeout", 504),
    ],
)
def test_the_statuses_are_those_of_the_contract(slug: str, status: int) -> None:
    assert TYPES[slug].status == status


def test_the_document_has_the_six_members() -> None:
    scope = {"path": "/predict", "root_path": "/lens", "state": {"request_id": "abc"}}
    assert document(ProblemError("empty-file", "Nothing there."), scope) == {
        "type": "/lens/problems/empty-file",
        "title": "The file is empty",
        "status": 422,
        "detail": "Nothing there.",
        "instance": "/predict",
        "request_id": "abc",
    }


@pytest.mark.parametrize(("seconds", "said"), [(0.01, "1"), (1.4, "1"), (7.6, "8")])
def test_retry_after_is_whole_seconds_and_never_zero(seconds: float, said: str) -> None:
    assert overloaded("x", seconds).headers == {"Retry-After": said}


def test_every_problem_can_be_looked_up_at_its_type(client: TestClient) -> None:
    listed = client.get("/problems").json()
    assert [kind["type"] for kind in listed] == [f"/problems/{slug}" for slug in TYPES]
    for kind in listed:
        assert client.get(kind["type"]).json() == kind


def test_openapi_is_valid(client: TestClient) -> None:
    validate(client.get("/openapi.json").json())


def test_openapi_examples_fit_their_schemas(client: TestClient) -> None:
    api = client.get("/openapi.json").json()
    checked = 0
    for item in api["paths"].values():
        for operation in item.values():
            for answer in operation["responses"].values():
                for kind, media in answer.get("content", {}).items():
                    if "json" not in kind:
                        continue
                    schema = {**media["schema"], "components": api["components"]}
                    shown = [one["value"] for one in media.get("examples", {}).values()]
                    for example in [*shown, *([media["example"]] if "example" in media else [])]:
                        jsonschema.validate(example, schema)
                        checked += 1
    assert checked > 50


def test_openapi_gives_every_answer_an_example(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    bare = [
        f"{method} {path} {status} {kind}"
        for path, item in paths.items()
        for method, operation in item.items()
        for status, answer in operation["responses"].items()
        for kind, media in answer.get("content", {}).items()
        if "example" not in media and not media.get("examples")
    ]
    assert not bare


def test_openapi_knows_no_other_shape_of_error(client: TestClient) -> None:
    api = client.get("/openapi.json").json()
    kinds: dict[bool, set[str]] = {}
    for path, item in api["paths"].items():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    kinds.setdefault(path.startswith("/v2"), set()).update(answer["content"])
    # The Open Inference Protocol has a form of its own.
    assert kinds == {False: {"application/problem+json"}, True: {"application/json"}}
    assert "HTTPValidationError" not in json.dumps(api)
