"""Reading of an object from S3, over connections that may break."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from subgrpc.artifacts import failures
from subgrpc.errors import SubgrpcError
from subgrpc_storage.s3_errors import CONDITION, MISSING, code_of, of_client, of_sdk, told

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

PIECE: Final = 1 << 20
BREAKS: Final = 3
"""How often in a row a connection may break before a byte has come."""


@dataclass(frozen=True)
class Reading:
    """An object that is read: the store's and the object's name in errors, and where it is."""

    store: str
    key: str
    client: S3Client
    bucket: str
    name: str

    def pieces(self, offset: int, end: int | None) -> Iterator[bytes]:
        """Yields what is there from `offset` to `end`; raises the errors of `ArtifactStore.get`.

        Headers that were cut off look like whole ones: they are believed once a byte has come.
        """
        etag, breaks = "", 0
        while (answer := self._ask(offset, end, etag)) is not None:
            total = self._total(answer, offset)
            goal = total if end is None else min(end, total)
            error: BotoCoreError | None = None
            try:
                with closing(answer["Body"]) as body:
                    for piece in body.iter_chunks(PIECE):
                        etag, breaks = told(self.store, answer, "ETag"), 0
                        yield piece
                        offset += len(piece)
            except BotoCoreError as broken:
                error = broken
            if offset >= goal and error is None:
                return
            breaks += 1
            if breaks == BREAKS:
                raise self._broken(error, offset, goal) from error

    def _broken(self, error: BotoCoreError | None, offset: int, goal: int) -> SubgrpcError:
        if error is not None:
            return of_sdk(self.store, error)
        text = f"byte {offset} of {goal} was the last that came"
        return failures.damaged(self.store, self.key, text)

    def _ask(self, offset: int, end: int | None, etag: str) -> GetObjectOutputTypeDef | None:
        """Begins to read; None: the object ends before."""
        more: dict[str, Any] = {"IfMatch": etag} if etag else {}
        if offset or end is not None:
            more["Range"] = f"bytes={offset}-{'' if end is None else end - 1}"
        try:
            return self.client.get_object(Bucket=self.bucket, Key=self.name, **more)
        except BotoCoreError as error:
            raise of_sdk(self.store, error) from error
        except ValueError as error:
            raise failures.unavailable(self.store, f"an answer cannot be read: {error}") from error
        except ClientError as error:
            code = code_of(error)
            if code in ("InvalidRange", "416"):
                return None
            if code in MISSING:
                raise failures.not_found(self.store, self.key) from error
            if code in CONDITION:
                text = "it was changed while it was read"
                raise failures.damaged(self.store, self.key, text) from error
            raise of_client(self.store, error) from error

    def _total(self, answer: GetObjectOutputTypeDef, offset: int) -> int:
        """The size of the object."""
        content_range = answer.get("ContentRange", "")
        if not content_range:
            if offset:
                text = "its server does not give parts of objects"
                raise failures.misconfigured(self.store, text)
            size: int = told(self.store, answer, "ContentLength")
            return size
        first, _, total = content_range.removeprefix("bytes ").partition("/")
        if int(first.partition("-")[0]) != offset:
            raise failures.misconfigured(self.store, "its server gives another part than asked for")
        return int(total)
