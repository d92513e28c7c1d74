"""A server in a thread of this process, and the requests of a program that knows nothing of it but HTTP."""

from __future__ import annotations

import http.client
import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

import unrolled
from unrolled.options.serve import LimitOptions
from unrolled.server.app import application
from unrolled.server.patience import PatientProtocol

JSON = {"Content-Type": "application/json"}


class Reply(NamedTuple):
    """An answer: its status, headers and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks one server."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            found = connection.getresponse()
            return Reply(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, data: Any, headers: Mapping[str, str] | None = None) -> Reply:
        return self.ask("POST", path, json.dumps(data).encode(), {**JSON, **(headers or {})})

    def send(self, path: str, files: list[tuple[str, bytes]], options: Any = None) -> Reply:
        mark, parts = uuid.uuid4().hex, []
        for name, data in files:
            head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            parts.append(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + data + b"\r\n")
        if options is not None:
            said = f'--{mark}\r\nContent-Disposition: form-data; name="options"\r\n\r\n{json.dumps(options)}\r\n'
            parts.append(said.encode())
        body = b"".join(parts) + f"--{mark}--\r\n".encode()
        return self.ask("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={mark}"})

    def events(self, path: str, data: Any) -> list[tuple[str, Any]]:
        found = self.post(path, data)
        assert found.status == 200, found.body
        lines = [block.split("\n") for block in found.body.decode().strip().split("\n\n")]
        return [(name.removeprefix("event: "), json.loads(rest.removeprefix("data: "))) for name, rest in lines]


@contextmanager
def serving(models: Mapping[str, Any], limits: LimitOptions | None = None, **how: Any) -> Iterator[Client]:
    """Serve models, at any port that is free, as long as the block lasts."""
    app = application(models, limits, **how)
    config = uvicorn.Config(app, port=0, log_level="warning", access_log=False, http=PatientProtocol)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield Client(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def loaded(folders: Mapping[str, Path]) -> dict[str, Any]:
    return {name: unrolled.load(folder) for name, folder in folders.items()}
