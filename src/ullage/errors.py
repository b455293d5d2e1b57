"""Every error ullage raises on purpose, and the one mapping from error to status code.

    UllageError
    ├── SettingsError            a setting is unknown, out of range or contradicts another
    ├── DoesNotFit               no profile fits the budget
    ├── ModelError
    │   ├── ModelNotFound        neither in the cache nor in an installed package
    │   ├── ModelCorrupt         a file's bytes are not what the card says
    │   └── ModelUnsupported     a checkpoint we do not serve
    ├── RequestError             the caller's request is wrong
    │   ├── InvalidRequest
    │   ├── TooLong              more tokens than the model takes
    │   ├── TooLarge             more bytes than the server takes
    │   ├── UnknownModel
    │   └── NotFound
    ├── DocumentRefused          a file that cannot be ingested, and why
    ├── Unavailable
    │   ├── Overloaded           admission refused; try again after a stated time
    │   ├── NotReady             still loading, or stopping
    │   ├── DependencyDown       a service behind this one does not answer
    │   └── OutOfMemory          an engine ran out of its envelope
    ├── DeadlineExceeded
    ├── Cancelled
    └── EngineFailed

A message is one line: what was wrong, the value, and what would be right.
"""

from __future__ import annotations

from dataclasses import dataclass


class UllageError(Exception):
    """Root of the tree. `str(error)` is safe to show to a client."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))

    @property
    def message(self) -> str:
        return str(self)


class SettingsError(UllageError):
    pass


class DoesNotFit(UllageError):
    """No profile fits.

    `needed_bytes` is the smallest budget that works, `budget_bytes` the one that was given.
    """

    def __init__(self, message: str, *, needed_bytes: int, budget_bytes: int) -> None:
        super().__init__(message)
        self.needed_bytes = needed_bytes
        self.budget_bytes = budget_bytes


class ModelError(UllageError):
    pass


class ModelNotFound(ModelError):
    pass


class ModelCorrupt(ModelError):
    pass


class ModelUnsupported(ModelError):
    pass


class RequestError(UllageError):
    pass


class InvalidRequest(RequestError):
    pass


class TooLong(RequestError):
    pass


class TooLarge(RequestError):
    pass


class UnknownModel(RequestError):
    pass


class NotFound(RequestError):
    pass


class DocumentRefused(UllageError):
    pass


class Unavailable(UllageError):
    """Try again after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(Unavailable):
    pass


class NotReady(Unavailable):
    pass


class DependencyDown(Unavailable):
    pass


class DeadlineExceeded(UllageError):
    pass


class Cancelled(UllageError):
    pass


class OutOfMemory(Unavailable):
    """An engine has no room for this now; with less beside it, it may."""


class EngineFailed(UllageError):
    pass


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an error becomes at each door. `kind` is the `type` field of an HTTP error body."""

    http_status: int
    grpc_status: str
    exit_code: int
    kind: str


OUTCOMES: dict[type[UllageError], Outcome] = {
    UllageError: Outcome(500, "INTERNAL", 1, "internal_error"),
    SettingsError: Outcome(500, "FAILED_PRECONDITION", 2, "settings_error"),
    DoesNotFit: Outcome(500, "RESOURCE_EXHAUSTED", 3, "does_not_fit"),
    ModelError: Outcome(500, "FAILED_PRECONDITION", 4, "model_error"),
    RequestError: Outcome(400, "INVALID_ARGUMENT", 2, "invalid_request_error"),
    InvalidRequest: Outcome(422, "INVALID_ARGUMENT", 2, "invalid_request_error"),
    TooLong: Outcome(422, "INTERNAL", 2, "invalid_request_error"),
    TooLarge: Outcome(413, "INVALID_ARGUMENT", 2, "invalid_request_error"),
    UnknownModel: Outcome(404, "NOT_FOUND", 2, "not_found_error"),
    NotFound: Outcome(404, "NOT_FOUND", 2, "not_found_error"),
    DocumentRefused: Outcome(422, "INVALID_ARGUMENT", 5, "document_refused"),
    Unavailable: Outcome(503, "UNAVAILABLE", 6, "unavailable"),
    Overloaded: Outcome(503, "RESOURCE_EXHAUSTED", 6, "overloaded"),
    DeadlineExceeded: Outcome(504, "DEADLINE_EXCEEDED", 6, "deadline_exceeded"),
    Cancelled: Outcome(499, "CANCELLED", 130, "cancelled"),
    OutOfMemory: Outcome(503, "RESOURCE_EXHAUSTED", 7, "out_of_memory"),
    EngineFailed: Outcome(500, "INTERNAL", 8, "engine_failed"),
}


def outcome(error: BaseException) -> Outcome:
    """The outcome of the nearest class in the tree; anything foreign is an internal error."""
    return outcome_of(type(error))


def outcome_of(kind: type[BaseException]) -> Outcome:
    """The same of a class."""
    for cls in kind.__mro__:
        if cls in OUTCOMES:
            return OUTCOMES[cls]
    return OUTCOMES[UllageError]
