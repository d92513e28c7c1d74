"""The short way to a route whose body is JSON: pydantic reads it as it came, and nothing else stands before the endpoint.

    guards -> straight -> endpoint          POST of such a route
                       -> FastAPI           everything else

FastAPI describes these routes (OpenAPI). Asked through its layers, a request costs more than twice as much beside the
model: `benchmarks/serve.py classify`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable
from functools import cached_property
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from unrolled.server.guards import path_of
from unrolled.server.problems import Problem, invalid, problem_of, problem_response

__all__ = ["StraightRoute", "check_type", "straight"]

_LOG = logging.getLogger("unrolled.server")


class StraightRoute(APIRoute):
    """A route `endpoint(request, body)`, where the type of `body` is a pydantic model."""

    @cached_property
    def _body(self) -> type[BaseModel]:
        return self.endpoint.__annotations__["body"]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request, for FastAPI."""
        return self.answer

    async def answer(self, request: Request) -> Response:
        """The answer. Problem 415 for a body that is no JSON by name, 400 or 422 for a wrong one."""
        check_type(request, "application/json")
        try:
            body = self._body.model_validate_json(await request.body())
        except ValidationError as error:
            raise invalid(error, model=self._body) from None
        return await self.endpoint(request, body)


def straight(app: Any, routes: Iterable[StraightRoute]) -> Any:
    """An ASGI application that answers these routes itself and leaves the rest to `app`."""
    known = {route.path: route for route in routes}

    async def answered(scope: Any, receive: Any, send: Any) -> None:
        route = known.get(path_of(scope)) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None:
            return await app(scope, receive, send)
        scope["route"] = route
        try:
            response = await route.answer(Request(scope, receive))
        except Exception as error:
            problem = problem_of(error)
            if problem.status == 500:
                _LOG.exception("a fault while %s was asked", route.path)
            response = problem_response(problem)
        return await response(scope, receive, send)

    return answered


def check_type(request: Request, kind: str) -> None:
    """Problem 415 for a body of another type."""
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given != kind:
        raise Problem(415, f"the body has to be {kind}, not {given or 'of no type'}")
