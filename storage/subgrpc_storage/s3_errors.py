"""What S3's SDK raises, as the errors that all artifact stores have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from subgrpc.artifacts import failures
from subgrpc.errors import SubgrpcError

_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.TokenRetrievalError,
    exceptions.ProfileNotFound,
)
_DENIED: Final = {
    "AccessDenied": "the credentials may not do this: they have to read, write, list and delete",
    "AllAccessDisabled": "the bucket is disabled",
    "AccountProblem": "ask the owner of the account",
    "InvalidAccessKeyId": "there is no such access key: see AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is another: see AWS_SECRET_ACCESS_KEY",
    "InvalidToken": "the session token is wrong: see AWS_SESSION_TOKEN",
    "ExpiredToken": "the session token has expired: renew it",
    "TokenRefreshRequired": "the session token has expired: renew it",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
}
_MISCONFIGURED: Final = {
    "NoSuchBucket": "there is no such bucket: make it, or mend the store's URL",
    "InvalidBucketName": "mend the store's URL",
    "PermanentRedirect": "the bucket is elsewhere: set the option region or endpoint_url",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set the option region",
    "IllegalLocationConstraintException": "set the option region",
    "MethodNotAllowed": "is this an S3 server? See the option endpoint_url",
    "ObjectParentIsFile": "an object has the name of a folder: nothing else may write here",
}
_FULL: Final = frozenset(
    {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "XAdminBucketQuotaExceeded",
     "StorageFull", "NoSpaceLeft"}
)  # fmt: skip
_PASSING: Final = frozenset(
    {"SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "InternalError",
     "RequestTimeout", "RequestTimeoutException", "Throttling", "ThrottlingException",
     "TooManyRequests", "OperationAborted", "ConditionalRequestConflict",
     # Of an upload that somebody has aborted, or of which an answer was cut off: begin again.
     "NoSuchUpload", "InvalidPart"}
)  # fmt: skip
MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})
CONDITION: Final = frozenset({"PreconditionFailed", "412"})
WRONG_CONTENT: Final = frozenset({"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch"})


def code_of(error: ClientError) -> str:
    """The word that S3 has for an error, or a number where the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """The HTTP status of the answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def of_client(store: str, error: ClientError) -> SubgrpcError:
    """Maps an answer that is an error, but those that are about one object."""
    code, status = code_of(error), status_of(error)
    said = error.response.get("Error", {}).get("Message", "")
    text = f"{error.operation_name} was answered with {code or status}"
    if said and said != code:
        text += f" ({said})"
    if code in _FULL or status == 507:
        return failures.full(store, text)
    if code in _PASSING or status in (429, 500, 502, 503, 504):
        return failures.unavailable(store, text)
    if code in _MISCONFIGURED:
        return failures.misconfigured(store, f"{text}: {_MISCONFIGURED[code]}")
    if code in _DENIED or status in (401, 403):
        advice = _DENIED.get(code, _DENIED["AccessDenied"])
        return failures.access_denied(store, f"{text}: {advice}")
    if status >= 500:
        return failures.unavailable(store, text)
    return failures.misconfigured(store, text)


def of_sdk(store: str, error: BotoCoreError) -> SubgrpcError:
    """Maps what goes wrong before there is an answer."""
    if isinstance(error, _CREDENTIALS):
        text = "give the server credentials as AWS's tools take them (AWS_ACCESS_KEY_ID …)"
        return failures.access_denied(store, f"{error}; {text}")
    if isinstance(error, exceptions.SSLError):
        text = f"{error}; AWS_CA_BUNDLE names a file with the certificates to trust"
        return failures.misconfigured(store, text)
    return failures.unavailable(store, str(error))


def told(store: str, answer: Mapping[str, Any], field: str) -> Any:
    """Returns what an answer has to tell.

    Raises:
        Unavailable: it does not. One that was cut off in its headers looks like a whole one.
    """
    if field not in answer:
        raise failures.unavailable(store, f"an answer came without {field}: it was cut off")
    return answer[field]


@contextmanager
def s3_errors(store: str) -> Iterator[None]:
    """Maps the SDK's errors."""
    try:
        yield
    except ClientError as error:
        raise of_client(store, error) from error
    except BotoCoreError as error:
        raise of_sdk(store, error) from error
    except (ResponseParserError, ValueError) as error:
        raise failures.unavailable(store, f"an answer cannot be read: {error}") from error
