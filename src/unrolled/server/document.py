"""The OpenAPI document, completed so that generated clients work: problems, binary files, the token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI
from starlette.responses import StreamingResponse

from unrolled.server.guards import is_public
from unrolled.server.problems import PROBLEM_SCHEMA

__all__ = ["EventStream", "describe_with"]

_FILE = "application/octet-stream"
_TOKEN = {"type": "http", "scheme": "bearer", "description": "The token that `unrolled serve --token-file` was given."}


class EventStream(StreamingResponse):
    """Server-sent events; with a type of its own, so that the document does not claim that such a route answers JSON."""

    media_type = "text/event-stream"


def describe_with(app: FastAPI, *, needs_token: bool) -> None:
    """Let the application describe itself by FastAPI's document, completed.

    - `Problem`, to which all errors refer, is a component.
    - Files have `format: binary`, as well as the newer `contentMediaType`: generators look at the former.
    - The token is a security scheme, required (`needs_token`) by all routes but those that are public.
    """
    describe: Callable[[], dict[str, Any]] = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = describe()
            components = document.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            schemas["Problem"] = PROBLEM_SCHEMA
            for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's; errors here are problems
                schemas.pop(name, None)
            components["securitySchemes"] = {"token": _TOKEN}
            for part in _schemas(document):
                if EventStream.media_type in part:  # FastAPI's schema is of the body; validators read it as one event's
                    part[EventStream.media_type] = {}
            for schema in _schemas(document):
                if schema.get("contentMediaType") == _FILE:
                    schema |= {"format": "binary", "minLength": 1}
            if needs_token:
                document["security"] = [{"token": []}]
                for path, methods in document["paths"].items():
                    for operation in methods.values() if is_public(path) else ():
                        operation["security"] = []
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _schemas(part: Any) -> Iterator[dict[str, Any]]:
    """All objects of a document, from the outside in."""
    if isinstance(part, dict):
        yield part
        for value in part.values():
            yield from _schemas(value)
    elif isinstance(part, list):
        for value in part:
            yield from _schemas(value)
