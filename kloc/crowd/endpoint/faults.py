"""What the endpoint answers when it refuses."""

from __future__ import annotations

from http import HTTPStatus


class RequestError(Exception):
    """A refusal on the requester's wire: HTTP 400 with a ``TurkErrorCode``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = f"AWS.MechanicalTurk.{code}"
        self.message = message


class SignatureError(Exception):
    """A request that is not signed by the account. ``kind`` is the ``__type`` AWS clients know."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Refusal(Exception):  # noqa: N818 - no error, an answer
    """A refusal in the worker app, with words for the worker."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def invalid(message: str) -> RequestError:
    """A parameter whose value cannot be."""
    return RequestError("ParameterValidationError", message)
