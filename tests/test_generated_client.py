"""Clients generated from the OpenAPI document work: its form, and every route called by a generated client."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import unrolled
from serving import Client, serving

FOLDERS = Path(__file__).with_name("version_0_1")
TASKS = ("language-model", "classify", "tag", "translate", "caption", "transcribe", "word-vectors")
TOKEN = "a-secret-of-16-letters"
HAS_GENERATOR = all(importlib.util.find_spec(name) for name in ("openapi_python_client", "httpx", "attr"))


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """A model of each task, by the task's name."""
    return {task: unrolled.load(FOLDERS / task / "run") for task in TASKS}


@pytest.fixture(scope="module")
def server(models: dict[str, Any]) -> Iterator[Client]:
    with serving(models, token=TOKEN) as found:
        yield found


@pytest.fixture(scope="module")
def document(server: Client) -> dict[str, Any]:
    return server.get("/openapi.json", Authorization=f"Bearer {TOKEN}").json


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference names; the schema itself if it is none."""
    name = schema.get("$ref", "").removeprefix("#/components/schemas/")
    return document["components"]["schemas"][name] if name else schema


def test_all_errors_refer_to_one_problem(document: dict[str, Any]) -> None:
    n = 0
    for path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                reference = {"schema": {"$ref": "#/components/schemas/Problem"}}
                assert answer["content"] == {"application/problem+json": reference}
                n += 1
        assert "422" in operation["responses"] or path in ("/health", "/ready", "/metrics", "/v1/models")
    assert n > 50
    problem = document["components"]["schemas"]["Problem"]
    assert {"type", "title", "status", "detail"} == set(problem["required"])
    assert not {"HTTPValidationError", "ValidationError"} & document["components"]["schemas"].keys()


def test_files_are_binary_and_not_empty(document: dict[str, Any]) -> None:
    n = 0
    for path, operation in operations(document):
        if path.endswith("/file"):
            body = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
            file = resolved(document, body)["properties"]["file"]
            file = file.get("items", file)
            assert (file["type"], file["format"], file["minLength"]) == ("string", "binary", 1)
            assert file["contentMediaType"] == "application/octet-stream"
            n += 1
    assert n == 4


def test_text_is_written_as_events_and_nothing_else(document: dict[str, Any]) -> None:
    generate = document["paths"]["/v1/models/language-model/generate"]["post"]["responses"]["200"]
    assert generate["content"] == {"text/event-stream": {}}
    for path, operation in operations(document):
        kind = {"/metrics": "text/plain", "/v1/models/language-model/generate": "text/event-stream"}
        assert list(operation["responses"]["200"]["content"]) == [kind.get(path, "application/json")]


def test_the_token_is_a_security_scheme(document: dict[str, Any], models: dict[str, Any]) -> None:
    (name, scheme), *others = document["components"]["securitySchemes"].items()
    assert not others
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert document["security"] == [{name: []}]
    public = {path for path, operation in operations(document) if operation.get("security") == []}
    assert public == {"/health", "/ready"}
    with serving({"tag": models["tag"]}) as without:
        open_to_all = without.get("/openapi.json").json
    assert "security" not in open_to_all
    assert open_to_all["components"]["securitySchemes"] == document["components"]["securitySchemes"]


def test_what_is_always_refused_is_in_the_document(server: Client, document: dict[str, Any]) -> None:
    for task in ("LanguageModel", "Classify", "Tag", "Translate"):
        schema = document["components"]["schemas"][f"{task}Explain"]["properties"]["input"]
        assert schema["minLength"] == 1
        assert schema["maxLength"] == 20_000
    seed = document["components"]["schemas"]["WriteRequest"]["properties"]["seed"]
    assert seed["maximum"] == 2**53 - 1  # a number that every reader of JSON reads exactly
    for task in ("language-model", "classify", "tag", "translate"):
        wrong = server.post(f"/v1/models/{task}/explain", {"input": ""}, {"Authorization": f"Bearer {TOKEN}"})
        assert wrong.status == 422
        assert wrong.json["errors"][0]["field"] == "input"


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="openapi-spec-validator is not installed")
    validator.validate(document)


@pytest.fixture(scope="module")
def generated(document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The package that openapi-python-client makes of the document."""
    if not HAS_GENERATOR:
        pytest.skip("openapi-python-client is not installed: pip install openapi-python-client")
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json"]
    command += ["--output-path", "generated_client", "--meta", "none", "--fail-on-warning"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield importlib.import_module("generated_client")
    sys.path.remove(str(folder))


def routes_of(package: Any) -> dict[str, Callable[..., Any]]:
    """The generated functions by "group.function"."""
    found: dict[str, Callable[..., Any]] = {}
    root = importlib.import_module(f"{package.__name__}.api")
    for group in pkgutil.iter_modules(root.__path__, f"{root.__name__}."):
        for module in pkgutil.iter_modules(importlib.import_module(group.name).__path__, f"{group.name}."):
            verb = module.name.rsplit(".", 1)[1].split("_v1_")[0]
            found[f"{group.name.rsplit('.', 1)[1]}.{verb}"] = importlib.import_module(module.name).sync_detailed
    return found


def test_a_generated_client_can_call_every_route(generated: Any, server: Client, document: dict[str, Any]) -> None:
    of, types = importlib.import_module("generated_client.models"), importlib.import_module("generated_client.types")
    photo, tone = (FOLDERS / "data" / "scenes" / "1.png").read_bytes(), (FOLDERS / "data" / "tones" / "1.wav").read_bytes()

    def file(data: bytes, name: str) -> Any:
        return types.File(payload=io.BytesIO(data), file_name=name)

    def form(verb: str, task: str, data: Any) -> Any:
        return getattr(of, f"Body{verb}FileV1Models{task}{verb}FilePost")(file=data)

    bodies: dict[str, Any] = {
        "language_model.generate": of.LanguageModelGenerate(prompt="one", options=of.WriteRequest(length=5)),
        "language_model.predict": of.LanguageModelPredict(inputs=["one two", "three"]),
        "language_model.explain": of.LanguageModelExplain(input_="one two"),
        "classify.predict": of.ClassifyPredict(inputs="good film", options=of.ClassifyRequest(threshold=0.5)),
        "classify.explain": of.ClassifyExplain(input_="good film"),
        "tag.predict": of.TagPredict(inputs=["Anna met Ben in Rome ."]),
        "tag.explain": of.TagExplain(input_="Anna met Ben"),
        "translate.predict": of.TranslatePredict(inputs=["eins zwei"], options=of.TranslateRequest(beam=2, n_best=2)),
        "translate.explain": of.TranslateExplain(input_="eins zwei"),
        "caption.predict_file": form("Predict", "Caption", [file(photo, "1.png"), file(photo, "2.png")]),
        "caption.explain_file": form("Explain", "Caption", file(photo, "1.png")),
        "transcribe.predict_file": form("Predict", "Transcribe", [file(tone, "1.wav")]),
        "transcribe.explain_file": form("Explain", "Transcribe", file(tone, "1.wav")),
        "word_vectors.predict": of.WordVectorsPredict(inputs=["near"], options=of.NeighborsRequest(n=3)),
        "word_vectors.explain": of.WordVectorsExplain(options=of.MapRequest(words=10)),
    }
    client = generated.AuthenticatedClient(base_url=f"http://127.0.0.1:{server.port}", token=TOKEN)
    routes, called = routes_of(generated), dict[str, Any]()
    with client:
        for name, call in routes.items():
            more = {"body": bodies[name]} if name in bodies else {"name": "tag"} if name == "models.model" else {}
            called[name] = call(client=client, **more)
        refused = routes["tag.explain"](client=client, body=of.TagExplain(input_=""))
    assert len(called) == len(list(operations(document))) == 20
    for name, answer in called.items():
        assert answer.status_code == 200, (name, answer.content)
        assert answer.parsed is not None, name
    assert "event: done" in called["language_model.generate"].parsed
    assert len(called["caption.predict_file"].parsed.outputs) == 2
    assert called["caption.predict_file"].parsed.outputs[1]["image"] == "2.png"
    assert called["server.metrics_metrics_get"].parsed.startswith("#")
    assert isinstance(refused.parsed, of.Problem)
    assert refused.parsed.status == 422
    with generated.Client(base_url=f"http://127.0.0.1:{server.port}") as stranger:
        assert routes["tag.predict"](client=stranger, body=bodies["tag.predict"]).parsed.status == 401
