"""The errors that subgrpc raises: one class per kind of failure, each with a stable reason.

They know nothing of gRPC: `subgrpc.rpc.status` and `subgrpc.client` map them to statuses and
back. `reason` is the machine-readable word that clients may rely on (google.rpc.ErrorInfo).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One mistake in a request.

    Attributes:
        field: path of the field from the message's root, such as `spec.task_groups[0].role`.
        description: what was found, what is allowed, and what to do, in one sentence.
        reason: a stable word for the rule that was broken, such as `REQUIRED`.
        place: FILE:LINE:COLUMN, where the request was read from a file; `field` is the path there.
    """

    field: str
    description: str
    reason: str = "INVALID_VALUE"
    place: str = ""

    def __str__(self) -> str:
        """All of it but the reason: "PLACE: FIELD: DESCRIPTION"."""
        return ": ".join(each for each in (self.place, self.field, self.description) if each)


class SubgrpcError(Exception):
    """Base of every error that a caller of subgrpc can meet.

    Attributes:
        message: one sentence for a person: what was wrong, where, what to do.
        reason: a stable UPPER_SNAKE_CASE word.
        metadata: further facts by lowerCamelCase name.
        help_url: the page that explains the reason, if the server has told one.
    """

    default_reason: ClassVar[str] = "INTERNAL"
    help_url: str = ""

    def __init__(
        self, message: str, *, reason: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})


class InvalidArgument(SubgrpcError):
    """The request is wrong whatever the state of the system; `violations` says where."""

    default_reason = "INVALID_ARGUMENT"

    def __init__(
        self,
        message: str = "",
        violations: Sequence[FieldViolation] = (),
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        text = message or "; ".join(str(each) for each in violations)
        super().__init__(text, reason=reason, metadata=metadata)
        self.violations = tuple(violations)


class InvalidSpec(InvalidArgument):
    """A driver can never run this workload; field paths start at the workload's root."""

    default_reason = "INVALID_SPEC"


class NotFound(SubgrpcError):
    """There is no such thing, and whoever says so knows it for certain."""

    default_reason = "NOT_FOUND"


class AlreadyExists(SubgrpcError):
    """The name, or the request id, is taken."""

    default_reason = "ALREADY_EXISTS"


class FailedPrecondition(SubgrpcError):
    """The request is right, the state of the system is not; do not simply try again."""

    default_reason = "FAILED_PRECONDITION"


class Aborted(SubgrpcError):
    """A concurrent change won: read again, decide again."""

    default_reason = "ABORTED"


class OutOfRange(SubgrpcError):
    """A position that is no longer, or not yet, there."""

    default_reason = "OUT_OF_RANGE"


class RetryableError(SubgrpcError):
    """What may work later: `retry_after` seconds from now, where that is known."""

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.retry_after = retry_after


class ResourceExhausted(RetryableError):
    """A limit was reached."""

    default_reason = "RESOURCE_EXHAUSTED"


class Unauthenticated(SubgrpcError):
    """No credentials, or wrong ones."""

    default_reason = "UNAUTHENTICATED"


class PermissionDenied(SubgrpcError):
    """The caller is known, and may not do this."""

    default_reason = "PERMISSION_DENIED"


class Unimplemented(SubgrpcError):
    """subgrpc, or this backend, does not do this."""

    default_reason = "UNIMPLEMENTED"


class Unavailable(RetryableError):
    """Something cannot be reached now."""

    default_reason = "UNAVAILABLE"


class DataLoss(SubgrpcError):
    """Stored data is damaged. Nothing was overwritten."""

    default_reason = "DATA_LOSS"
