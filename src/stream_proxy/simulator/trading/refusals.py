"""What the trading API answers when it refuses: an HTTP status, Alpaca's code, and a sentence.

Codes are the HTTP status with five more digits, as Alpaca's documentation and its clients'
error tables show them.
"""

from __future__ import annotations

BAD_REQUEST = 40010001
UNAUTHORIZED = 40110000
FORBIDDEN = 40310000
NOT_FOUND = 40410000
UNPROCESSABLE = 42210000
TOO_MANY = 42910000
INTERNAL = 50010000


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        status: the HTTP status.
        code: Alpaca's own number.
        message: what is wrong, for people.
        details: further keys of the body, such as the buying power that was not enough.
    """

    def __init__(self, status: int, code: int, message: str, **details: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details

    def body(self) -> dict[str, object]:
        return {"code": self.code, "message": self.message, **self.details}


def invalid(message: str) -> Refusal:
    """A request that is wrong in itself."""
    return Refusal(422, UNPROCESSABLE, message)


def forbidden(message: str, **details: object) -> Refusal:
    """A request that is well formed, but not for this account now."""
    return Refusal(403, FORBIDDEN, message, **details)


def not_found(message: str) -> Refusal:
    return Refusal(404, NOT_FOUND, message)
