"""POST routes whose good requests take a short way: their JSON becomes its model in one pass, and nothing is resolved.

What the short way does not take goes FastAPI's own way, which says what is wrong with it in the words of the contract.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from ullage.errors import Cancelled

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
JSON = ("application/json", "application/json; charset=utf-8")


class QuickRoute(APIRoute):
    """Of an endpoint that takes `body`, and may take the request, texts of the path, and optional headers.

    It gives a Response. Requests with one of those headers, or in another content type, go the long way.
    """

    def get_route_handler(self) -> Handler:
        long_way, endpoint = super().get_route_handler(), self.dependant.call
        if endpoint is None:
            raise TypeError(f"{self.path}: a route needs an endpoint")
        hints = typing.get_type_hints(endpoint, include_extras=True)
        body_of: TypeAdapter[Any] = TypeAdapter(hints["body"])
        headers = tuple(field.alias for field in self.dependant.header_params)
        wants_request = "request" in hints

        async def handle(request: Request) -> Response:
            given = request.headers
            if given.get("content-type") not in JSON or any(name in given for name in headers):
                return await long_way(request)
            try:
                text = await request.body()
            except ClientDisconnect:
                raise Cancelled("the client went away before its request was read") from None
            try:
                body = body_of.validate_json(text)
            except ValidationError:
                return await long_way(request)
            named = {"request": request} if wants_request else {}
            found: Response = await endpoint(body=body, **request.path_params, **named)
            return found

        return handle


def quick_post(app: FastAPI, path: str, endpoint: Callable[..., Any], *, answers: Any, tag: str) -> None:
    """`POST path`; `answers` is the model of its answer in the OpenAPI document."""
    app.router.add_api_route(path, endpoint, methods=["POST"], response_model=answers, tags=[tag],
                             route_class_override=QuickRoute)
