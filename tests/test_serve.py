"""Models over HTTP: answers are those of the command line, for whoever asked; what is wrong with a request is said."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import unrolled
from serving import JSON, Client, loaded, serving
from typed import run
from unrolled.errors import DataError, UnrolledError
from unrolled.options.serve import LimitOptions, ServeOptions
from unrolled.server import app as server_app
from unrolled.server import patience
from unrolled.server.served.base import Asked, Served
from unrolled.server.start import is_loopback, named

TEXTS = ["w1 breakpoint debugging", "<script>alert('&')</script>", "", "日本 \u0001 é", "a " * 300]


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, Any]:
    return loaded(folders)


@pytest.fixture(scope="module")
def client(models: dict[str, Any]) -> Iterator[Client]:
    with serving(models) as found:
        yield found


def nearly(a: Any, b: Any) -> bool:
    """Equal, numbers to six digits: a text that is read beside others differs in the last bits."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(nearly(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(nearly, a, b))
    return a == pytest.approx(b, rel=1e-5, abs=2e-6) if isinstance(a, float) else a == b


@pytest.mark.parametrize(
    ("name", "texts", "options", "flags"),
    [
        ("sentiment", TEXTS, {}, []),
        ("sentiment", TEXTS[:1], {"threshold": 0.99}, ["--threshold", "0.99"]),
        ("books", TEXTS, {}, []),
        ("tags", ["A met B in London .", "x"], {}, []),
        ("turned", ["a b c", "d a"], {}, []),
        ("turned", ["a b c", "d a"], {"beam": 3, "n_best": 2}, ["--beam", "3", "--n-best", "2"]),
    ],
)
def test_answers_are_those_of_the_command_line(
    client: Client, folders: dict[str, Path], name: str, texts: list[str], options: dict[str, Any], flags: list[str]
) -> None:
    found = client.post(f"/v1/models/{name}/predict", {"inputs": texts, "options": options})
    assert found.status == 200, found.body
    printed = run("predict", folders[name], *texts, "--json", *flags)[0]
    assert found.json["model"] == name
    assert nearly(found.json["outputs"], [json.loads(line) for line in printed.splitlines()])


@pytest.mark.parametrize(
    ("name", "text"), [("sentiment", "not a string"), ("books", "It was"), ("tags", "A met B"), ("turned", "a b c")]
)
def test_explanations_are_those_of_the_command_line(client: Client, folders: dict[str, Path], name: str, text: str) -> None:
    found = client.post(f"/v1/models/{name}/explain", {"input": text})
    assert found.status == 200, found.body
    assert nearly(found.json, json.loads(run("explain", folders[name], text)[0]))


@pytest.mark.parametrize(("name", "file", "key"), [("captions", "photo.png", "image"), ("speech", "talk.wav", "file")])
def test_files_are_answered_like_those_on_the_disk(
    client: Client, folders: dict[str, Path], name: str, file: str, key: str
) -> None:
    path = folders[name].parent / file
    found = client.send(f"/v1/models/{name}/predict/file", [(file, path.read_bytes()), ("bad", b"no file")], {"beam": 2})
    assert found.status == 200, found.body
    good, bad = found.json["outputs"]
    assert nearly(good | {key: ""}, json.loads(run("predict", folders[name], path, "--json", "--beam", 2)[0]) | {key: ""})
    assert good[key] == file
    assert "bad: is no" in bad["error"]
    found = client.send(f"/v1/models/{name}/explain/file", [(file, path.read_bytes())])
    assert nearly(found.json["blocks"], json.loads(run("explain", folders[name], path)[0])["blocks"])
    alone = client.send(f"/v1/models/{name}/explain/file", [("../../etc/passwd", b"root:x")])
    assert (alone.status, alone.json["errors"][0]["field"]) == (422, "file")
    wrong = client.send(f"/v1/models/{name}/predict/file", [(file, path.read_bytes())], {"beam": 0})
    assert (wrong.status, wrong.json["errors"][0]["field"]) == (422, "options.beam")


def test_recordings_and_images_that_are_hardly_any(client: Client) -> None:
    samples = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 38, b"WAVEfmt ", 16, 1, 1, 48_000, 96_000, 2, 16, b"data", 2)
    found = client.send("/v1/models/speech/predict/file", [("one.wav", samples + b"ab")])
    assert (found.status, found.json["errors"][0]["field"]) == (422, "inputs.0")
    assert "less than one sample" in found.json["detail"]
    for name in ("speech", "captions"):
        assert client.send(f"/v1/models/{name}/predict/file", [("x", b"")] * 3).status == 422


def test_one_wish_that_cannot_be_fulfilled(client: Client) -> None:
    asked = {"inputs": ["a b", "a b c d " * 100], "options": {"prefix": "D"}}
    good, bad = client.post("/v1/models/turned/predict", asked).json["outputs"]
    assert good["translation"].startswith("D")
    assert "in parts" in bad["error"]
    assert "attention" not in client.post("/v1/models/turned/predict", {"inputs": "a b c d " * 100}).json["outputs"][0]


def test_word_vectors(client: Client, folders: dict[str, Path]) -> None:
    found = client.post("/v1/models/vec/predict", {"inputs": ["the", "nonsenseword", {"a": "the", "b": "a", "c": "to"}]})
    word, unknown, analogy = found.json["outputs"]
    assert nearly(word, json.loads(run("neighbors", folders["vec"], "the", "--json")[0]))
    assert "nonsenseword" in unknown["error"]
    rows = [json.loads(line) for line in run("analogy", folders["vec"], "the", "a", "to", "--json")[0].splitlines()]
    assert nearly(analogy["answers"], [[row["word"], row["cosine"]] for row in rows])
    none = client.post("/v1/models/vec/predict", {"inputs": "nonsenseword"})
    assert (none.status, none.json["errors"][0]["field"]) == (422, "inputs.0")
    assert client.post("/v1/models/vec/explain", {"options": {"words": 30}}).json["blocks"][0]["kind"] == "map"


def test_a_text_is_written_token_by_token(client: Client, models: dict[str, Any]) -> None:
    options = {"length": 40, "temperature": 0.8, "seed": 3, "alternatives": 4}
    *events, last = client.events("/v1/models/books/generate", {"prompt": "It was", "options": options})
    assert last == ("done", {})
    assert events[0] == ("text", {"text": "It was"})
    assert (
        "".join(data["text"] for _, data in events)
        == models["books"].sample("It was", length=40, temperature=0.8, seed=3)[0]
    )
    drawn = [data for name, data in events if name == "token"]
    assert len(drawn) == 40
    assert all(0 < data["probability"] <= data["others"][0][1] + 1e-6 and len(data["others"]) == 4 for data in drawn)
    many = client.post("/v1/models/books/generate", {"options": {"length": 10**6}})
    assert (many.status, many.json["errors"][0]["field"]) == (422, "options.length")
    assert "2000" in many.json["detail"]


def test_everybody_gets_the_answer_to_their_own_question(client: Client, models: dict[str, Any]) -> None:
    texts = [" ".join("abcd"[(n >> 2 * i) % 4] for i in range(2 + n % 5)) for n in range(60)]
    wanted = [one.text for one in models["turned"].translate(texts)]

    def ask(text: str) -> str:
        return client.post("/v1/models/turned/predict", {"inputs": text}).json["outputs"][0]["translation"]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, texts)) == wanted


@pytest.mark.parametrize(
    ("data", "status", "field"),
    [
        (b'{"inputs": ', 400, "body"),
        (b'{"inputs": "a", "inputs": "b", "x": 1}', 422, "x"),
        (b"[]", 422, "body"),
        (b"\xff\xfe", 400, None),
        (b'{"inputs": []}', 422, "inputs"),
        (b'{"inputs": [1]}', 422, "inputs"),
        (b'{"inputs": "\\ud800"}', 400, "body"),
        (b'{"inputs": "a", "options": {"beam": 0}}', 422, "options.beam"),
        (b'{"inputs": "a", "options": {"beams": 5}}', 422, "options.beams"),
        (b'{"inputs": "a", "options": {"beam": 1e400}}', 422, "options.beam"),
        (b'{"inputs": "a", "options": {"norm": "x"}}', 422, "options.norm"),
        (b'{"inputs": "a", "options": {"require": ["zzz"]}}', 422, "inputs.0"),
        (json.dumps({"inputs": "a" * 20_001}).encode(), 422, "inputs"),
        (json.dumps({"inputs": ["a"] * 257}).encode(), 422, "inputs"),
        (b"[" * 100_000, 400, None),
    ],
)
def test_what_is_wrong_with_a_request_is_said(client: Client, data: bytes, status: int, field: str | None) -> None:
    found = client.ask("POST", "/v1/models/turned/predict", data, JSON)
    assert (found.status, found.headers["content-type"]) == (status, "application/problem+json"), found.body
    assert found.json["status"] == status
    if field is not None:
        assert any(one["field"].startswith(field) and one["message"] for one in found.json["errors"]), found.json
    assert ("Did you mean 'beam'?" in found.json["detail"]) == (field == "options.beams")


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/v1/models/nowhere/predict", 404, "there are: books"),
        ("POST", "/v1/models/turned/generate", 404, "can be asked: predict, explain"),
        ("GET", "/v1/models/turned/predict", 405, "POST"),
        ("DELETE", "/health", 405, "Method Not Allowed"),
        ("POST", "/v1/models/turned/predict", 415, "application/json"),
        ("POST", "/v1/models/speech/predict/file", 415, "multipart/form-data"),
        ("GET", "/static/../app.py", 404, "no such file"),
        ("GET", "/static/%2e%2e/app.py", 404, "no such file"),
        ("GET", "/static//etc/passwd", 404, "no such file"),
    ],
)
def test_wrong_addresses(client: Client, method: str, path: str, status: int, said: str) -> None:
    found = client.ask(method, path, headers={"Content-Type": "text/plain"})
    assert found.status == status
    assert said in found.json["detail"]


def test_only_this_machine_asks_unless_there_is_a_token(client: Client, models: dict[str, Any]) -> None:
    assert client.get("/health", Host="evil.example").status == 421
    assert client.get("/v1/models", Sec_Fetch_Site="cross-site").status == 403
    assert client.get("/v1/models", Sec_Fetch_Site="same-site").status == 403
    assert client.get("/v1/models", Origin="http://evil.example").status == 403
    assert client.get("/v1/models", Origin=f"http://127.0.0.1:{client.port}").status == 200
    assert client.get("/", Sec_Fetch_Site="cross-site").status == 200
    assert client.ask("HEAD", "/health").status == client.ask("HEAD", "/").status == 200
    assert client.get("/v1/models/turned").json["task"] == "translate"
    assert [*map(is_loopback, ("LocalHost.:80", "127.0.0.1", "[::1]:8", "::1", "127.9.9.9"))] == [True] * 5
    assert not any(map(is_loopback, ("0.0.0.0", "127.evil.com", "localhost.evil.com:80", "", "::", "[::2]:1")))
    token = "a-secret-of-16-letters"
    with serving({"turned": models["turned"]}, token=token, loopback=False) as guarded:
        assert guarded.get("/v1/models", Host="any.example").status == 401
        assert guarded.get("/openapi.json", Authorization="Bearer wrong").headers["www-authenticate"] == "Bearer"
        assert guarded.get("/v1/models", Authorization=f"bearer {token}").json["models"][0]["name"] == "turned"
        for path in ("/", "/health", "/ready", "/docs", "/static/page.js"):
            assert guarded.get(path).status == 200


def test_browsers_are_told_what_they_may_do(client: Client) -> None:
    for path in ("/", "/v1/models", "/nowhere", "/static/draw.js"):
        headers = client.get(path).headers
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    assert client.get("/").headers["content-type"] == "text/html; charset=utf-8"
    tag = client.get("/static/page.js").headers["etag"]
    assert client.get("/static/page.js", If_None_Match=tag).status == 304


def test_the_page_is_small_and_needs_nobody_else(client: Client) -> None:
    seen, waiting = dict[str, bytes](), ["/", "/docs"]
    while waiting:
        path = waiting.pop()
        found = client.get(path)
        assert found.status == 200, path
        seen[path], text = found.body, found.body.decode()
        assert not re.search(r"https?://(?!www\.w3\.org)", text), path
        assert not re.search(r"<script(?![^>]*src)|<style|\son\w+=|\sstyle=\"", text), path
        folder = path.rsplit("/", 1)[0]
        links = re.findall(r"(?:src|href)=\"(/static/[^\"]+)\"|from \"\./([\w.-]+)\"|\"(/static/[\w.-]+)\"", text)
        links = [a or (f"{folder}/{b}" if b else c) for a, b, c in links]
        waiting += [link for link in links if link not in seen and link not in waiting]
    assert {"/static/draw.js", "/static/draw.css", "/static/words.js", "/static/api.js"} <= seen.keys()
    assert sum(map(len, seen.values())) < 100_000


def test_every_task_has_its_module_of_the_page(client: Client) -> None:
    for model in client.get("/v1/models").json["models"]:
        text = client.get(f"/static/tasks/{model['task']}.js").body.decode()
        assert "export default function (model, box, state)" in text
        assert f'"{model["task"]}.what"' in client.get("/static/words.js").body.decode()


def test_what_is_counted(client: Client) -> None:
    client.post("/v1/models/turned/predict", {"inputs": "a b"})
    text = client.get("/metrics").body.decode()
    assert re.search(r'unrolled_requests_total\{route="/v1/models/turned/predict",status="200"\} [1-9]', text)
    assert 'unrolled_batch_inputs_bucket{le="1.0",model="turned"}' in text
    assert client.get("/ready").json == {"status": "ok"}


def test_the_api_describes_itself(client: Client) -> None:
    paths = client.get("/openapi.json").json["paths"]
    assert {"/v1/models/books/generate", "/v1/models/speech/predict/file", "/v1/models/vec/explain"} <= paths.keys()
    answers = paths["/v1/models/turned/predict"]["post"]["responses"]
    assert {"200", "400", "401", "413", "415", "422", "429", "504"} <= answers.keys()
    assert "application/problem+json" in answers["422"]["content"]


def test_generated_requests_find_no_fault(client: Client, tmp_path: Path) -> None:
    """A few of those that `benchmarks/serve.py fuzz` generates by the ten thousand."""
    settings = "[checks.positive_data_acceptance]\nexpected-statuses = ['2xx', 401, 403, 404, 422, 429]\n"
    (tmp_path / "schemathesis.toml").write_text(settings)
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", "schemathesis.toml", "run"]
    command += [f"http://127.0.0.1:{client.port}/openapi.json", "--checks", "all", "--phases", "fuzzing", "--seed", "1"]
    command += ["--max-examples", "4", "--max-response-time", "60", "--suppress-health-check", "all", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:]


class Slow(Served):
    """Answers each text with itself, once it is let to; remembers what it read together."""

    task = "slow"
    Generate = Asked

    def __init__(self, limits: LimitOptions, go: threading.Event | None = None) -> None:
        super().__init__("slow", None, limits)
        self.go, self.read, self.written, self.warm = go or threading.Event(), list[list[str]](), 0, False

    def warm_up(self) -> None:
        self.warm = True

    def predict(self, inputs: Sequence[str], options: Any) -> list[dict[str, Any] | UnrolledError]:
        self.read.append(list(inputs))
        self.go.wait(20)
        if "bad" in inputs:
            raise DataError("a bad text")
        return [{"text": text} for text in inputs]

    def explain(self, one: str, options: Any) -> dict[str, Any]:
        raise RuntimeError("a fault")

    def generate(self, prompt: str, options: Any) -> Iterator[dict[str, Any]]:
        while True:
            self.written += 1
            time.sleep(0.002)
            yield {"text": "x" * 1000}


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Serve a `Slow` model with limits."""

    def made(**limits: Any) -> Any:
        one = Slow(LimitOptions(**limits))
        monkeypatch.setattr(server_app, "served", lambda *_: one)
        return one, serving({"slow": None}, one.limits)

    return made


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def waiting(client: Client) -> float:
    """How many inputs wait, as Prometheus is told."""
    return float(re.findall(r"waiting_inputs\{\S*\} (\S+)", client.get("/metrics").body.decode())[0])


def test_those_who_wait_are_read_together_and_those_alike_first(slow: Callable[..., Any]) -> None:
    one, server = slow(batch=3)
    with server as client, ThreadPoolExecutor(9) as pool:
        first = pool.submit(client.post, "/v1/models/slow/predict", {"inputs": "first"})
        until(lambda: len(one.read) == 1)
        texts = ["aaaa", "a" * 500, "bbbbb", "b" * 400, "bad", "c"]
        others = []
        for text in texts:
            others.append(pool.submit(client.post, "/v1/models/slow/predict", {"inputs": text}))
            until(lambda: waiting(client) == len(others))
        one.go.set()
        answers = [future.result() for future in others]
        assert first.result().json["outputs"] == [{"text": "first"}]
    assert [a.json["outputs"] if a.status == 200 else a.status for a in answers] == [
        422 if text == "bad" else [{"text": text}] for text in texts
    ]
    assert one.read[1] == ["aaaa", "bbbbb", "bad"]  # alike in length; then each alone, as one was bad
    assert sorted(one.read[5], key=len) == ["c", "b" * 400, "a" * 500] or len(one.read[5]) <= 3


def test_a_request_of_many_inputs_lets_others_go_between(slow: Callable[..., Any]) -> None:
    one, server = slow(batch=4, text=20)
    with server as client, ThreadPoolExecutor(2) as pool:
        many = pool.submit(client.post, "/v1/models/slow/predict", {"inputs": [f"{n:05}" for n in range(10)]})
        until(lambda: bool(one.read))
        few = pool.submit(client.post, "/v1/models/slow/predict", {"inputs": ["few"]})
        until(lambda: waiting(client) == 7)
        one.go.set()
        assert few.result().json["outputs"] == [{"text": "few"}]
        assert many.result().json["outputs"] == [{"text": f"{n:05}"} for n in range(10)]
        assert [len(some) for some in one.read] == [4, 4, 3]
        assert "few" in one.read[1]
        assert waiting(client) == 0
        long = client.post("/v1/models/slow/predict", {"inputs": ["x" * 20] * 8}).json["outputs"]
    assert len(long) == 8


def test_too_much_and_too_long(slow: Callable[..., Any]) -> None:
    one, server = slow(queue=2, timeout=0.5, body_mb=0.001)
    with server as client, ThreadPoolExecutor(4) as pool:
        first = pool.submit(client.post, "/v1/models/slow/predict", {"inputs": "a"})
        until(lambda: bool(one.read))
        second = pool.submit(client.post, "/v1/models/slow/predict", {"inputs": ["b", "c"]})
        time.sleep(0.1)
        assert client.post("/v1/models/slow/predict", {"inputs": ["d"] * 3}).status == 422
        third = client.post("/v1/models/slow/predict", {"inputs": "d"})
        assert (third.status, third.headers["retry-after"]) == (429, "1")
        assert (first.result().status, second.result().status) == (504, 504)
        one.go.set()
        until(lambda: client.post("/v1/models/slow/predict", {"inputs": "e"}).status == 200)
        assert ["b", "c"] not in one.read  # nobody waits for them any more
        assert client.post("/v1/models/slow/predict", {"inputs": "f" * 2000}).status == 413
        assert client.ask("POST", "/v1/models/slow/predict", iter([b"x" * 600] * 3), JSON).status == 413  # type: ignore[arg-type]
        with socket.create_connection(("127.0.0.1", client.port)) as dawdler:
            dawdler.sendall(
                b"POST /v1/models/slow/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            )
            dawdler.sendall(b"Content-Length: 100\r\n\r\n{")
            assert b"408 Request Timeout" in dawdler.recv(1000)
        fault = client.post("/v1/models/slow/explain", {"input": "a"})
        assert (fault.status, fault.headers["content-type"]) == (500, "application/problem+json")


def test_who_goes_away_is_not_worked_for(slow: Callable[..., Any]) -> None:
    one, server = slow()
    with server as client:
        pending = []
        for text in ("first", "gone"):
            connection = http.client.HTTPConnection("127.0.0.1", client.port)
            connection.request("POST", "/v1/models/slow/predict", json.dumps({"inputs": text}), JSON)
            pending.append(connection)
            until(lambda: bool(one.read))
        time.sleep(0.1)
        pending[1].close()
        time.sleep(0.3)
        one.go.set()
        with pending[0].getresponse() as answer:
            assert answer.status == 200
        pending[0].close()
        assert client.post("/v1/models/slow/predict", {"inputs": "last"}).status == 200
        assert ["gone"] not in one.read
        writing = http.client.HTTPConnection("127.0.0.1", client.port)
        writing.request("POST", "/v1/models/slow/generate", json.dumps({"prompt": "x"}), JSON)
        with writing.getresponse() as answer:
            assert b"xxxx" in answer.read(2000)
        writing.close()
        time.sleep(0.5)
        before = one.written
        time.sleep(0.2)
        assert one.written == before


def test_texts_are_written_side_by_side_and_not_too_many(slow: Callable[..., Any]) -> None:
    one, server = slow(streams=2)
    one.go.set()
    with server as client:
        opened = []
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", client.port)
            connection.request("POST", "/v1/models/slow/generate", json.dumps({"prompt": ""}), JSON)
            opened.append((connection, connection.getresponse()))
        for _, answer in opened:
            assert b"xxxx" in answer.read(3000)
        assert client.post("/v1/models/slow/generate", {"prompt": ""}).status == 429
        assert client.post("/v1/models/slow/predict", {"inputs": "between"}).status == 200
        for connection, answer in opened:
            answer.close()
            connection.close()


def test_a_server_that_is_stopped_finishes_what_runs(slow: Callable[..., Any]) -> None:
    one, server = slow()
    with ThreadPoolExecutor(2) as pool:
        with server as client:
            asked = pool.submit(client.post, "/v1/models/slow/predict", {"inputs": "a"})
            until(lambda: bool(one.read))
            threading.Timer(0.5, one.go.set).start()
        assert asked.result().json["outputs"] == [{"text": "a"}]


def test_an_application_without_a_beginning_and_with_a_broken_model(tmp_path: Path, slow: Callable[..., Any]) -> None:
    one, _ = slow()
    one.go.set()
    config = uvicorn.Config(server_app.application({"slow": None}), port=0, lifespan="off", log_level="warning")
    assert one.warm
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    client = Client(server.servers[0].sockets[0].getsockname()[1])
    assert client.post("/v1/models/slow/predict", {"inputs": "a"}).json["outputs"] == [{"text": "a"}]
    server.should_exit = True
    thread.join(20)
    command = [sys.executable, "-m", "unrolled", "serve", f"e={tmp_path}", "--port", "0", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_names_of_models() -> None:
    assert named(["runs/de-en", "b=x/y", "vectors.txt"]) == {
        "de-en": "runs/de-en",
        "b": "x/y",
        "vectors.txt": "vectors.txt",
    }
    for wrong, said in ((["a/x", "b/x"], "two models are called 'x'"), (["runs/my model"], "NAME=runs/my model")):
        with pytest.raises(UnrolledError, match=said):
            named(wrong)
    with pytest.raises(UnrolledError, match="cannot stand in an address"):
        named(["../x=runs/books"])


def test_what_cannot_be_served_is_said(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNROLLED_TOKEN", raising=False)
    assert "port = 9000" in run("serve", run_folder, "--port", "9000", "--print-config")[0]
    assert "lets others ask" in run("serve", run_folder, "--host", "0.0.0.0", code=3)[1]
    assert "is no run folder" in run("serve", tmp_path, code=3)[1] or "no model" in run("serve", tmp_path, code=3)[1]
    (tmp_path / "token").write_text("short\n")
    assert "at least 16" in run("serve", run_folder, "--token-file", tmp_path / "token", code=3)[1]
    assert "cannot be read" in run("serve", run_folder, "--token-file", tmp_path / "none", code=3)[1]
    unusable = run("serve", run_folder, "--certificate", tmp_path / "token", "--key", tmp_path / "token", code=3)[1]
    assert "cannot be used" in unusable
    assert "--key is missing" in run("serve", run_folder, "--certificate", tmp_path / "token", code=2)[1]
    assert "--certificate is missing" in run("serve", run_folder, "--key", tmp_path / "token", code=2)[1]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"cannot listen at 127.0.0.1, port {port}" in run("serve", run_folder, "--port", port, code=3)[1]
    assert ServeOptions().server.host == "127.0.0.1"


@pytest.mark.parametrize(
    "head",
    [[b""], [b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n"], [b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000]],
)
def test_heads_that_do_not_end(head: list[bytes], run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_SECONDS", 0.5)
    with (
        serving({"books": unrolled.load(run_folder)}) as client,
        socket.create_connection(("127.0.0.1", client.port)) as own,
    ):
        own.settimeout(20)
        assert client.get("/health").status == 200  # later requests of others are not held up
        begun = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            for part in head:
                own.sendall(part)
            assert own.recv(1000) == b""
        assert time.monotonic() - begun < 10
        kept = http.client.HTTPConnection("127.0.0.1", client.port)
        for _ in range(3):  # one connection, several requests, each in time
            kept.request("GET", "/health")
            assert kept.getresponse().read() == b'{"status":"ok"}'
            time.sleep(0.4)
        assert kept.sock is not None
        kept.close()


@pytest.mark.skipif(sys.platform != "linux", reason="children are looked up in /proc")
def test_processes_end_with_their_parent(run_folder: Path) -> None:
    command = [sys.executable, "-m", "unrolled", "serve", f"books={run_folder}", "--port", "0", "--workers", "2"]
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    port = int(re.findall(r":(\d+)/", next(line for line in started.stderr if "serving" in line))[0])
    until(lambda: bool(Client(port).get("/ready").status == 200))
    started.kill()
    started.wait()
    started.stderr.close()

    def refused() -> bool:
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", port)) != 0

    until(refused)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_as_it_is_started_and_stopped(run_folder: Path, workers: int) -> None:
    command = [sys.executable, "-m", "unrolled", "serve", f"books={run_folder}", "--port", "0", "--workers", str(workers)]
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "UNROLLED_THREADS": "1"})
    try:
        assert started.stderr is not None
        line = next(line for line in started.stderr if "serving" in line)
        client = Client(int(re.findall(r":(\d+)/", line)[0]))
        until(lambda: bool(client.get("/ready").status == 200))
        found = client.post("/v1/models/books/predict", {"inputs": "It was"})
        assert nearly(found.json["outputs"], [unrolled.load(run_folder).score("It was").to_json()])
        for _ in range(5):
            client.get("/health")
        until(lambda: 'route="/health",status="200"} 5.0' in client.get("/metrics").body.decode())
        if workers == 2 and sys.platform == "linux":
            one = int(Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()[-1])
            os.kill(one, signal.SIGKILL)
            until(lambda: bool(client.get("/ready").status == 200))
            assert "unrolled_waiting_inputs" in client.get("/metrics").body.decode()
        half = socket.create_connection(("127.0.0.1", client.port))
        half.sendall(b"POST /v1/models/books/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
        client.get("/health")
        started.send_signal(signal.SIGINT)
        assert started.wait(20) in (0, 130, -signal.SIGINT)
        half.close()
        assert "Traceback" not in started.stderr.read()
    finally:
        started.kill()
        started.wait()
        assert started.stderr is not None
        started.stderr.close()
