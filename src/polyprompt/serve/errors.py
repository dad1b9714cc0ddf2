"""Errors as OpenAI's API has them: {"error": {"message", "type", "param", "code"}}; no path of the server is told."""

from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from polyprompt.errors import ConfigError, DataError, FileError, PolypromptError
from polyprompt.progress import say

CODES = {401: "invalid_api_key", 404: "not_found", 413: "too_large", 503: "busy"}
NO_FIELDS = ("body", "list", "string")
"""What the framework names beside fields where it says what is wrong."""


class Refused(HTTPException):
    """A request that is not answered: why, in one line for who asked.

    Args:
        param: the field of the request that is wrong.
        code: what programs go by; by default what the status says.
    """

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        headers = {"Retry-After": "1"} if status == 503 else None
        super().__init__(status, message, headers)
        self.param, self.code = param, code or CODES.get(status)


def answer(status: int, message: str, param: str | None = None, code: str | None = None) -> JSONResponse:
    """An error as the body of an answer."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def of_refusal(error: HTTPException) -> JSONResponse:
    """What was refused, by us or by the framework."""
    known = isinstance(error, Refused)
    code = error.code if known else CODES.get(error.status_code)
    response = answer(error.status_code, str(error.detail), error.param if known else None, code)
    response.headers.update(error.headers or {})
    return response


def of_invalid(errors: Sequence[dict[str, object]]) -> JSONResponse:
    """The first thing that is wrong with a body: 400, where the framework would say 422."""
    if errors[0].get("type") == "json_invalid":
        return answer(400, "the body is no JSON", code="json_invalid")
    place = errors[0].get("loc")
    words = [str(one) for one in place if one not in NO_FIELDS] if isinstance(place, tuple) else []
    param = ".".join(words) or None
    return answer(400, f"{param or 'body'}: {errors[0].get('msg')}", param, str(errors[0].get("type")))


def of_polyprompt(error: PolypromptError) -> JSONResponse:
    """A user's mistake is told; what is wrong with our own files is not theirs to know, and goes to the log."""
    if isinstance(error, ConfigError | DataError):
        return answer(400, str(error).removeprefix("--"))
    say(str(error))
    if isinstance(error, FileError):
        return answer(503, "files that this needs cannot be read; the server's log says more", code="unavailable")
    return answer(500, "the server cannot do this; its log says more")


def add_to(app: FastAPI) -> None:
    """Makes an app answer errors so."""

    @app.exception_handler(HTTPException)
    async def _refused(_: Request, error: HTTPException) -> JSONResponse:
        return of_refusal(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return of_invalid(error.errors())

    @app.exception_handler(PolypromptError)
    async def _polyprompt(_: Request, error: PolypromptError) -> JSONResponse:
        return of_polyprompt(error)

    @app.exception_handler(Exception)
    async def _unforeseen(_: Request, error: Exception) -> JSONResponse:
        return answer(500, "something went wrong in the server; its log says more")
