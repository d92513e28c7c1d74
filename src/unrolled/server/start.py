"""Starting a server: models opened, a port bound, one process or several."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from unrolled.errors import ConfigError, MissingExtra, UnrolledError
from unrolled.options.serve import ServeOptions

__all__ = ["Place", "from_environment", "is_loopback", "named", "serve"]

_ENVIRONMENT = "UNROLLED_SERVE"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
#: Seconds that requests get to end when the server is stopped.
_GRACE = 30


class Place(NamedTuple):
    """Where a server listens, and what requests have to show."""

    host: str
    port: int
    token: str | None
    encrypted: bool = False

    @property
    def url(self) -> str:
        """The page, for a browser on this machine; the token stands behind the #, which is never sent."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
        return f"http{'s' * self.encrypted}://{host}:{self.port}/" + ("" if self.token is None else f"#token={self.token}")


def named(models: Iterable[str]) -> dict[str, str]:
    """Names for folders and files of models: NAME=PATH, or the last part of the path. ConfigError for two alike."""
    found: dict[str, str] = {}
    for given in models:
        name, _, path = given.rpartition("=")
        path = path if name else given
        name = name or Path(path).resolve().name
        if not _NAME.match(name):
            raise ConfigError(f"{name!r} cannot stand in an address: give the model a name: NAME={path}")
        if name in found:
            raise ConfigError(f"two models are called {name!r}: give one another name: NAME={path}")
        found[name] = path
    return found


def is_loopback(host: str) -> bool:
    """Whether an address or a Host header means this machine itself."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host
    name = (name.rpartition(":")[0] if name.count(":") == 1 else name).lower().rstrip(".")
    return name in ("localhost", "::1") or (name.startswith("127.") and name.replace(".", "").isdigit())


def serve(
    models: dict[str, str], options: ServeOptions, *, token: str | None, ready: Callable[[Place], None] = lambda _: None
) -> None:
    """Serve models until the process is told to stop. `ready` is called when the port is bound and, of one process, the
    models are open. ConfigError where the port is taken, or where others could ask and no token is set.
    """
    try:
        import uvicorn
        from uvicorn.supervisors import Multiprocess

        importlib.import_module("unrolled.server.app")
        from unrolled.server.patience import PatientProtocol
    except ImportError as error:
        raise MissingExtra(error.name or "fastapi", "serve", "Serving models") from None
    server = options.server
    _check_certificate(server.certificate, server.key)
    with ExitStack() as stack:
        several = server.workers > 1
        if several:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="unrolled-"))
            os.environ[_ENVIRONMENT] = json.dumps({"models": models, "options": options.model_dump(), "token": token})
        target = "unrolled.server.start:from_environment" if several else _application(models, options, token)
        port = stack.enter_context(_bound(server.host, server.port))
        place = Place(server.host, port.getsockname()[1], token, server.certificate is not None)
        config = uvicorn.Config(
            target,
            factory=several,
            http=PatientProtocol,
            workers=server.workers,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ssl_certfile=server.certificate,
            ssl_keyfile=server.key,
            timeout_graceful_shutdown=_GRACE,
        )
        ready(place)
        if several:
            Multiprocess(config, [port]).run()
        else:
            uvicorn.Server(config).run(sockets=[port])


def _check_certificate(certificate: str | None, key: str | None) -> None:
    """ConfigError for a certificate that cannot be used."""
    if certificate is None:
        if key is not None:
            raise ConfigError("--key says nothing without --certificate")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"--certificate {certificate}, --key {key}: cannot be used ({error.strerror or error})") from None


def from_environment() -> Any:
    """The application of one of several processes, as its parent said in the environment."""
    from uvicorn.config import STARTUP_FAILURE

    _end_with(os.getppid())
    told = json.loads(os.environ[_ENVIRONMENT])
    try:
        return _application(told["models"], ServeOptions(**told["options"]), told["token"])
    except UnrolledError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(STARTUP_FAILURE)  # its parent does not try again


def _end_with(parent: int) -> None:
    """Stop this process when its parent is no more: killed, it cannot tell its children to."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _application(models: dict[str, str], options: ServeOptions, token: str | None) -> Any:
    """The application of this process: its models opened, its share of the processors taken."""
    from unrolled.server.app import application
    from unrolled.tasks import load

    _threads(options)
    opened = {name: load(path) for name, path in models.items()}
    return application(opened, options.limits, token=token, loopback=is_loopback(options.server.host))


def _threads(options: ServeOptions) -> None:
    """The share of a process of the machine's processors."""
    import torch

    share = max(1, len(os.sched_getaffinity(0)) // options.server.workers) if hasattr(os, "sched_getaffinity") else None
    threads = options.server.threads or share
    if threads is not None:
        torch.set_num_threads(threads)


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens there. ConfigError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(2048)
        found.set_inheritable(True)
    except (OSError, OverflowError) as error:
        found.close()
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen at {host}, port {port} ({why}). Another port: --port 0 takes any.") from None
    return found
