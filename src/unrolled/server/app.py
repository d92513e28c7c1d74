"""The application: models under /v1, what watches over them, and the page, whose files are read once."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from unrolled import __version__
from unrolled.errors import UnrolledError
from unrolled.options.serve import LimitOptions
from unrolled.server.counts import Counts
from unrolled.server.document import describe_with
from unrolled.server.engine import Engine
from unrolled.server.guards import Guards
from unrolled.server.problems import Problem, problem_of, problem_response
from unrolled.server.routes import MISSING, PROBLEMS, as_json, model_routes
from unrolled.server.served import served
from unrolled.server.straight import StraightRoute, straight

__all__ = ["application"]

#: Seconds that questions still being answered get at the end, beside those that connections get.
_LAST = 5.0
_TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "json": "application/json",
}


def application(
    models: Mapping[str, Any], limits: LimitOptions | None = None, *, token: str | None = None, loopback: bool = True
) -> Guards:
    """Models by name, as `unrolled.load` opens them, as an ASGI application: what `unrolled serve` runs.

    token: what requests have to show; loopback: only names of this machine itself are answered.
    """
    limits = limits or LimitOptions()
    counts = Counts()
    engines = {name: Engine(served(name, trained, limits), counts) for name, trained in models.items()}
    for engine in engines.values():
        engine.served.warm_up()

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        yield
        for engine in engines.values():
            engine.close()
        for engine in engines.values():
            engine.join(_LAST / len(engines))

    app = FastAPI(
        title="unrolled",
        version=__version__,
        description="Recurrent sequence models.",
        docs_url=None,
        redoc_url=None,
        lifespan=living,
    )
    _handlers(app)
    _watched(app, counts)
    facts = {name: _facts(engine) for name, engine in engines.items()}
    _listed(app, facts)
    routers = [model_routes(engine) for engine in engines.values()]
    for router in routers:
        app.include_router(router)
    _missing(app, facts)
    _files(app)
    describe_with(app, needs_token=token is not None)
    quick = [route for router in routers for route in router.routes if isinstance(route, StraightRoute)]
    return Guards(straight(app, quick), counts, token, loopback, int(limits.body_mb * 1e6), limits.timeout)


def _facts(engine: Engine) -> dict[str, Any]:
    """What is told of a model."""
    one = engine.served
    asks = {"predict": one.Predict, "explain": one.Explain, "generate": one.Generate}
    options = {name: kind.model_json_schema().get("properties", {}) for name, kind in asks.items() if kind is not None}
    found = {"name": one.name, "task": one.task, "files": one.files, "options": options}
    metrics = getattr(one.trained, "metrics", None) or {}
    return found | {"facts": one.facts(), "metrics": metrics, "limits": one.limits.model_dump()}


def _handlers(app: FastAPI) -> None:
    """Errors as problems."""

    @app.exception_handler(Problem)
    @app.exception_handler(UnrolledError)
    @app.exception_handler(RequestValidationError)
    @app.exception_handler(HTTPException)
    @app.exception_handler(Exception)
    async def problem(_: Request, error: Exception) -> Response:
        return problem_response(problem_of(error))


def _watched(app: FastAPI, counts: Counts) -> None:
    """What watches over a server asks."""

    @app.head("/health", include_in_schema=False)
    @app.get("/health", tags=["server"], responses={**PROBLEMS})
    async def health() -> dict[str, str]:
        """The server lives."""
        return {"status": "ok"}

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready", tags=["server"], responses={**PROBLEMS})
    async def ready() -> dict[str, str]:
        """The models are open: requests are answered."""
        return {"status": "ok"}

    text = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

    @app.get("/metrics", tags=["server"], responses={**PROBLEMS, **text}, response_class=Response)
    async def metrics() -> Response:
        """Requests, seconds, sizes of batches: Prometheus' text format."""
        return Response(counts.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _listed(app: FastAPI, facts: dict[str, dict[str, Any]]) -> None:
    schema = {200: {"content": {"application/json": {"schema": {"type": "object", "required": ["models"]}}}}}
    one = {200: {"content": {"application/json": {"schema": {"type": "object", "required": ["name", "task"]}}}}}

    @app.get("/v1/models", tags=["models"], responses={**PROBLEMS, **schema}, response_class=Response)
    async def models() -> Response:
        """What is served: tasks, options, labels, limits."""
        return as_json({"models": list(facts.values())})

    @app.get("/v1/models/{name}", tags=["models"], responses={**PROBLEMS, **MISSING, **one}, response_class=Response)
    async def model(name: str) -> Response:
        """One of them."""
        if name not in facts:
            raise _unknown(facts)
        return as_json(facts[name])


def _unknown(facts: dict[str, dict[str, Any]]) -> Problem:
    return Problem(404, f"no model of that name is served; there are: {', '.join(facts)}")


def _missing(app: FastAPI, facts: dict[str, dict[str, Any]]) -> None:
    """What is said of a model that is not there, or cannot be asked this."""

    @app.api_route("/v1/models/{name}/{asked:path}", methods=["GET", "POST"], include_in_schema=False)
    async def missing(name: str, asked: str) -> Response:
        if name not in facts:
            raise _unknown(facts)
        own = f"/v1/models/{name}/"
        known = [path.removeprefix(own) for path in app.openapi()["paths"] if path.startswith(own)]
        if asked in known:
            raise Problem(405, "send this by POST", headers={"Allow": "POST"})
        raise Problem(404, f"a model for {facts[name]['task']} can be asked: {', '.join(known)}")


def _files(app: FastAPI) -> None:
    """The page. A name is looked up among what was read at the start, and opens no file."""
    found = dict[str, tuple[bytes, str, str]]()
    web, pictures = files("unrolled.server") / "web", files("unrolled.pictures")
    assets = [(file.name, file) for file in web.iterdir() if file.is_file()]
    assets += [(f"tasks/{file.name}", file) for file in (web / "tasks").iterdir()]
    assets += [(name, pictures / name) for name in ("draw.js", "draw.css")]
    for name, file in assets:
        data = file.read_bytes()
        kind = _TYPES.get(name.rsplit(".", 1)[-1])
        if kind is not None:
            found[name] = data, kind, f'"{hashlib.sha256(data).hexdigest()[:16]}"'

    def sent(request: Request, name: str) -> Response:
        if name not in found:
            raise Problem(404, "there is no such file")
        data, kind, tag = found[name]
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(data, media_type=f"{kind}; charset=utf-8", headers={"ETag": tag})

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request) -> Response:
        return sent(request, "index.html")

    @app.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
    async def documents(request: Request) -> Response:
        return sent(request, "docs.html")

    @app.api_route("/static/{name:path}", methods=["GET", "HEAD"], include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        return sent(request, name)
