"""Serving: requests per second, first tokens, seconds to start, a minute of abuse, and generated requests.

    python benchmarks/serve.py classify RUN --data DATA   # 64 clients; beside it a plain FastAPI handler, a text at a time
    python benchmarks/serve.py stream RUN                 # 8 texts are written at once: when does the first token come?
    python benchmarks/serve.py start [RUN]                # seconds of processor until ready; without a run, 10 M parameters
    python benchmarks/serve.py storm RUN --data DATA      # good, malformed, huge, slow and dropped requests
    python benchmarks/serve.py fuzz RUN RUN ...           # schemathesis over all routes

RUN of classify and storm: a classifier; of stream: a language model. Needs the extras serve and dev. Servers are processes
of their own, started here; clients are this process.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gzip
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import timing

#: What people write who serve a model by hand.
PLAIN = """
import sys, uvicorn, torch, unrolled
from fastapi import FastAPI
from pydantic import BaseModel
torch.set_num_threads(int(sys.argv[3]))
app, model = FastAPI(), unrolled.load(sys.argv[1])
class Asked(BaseModel):
    inputs: str
@app.post("/predict")
async def predict(asked: Asked):
    return {"outputs": [model.predict([asked.inputs])[0].to_json()]}
@app.get("/ready")
async def ready():
    return {}
uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
"""
TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """A process that listens."""

    def __init__(self, command: Sequence[str], port: int, predict: str) -> None:
        self.port, self.predict = port, predict
        self.told = tempfile.TemporaryFile()  # noqa: SIM115 - not a pipe: a server that tells much would wait for a reader
        self.process = subprocess.Popen(command, stderr=self.told)

    def cpu(self) -> float:
        """Seconds of processor."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def megabytes(self) -> float:
        """Memory that is its own or shared."""
        return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[0]) / 1024

    def said(self) -> str:
        """What it has written to standard error."""
        self.told.seek(0)
        return self.told.read().decode()

    def wait(self) -> None:
        """Until it is ready."""
        import http.client

        for _ in range(6000):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                connection.request("GET", "/ready")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.02)
            assert self.process.poll() is None, self.said()
        raise TimeoutError


@contextmanager
def started(server: Server) -> Iterator[Server]:
    try:
        server.wait()
        yield server
    finally:
        server.process.terminate()
        server.process.wait(60)


def ours(runs: Sequence[Path | str], threads: int, *more: str, name: str = "m") -> Server:
    port = free_port()
    named = [f"{name}{i or ''}={run}" for i, run in enumerate(runs)]
    command = [sys.executable, "-m", "unrolled", "serve", *named, "--port", str(port), "--threads", str(threads), *more]
    return Server(command, port, f"/v1/models/{name}/predict")


def plain(run: Path | str, threads: int) -> Server:
    port = free_port()
    return Server([sys.executable, "-c", PLAIN, str(run), str(port), str(threads)], port, "/predict")


def reviews(data: Path, n: int) -> list[str]:
    """Reviews of the test part, drawn by chance: of all lengths."""
    with gzip.open(data / "text-classification" / "imdb" / "test.tsv.gz", "rt", encoding="utf-8") as file:
        rows = [row[3] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)][1:]
    return random.Random(0).sample(rows, n)


class Connection:
    """One client that keeps its connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: Any = None

    async def post(self, path: str, data: bytes, kind: str = "application/json") -> tuple[int, bytes]:
        if self.reader is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 26)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
        self.writer.write(head.encode() + data)
        top = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(re.findall(r"content-length: (\d+)", top)[0])
        body = await self.reader.readexactly(length)
        if "connection: close" in top:
            self.close()
        return int(top.split()[1]), body

    def close(self) -> None:
        if self.reader is not None:
            self.writer.close()
            self.reader = None


async def load(server: Server, texts: Sequence[str], clients: int, seconds: float) -> list[float]:
    """Seconds of each request that clients made, each the next as soon as it had an answer; every answer is looked at."""
    end, found = time.perf_counter() + seconds, list[float]()

    async def client(n: int) -> None:
        connection, own = Connection(server.port), random.Random(n)
        while time.perf_counter() < end:
            text = own.choice(texts)
            begun = time.perf_counter()
            status, body = await connection.post(server.predict, json.dumps({"inputs": text}).encode())
            found.append(time.perf_counter() - begun)
            assert status == 200, body
            assert json.loads(body)["outputs"][0]["text"] == text, "the answer of another"
        connection.close()

    await asyncio.gather(*map(client, range(clients)))
    return found


def run_classify(args: argparse.Namespace) -> None:
    texts = reviews(args.data, 2000)
    lengths = np.array([len(text.split()) for text in texts])
    print(f"reviews of {lengths.min()} to {lengths.max()} words, median {int(np.median(lengths))}; {args.clients} clients")
    with started(ours(args.runs, args.threads)) as served, started(plain(args.runs[0], args.threads)) as other:
        rows: dict[str, list[list[float]]] = {"unrolled serve": [], "plain handler": []}
        for server in (served, other):
            asyncio.run(load(server, texts, args.clients, 5))
        for i in range(args.rounds):
            for name, server in (("unrolled serve", served), ("plain handler", other))[:: 1 if i % 2 else -1]:
                rows[name].append(asyncio.run(load(server, texts, args.clients, args.seconds)))
    print("| server | requests/s (median of rounds) | p50 ms | p95 | p99 |\n|---|---|---|---|---|")
    rates = {name: [len(some) / args.seconds for some in of] for name, of in rows.items()}
    for name, of in rows.items():
        p = 1000 * np.quantile(np.concatenate(of), [0.5, 0.95, 0.99])
        print(f"| {name} | {statistics.median(rates[name]):.1f} | " + " | ".join(f"{x:.0f}" for x in p) + " |")
    ratios = [a / b for a, b in zip(*rates.values(), strict=True)]
    print(f"ratio of requests/s: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


async def first_tokens(port: int, streams: int, each: int, length: int) -> tuple[list[float], int]:
    """Seconds to the first token that was drawn, of texts that are written side by side; and tokens in all."""
    found, tokens = list[float](), 0

    async def reader(n: int) -> None:
        nonlocal tokens
        for k in range(each):
            asked = json.dumps({"prompt": "It was", "options": {"length": length, "seed": 1000 * n + k}}).encode()
            source, sink = await asyncio.open_connection("127.0.0.1", port)
            head = "POST /v1/models/m/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            begun, seen = time.perf_counter(), 0
            sink.write(f"{head}Content-Length: {len(asked)}\r\nConnection: close\r\n\r\n".encode() + asked)
            while line := await source.readline():
                if b'"token": ' in line:
                    seen += 1
                    if seen == 1:
                        found.append(time.perf_counter() - begun)
            assert seen == length
            tokens += seen
            sink.close()

    await asyncio.gather(*map(reader, range(streams)))
    return found, tokens


def run_stream(args: argparse.Namespace) -> None:
    with started(ours(args.runs, args.threads)) as server:
        asyncio.run(first_tokens(server.port, 2, 2, 50))
        begun = time.perf_counter()
        found, tokens = asyncio.run(first_tokens(server.port, args.streams, 25, 300))
        rate = tokens / (time.perf_counter() - begun)
        p = 1000 * np.quantile(found, [0.5, 0.95, 0.99, 1])
        shown = ", ".join(f"{name} {x:.1f}" for name, x in zip(("p50", "p95", "p99", "most"), p, strict=True))
        print(f"{len(found)} texts, {args.streams} at once: first token after ms {shown}; {rate:,.0f} tokens/s in all")


def run_start(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = args.runs[0] if args.runs else large(Path(folder) / "large")
        cpu, wall, size = list[float](), list[float](), list[float]()
        for _ in range(args.rounds + 1):  # the first may compile
            begun = time.perf_counter()
            with started(ours([run], args.threads)) as server:
                wall.append(time.perf_counter() - begun)
                cpu.append(server.cpu())
                size.append(server.megabytes())
    middle = statistics.median
    print(
        f"ready after {middle(cpu[1:]):.2f} s of processor ({min(cpu[1:]):.2f} to {max(cpu[1:]):.2f}), "
        f"{middle(wall[1:]):.2f} s by the clock; {middle(size):.0f} MB"
    )


def large(folder: Path) -> Path:
    """A language model of ten million parameters, untrained."""
    import unrolled
    from unrolled.run.language_model import language_model_options
    from unrolled.tasks.language_model import LanguageModelTask

    text = " ".join(f"w{n % 8000}" for n in range(40_000))
    flags = {"tokens": "whitespace", "hidden_size": 900, "embedding_size": 512, "min_count": 1}
    options = language_model_options(flags=flags)
    task = LanguageModelTask(options, [unrolled.lines([text])])
    model = task.build()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    task.trained(model).save(folder)
    return folder


async def storm(server: Server, texts: Sequence[str], seconds: float, wanted: dict[str, Any]) -> Counter[str]:
    """64 clients, of whom some are malformed, too large, slow, or gone before the answer."""
    end, seen = time.perf_counter() + seconds, Counter[str]()

    async def client(n: int) -> None:
        own, connection = random.Random(n), Connection(server.port)
        while time.perf_counter() < end:
            text, way = own.choice(texts), own.choices(["good", "bad", "huge", "slow", "gone"], [70, 12, 3, 5, 10])[0]
            body = json.dumps({"inputs": text}).encode()
            try:
                if way == "good":
                    status, found = await connection.post(server.predict, body)
                    if status == 200:
                        one = json.loads(found)["outputs"][0]
                        right = one["text"] == text and one["label"] == wanted[text]
                        seen["right" if right else "SWAPPED"] += 1
                    else:
                        seen[f"good: {status}"] += 1
                elif way == "bad":
                    broken = own.choice([body[: len(body) // 2], b"\xff" * 100, b"{}", b"null", os.urandom(300)])
                    seen[f"bad: {(await connection.post(server.predict, broken))[0]}"] += 1
                elif way == "huge":
                    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                    writer.write(
                        f"POST {server.predict} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000000\r\n\r\n".encode()
                    )
                    seen[f"huge: {(await reader.readline()).split()[1].decode()}"] += 1
                    writer.close()
                else:
                    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                    head = "Host: localhost\r\nContent-Type: application/json"
                    writer.write(
                        f"POST {server.predict} HTTP/1.1\r\n{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                    )
                    if way == "slow":
                        for at in range(0, len(body) // 2, 200):
                            writer.write(body[at : at + 200])
                            await asyncio.sleep(0.2)
                    else:
                        writer.write(body)
                        await asyncio.sleep(own.random() * 0.05)
                    seen[way] += 1
                    writer.close()
            except (OSError, asyncio.IncompleteReadError) as error:
                seen[f"{way}: {type(error).__name__}"] += 1
                connection.close()

    await asyncio.gather(*map(client, range(64)))
    return seen


def run_storm(args: argparse.Namespace) -> None:
    import unrolled

    texts = reviews(args.data, 500)
    wanted = {one.text: one.label for one in unrolled.load(args.runs[0]).predict(texts)}
    with started(ours(args.runs, args.threads, "--timeout", "30")) as server:
        asyncio.run(storm(server, texts, 10, wanted))
        before = server.megabytes()
        seen = asyncio.run(storm(server, texts, args.seconds, wanted))
        after = server.megabytes()
        again = asyncio.run(storm(server, texts, args.seconds, wanted))
        last, faults = server.megabytes(), server.said().count("Traceback")
    print(dict(sorted((seen + again).items())))
    failed = sum(n for name, n in (seen + again).items() if re.search(r": 5\d\d$|SWAPPED", name))
    print(f"answers of 5xx, lost or swapped: {failed}; faults in the log: {faults}")
    print(f"memory {before:.0f} MB, then {after:.0f}, then {last:.0f} MB")


def run_fuzz(args: argparse.Namespace) -> None:
    """Valid is what the schema allows; a text that has no words, or a file that is no sound, is 422 all the same."""
    settings = "[checks.positive_data_acceptance]\nexpected-statuses = ['2xx', 401, 403, 404, 422, 429]\n"
    with (
        tempfile.TemporaryDirectory() as folder,
        started(ours(args.runs, args.threads, "--length", "20", "--text", "300", "--inputs", "8")) as server,
    ):
        (Path(folder) / "schemathesis.toml").write_text(settings)
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            "--config-file",
            f"{folder}/schemathesis.toml",
            "run",
        ]
        command += [f"http://127.0.0.1:{server.port}/openapi.json", "-c", "all", "--phases", "coverage,fuzzing"]
        command += ["--max-time", str(60 * args.minutes), "--workers", "3", "--continue-on-failure"]
        command += ["--max-response-time", "60"]
        subprocess.run([*command, "--request-timeout", "120", "--suppress-health-check", "all"], check=False)
        print(f"memory {server.megabytes():.0f} MB, {server.cpu():.0f} s of processor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = {"classify": run_classify, "stream": run_stream, "start": run_start, "storm": run_storm, "fuzz": run_fuzz}
    parser.add_argument("what", choices=kinds)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--minutes", type=int, default=5, help="of fuzz")
    args = parser.parse_args()
    print(f"{timing.machine()}; threads of each server {args.threads}", flush=True)
    kinds[args.what](args)


if __name__ == "__main__":
    main()
