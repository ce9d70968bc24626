"""What HTTP answers when it doesn't give what was asked for, and what to do then.

Errors have Alpaca's shape, ``{"code": …, "message": …}``, since its clients read that. The table
is the source of the OpenAPI document's descriptions and of a table in ``docs/errors.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException


class Refusal(BaseModel):
    """The body of every answer that is an error."""

    code: int = Field(description="As Alpaca makes them: the HTTP status and five digits.")
    message: str = Field(description="What is wrong and what to do.")


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: the HTTP status; Alpaca's code is made of it, as Alpaca does.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def response(self) -> Response:
        refusal = Refusal(code=self.status * 100_000 + 10_000, message=self.message)
        return JSONResponse(refusal.model_dump(), self.status)


@dataclass(frozen=True, slots=True)
class Cause:
    """One way to get a status."""

    status: int
    why: str
    cure: str


CAUSES = (
    Cause(
        401,
        "Access tokens are configured, and the credentials shown are none of them.",
        "Send `APCA-API-KEY-ID` and `APCA-API-SECRET-KEY`, or `Authorization`.",
    ),
    Cause(403, "A web page's Origin is not in `allowed_origins`.", "Add it there, exactly."),
    Cause(
        404,
        "Nothing is at this path, or no account goes by this name.",
        "See `/docs` for the paths; set the account's credentials and restart.",
    ),
    Cause(405, "The path doesn't know this method.", "Use GET."),
    Cause(
        410,
        "The position in `since` or `since_id` can't be honoured.",
        "Begin with `since=oldest`, after comparing with Alpaca's REST.",
    ),
    Cause(
        421,
        "The Host header names a machine that this proxy doesn't go by.",
        "Connect to the address it is bound to, or add the name to `allowed_hosts`.",
    ),
    Cause(422, "A parameter can't be read, or two contradict each other.", "Correct it."),
    Cause(
        503,
        "Order events: `max_connections` are open, or the journal doesn't answer.",
        "The message says which; try again.",
    ),
)

PROBES_FAIL = Cause(
    503,
    "`/health`: nothing that is wanted works, or the order journal doesn't. `/readyz`: not ready.",
    "The answer, which has its usual form, names what is wrong, since when, and what to do.",
)


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These statuses for FastAPI's ``responses``."""
    return {
        status: {
            "model": Refusal,
            "description": " ".join(cause.why for cause in CAUSES if cause.status == status),
        }
        for status in statuses
    }


def answer_errors(api: FastAPI) -> None:
    """Give the framework's own errors the shape of all the others."""

    @api.exception_handler(Refused)
    async def refuse(request: Request, refused: Refused) -> Response:
        return refused.response()

    @api.exception_handler(HTTPException)
    async def refuse_request(request: Request, error: HTTPException) -> Response:
        text = {
            404: "Nothing is served at this path. /docs lists what is.",
            405: "This path doesn't know that method. /docs lists what it knows.",
        }.get(error.status_code, str(error.detail))
        answer = Refused(error.status_code, text).response()
        answer.headers.update(error.headers or {})
        return answer

    @api.exception_handler(RequestValidationError)
    async def refuse_parameters(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()[0]
        return Refused(422, f"{found['loc'][-1]}: {found['msg']}").response()
