"""The routes of one model: what may be asked stands in their types, so the OpenAPI document says exactly that.

Types are made for each model, at run time: annotations here are objects, not text.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from pydantic import ConfigDict, Field, ValidationError, create_model
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from unrolled.errors import UnrolledError
from unrolled.server.document import EventStream
from unrolled.server.engine import Engine
from unrolled.server.problems import FAULT, PROBLEM, Problem, gone, invalid
from unrolled.server.served.base import Asked
from unrolled.server.straight import StraightRoute, check_type

__all__ = ["MISSING", "PROBLEMS", "as_json", "model_routes"]

_LOG = logging.getLogger("unrolled.server")
_STRICT = ConfigDict(strict=True, extra="forbid")
_MEANS = {
    400: "The body is no JSON, or no form.",
    401: "The token is missing or wrong.",
    403: "Asked by a page of another site.",
    404: "There is no such model, or it cannot be asked this.",
    408: "The request came too slowly.",
    413: "The request is too large.",
    415: "The body is of another type than this route reads.",
    421: "The server does not answer to this host name.",
    422: "Something in the request is not possible; `errors` names the fields.",
    429: "Too much is waiting.",
    504: "It took too long.",
}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        s: {"description": _MEANS[s], "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
        for s in statuses
    }


#: The problems that any route can have.
PROBLEMS = _problems(400, 401, 403, 408, 413, 421)
#: And where a model is named.
MISSING = _problems(404, 422)
_ASKED = _problems(415, 422, 429, 504)
_OUTPUTS: dict[str, Any] = {
    "description": 'An answer for each input, in order; {"error": ...} for one that could not be read.',
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["model", "outputs"],
                "properties": {
                    "model": {"type": "string"},
                    "outputs": {"type": "array", "items": {"type": "object"}},
                },
            }
        }
    },
}
_EXPLAINED: dict[str, Any] = {
    "description": "What `unrolled explain` says: numbers, and blocks to draw.",
    "content": {"application/json": {"schema": {"type": "object", "required": ["blocks"]}}},
}
_STREAM: dict[str, Any] = {
    "description": "Server-sent events: text {text}, token {text, token, probability, others}, done {}, or error {detail}.",
    "content": {EventStream.media_type: {}},
}


def as_json(found: Any, status: int = 200) -> Response:
    """An answer; numbers that JSON does not have are null."""
    try:
        text = json.dumps(found, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(found), ensure_ascii=False)
    return Response(text.encode("utf-8", "backslashreplace"), status, media_type="application/json")


def _finite(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _finite(value) for key, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [_finite(value) for value in found]
    return None if isinstance(found, float) and not -float("inf") < found < float("inf") else found


async def _form(request: Request) -> None:  # not async, it would wait for a thread of a pool
    check_type(request, "multipart/form-data")


async def _answered(engine: Engine, request: Request, asked: asyncio.Future[Any]) -> Any:
    """The answer. The question is given up when whoever asked goes away before, and when it takes too long: Problem 504."""
    left = asyncio.ensure_future(_left(request))
    try:
        done, _ = await asyncio.wait((asked, left), timeout=engine.limits.timeout, return_when=asyncio.FIRST_COMPLETED)
        if asked in done:
            return asked.result()
        raise gone() if left in done else engine.too_long
    finally:
        asked.cancel()
        left.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def model_routes(engine: Engine) -> APIRouter:
    """What can be asked of a model."""
    served = engine.served
    router = APIRouter(prefix=f"/v1/models/{served.name}", tags=[served.name], responses={**PROBLEMS})
    if served.files:
        _file_routes(router, engine)
    else:
        _text_routes(router, engine)
    if served.Generate is not None:
        _generate_route(router, engine)
    return router


def _add(
    router: APIRouter,
    path: str,
    endpoint: Callable[..., Any],
    answer: dict[str, Any],
    response_class: type[Response] = JSONResponse,
) -> None:
    """Add a route whose body is JSON."""
    router.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        responses={200: answer, **_ASKED},
        response_class=response_class,
        route_class_override=StraightRoute,
    )


def _kind(engine: Engine) -> str:
    """What types of requests to such a model are called after."""
    return engine.served.task.title().replace("-", "")


def _text_routes(router: APIRouter, engine: Engine) -> None:
    served, kind = engine.served, _kind(engine)
    many = Annotated[list[served.Input], Field(min_length=1, max_length=engine.limits.inputs)]
    Predict: Any = create_model(
        f"{kind}Predict",
        __config__=_STRICT,
        inputs=(served.Input | many, Field(description="One input, or several.")),
        options=(served.Predict, served.Predict()),
    )

    async def predict(request: Request, body: Predict) -> Response:
        """What the model says of each input: as `unrolled predict --json`."""
        inputs = body.inputs if isinstance(body.inputs, list) else [body.inputs]
        return _outputs(engine, await _answered(engine, request, engine.predict(inputs, body.options)))

    _add(router, "/predict", predict, _OUTPUTS)

    parts: dict[str, Any] = {"options": (served.Explain, served.Explain())}
    parts |= {} if served.Explained is None else {"input": (served.Explained, ...)}
    Explain: Any = create_model(f"{kind}Explain", __config__=_STRICT, **parts)

    async def explain(request: Request, body: Explain) -> Response:
        """What happens inside: as `unrolled explain`."""
        asked = engine.explain(getattr(body, "input", None), body.options)
        return as_json(await _answered(engine, request, asked))

    _add(router, "/explain", explain, _EXPLAINED)


def _generate_route(router: APIRouter, engine: Engine) -> None:
    served, kind = engine.served, _kind(engine)
    assert served.Generate is not None
    Generate: Any = create_model(
        f"{kind}Generate", __config__=_STRICT, prompt=(served.Input, ""), options=(served.Generate, served.Generate())
    )

    async def generate(_: Request, body: Generate) -> Response:
        """The text as it is written, token by token, as server-sent events."""
        pieces = engine.generate(body.prompt, body.options)
        first = await anext(pieces)  # what is wrong with the request is told before a stream begins
        return EventStream(_events(first, pieces))

    _add(router, "/generate", generate, _STREAM, EventStream)


async def _events(first: Any, pieces: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Pieces as server-sent events: the prompt and what was held back as text; the last says how it ended."""
    try:
        yield _event("text", first)
        async for piece in pieces:
            yield _event("token" if "token" in piece else "text", piece)
        yield _event("done", {})
    except (UnrolledError, Problem) as error:
        yield _event("error", {"detail": str(error)})
    except Exception:
        _LOG.exception("a fault while a text was written")
        yield _event("error", {"detail": FAULT})
    finally:
        await pieces.aclose()  # type: ignore[attr-defined]


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def _file_routes(router: APIRouter, engine: Engine) -> None:
    served = engine.served
    Files = Annotated[list[UploadFile], File(description=f"Files, {served.files}.", max_length=engine.limits.inputs)]
    One = Annotated[UploadFile, File(description=f"A file, {served.files}.")]

    def options_as(kind: type[Asked]) -> Any:
        return Annotated[str, Form(description=f"JSON: {json.dumps(kind.model_json_schema()['properties'])}")]

    Predict, Explain, form = options_as(served.Predict), options_as(served.Explain), Depends(_form)

    @router.post("/predict/file", dependencies=[form], responses={200: _OUTPUTS, **_ASKED})
    async def predict_file(request: Request, file: Files, options: Predict = "{}") -> Response:
        """What the model says of each file: as `unrolled predict --json`."""
        asked = _options(served.Predict, options)
        engine.room_for(len(file))
        read = [await _read(engine, one) for one in file]
        good = [one for one in read if not isinstance(one, UnrolledError)]
        found = iter(await _answered(engine, request, engine.predict(good, asked)) if good else ())
        outputs = [one if isinstance(one, UnrolledError) else next(found) for one in read]
        return _outputs(engine, [_renamed(one, of.filename) for one, of in zip(outputs, file, strict=True)])

    @router.post("/explain/file", dependencies=[form], responses={200: _EXPLAINED, **_ASKED})
    async def explain_file(request: Request, file: One, options: Explain = "{}") -> Response:
        """What happens inside: as `unrolled explain`."""
        asked, read = _options(served.Explain, options), await _read(engine, file)
        if isinstance(read, UnrolledError):
            raise Problem(422, str(read), [("file", str(read))])
        found = await _answered(engine, request, engine.explain(read, asked))
        return as_json(_renamed(found, file.filename))


def _options(kind: type[Asked], text: str) -> Asked:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise invalid(error, "options", kind) from None


async def _read(engine: Engine, file: UploadFile) -> Any:
    """A file as an input, or why it cannot be read. It is decoded beside the model's thread, few at a time."""
    data = await file.read()
    try:
        async with engine.decoding:
            return await run_in_threadpool(engine.served.decode, data, file.filename or "file")
    except UnrolledError as error:
        return error


def _renamed(found: Any, name: str | None) -> Any:
    """An answer that names the file as it was sent."""
    if isinstance(found, dict):
        for one in (found, *found.get("others", ())):
            one |= {key: name or "file" for key in ("file", "image") if key in one}
    return found


def _outputs(engine: Engine, found: list[Any]) -> Response:
    """Answers as JSON. Problem 422 where none of the inputs could be read."""
    errors = [(f"inputs.{i}", str(one)) for i, one in enumerate(found) if isinstance(one, UnrolledError)]
    if len(errors) == len(found):
        raise Problem(422, errors[0][1], errors)
    outputs = [{"error": str(one)} if isinstance(one, UnrolledError) else one for one in found]
    return as_json({"model": engine.served.name, "outputs": outputs})
