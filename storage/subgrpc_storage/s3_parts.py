"""Objects that are sent in parts, several at the same time."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from concurrent.futures import Executor, Future
from io import FileIO
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from subgrpc.artifacts import failures
from subgrpc.errors import SubgrpcError
from subgrpc_storage.s3_errors import told

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART: Final = 8 << 20
"""Larger objects are sent in parts of this size. The least that S3 takes is 5 MiB."""
_BLOCK: Final = 1 << 20


def base64(digest: bytes) -> str:
    """A digest as S3 writes it."""
    return b64encode(digest).decode()


class Slice:
    """A part of a file, as the SDK reads it; threads with slices of one file do not mind."""

    def __init__(self, store: str, key: str, file: FileIO, offset: int, size: int) -> None:
        self.store = store
        self._key = key
        self._file = file
        self._offset = offset
        self._size = size
        self._place = 0

    def __len__(self) -> int:
        """The number of bytes, which the request announces."""
        return self._size

    def part(self, offset: int, size: int) -> Slice:
        """A slice of this slice, which ends where this one does at the latest."""
        size = min(size, self._size - offset)
        return Slice(self.store, self._key, self._file, self._offset + offset, size)

    def tell(self) -> int:
        """Where the next read begins."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The SDK begins again where a request failed."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def read(self, size: int | None = None) -> bytes:
        """Returns the next bytes; empty at the end.

        Raises:
            InvalidArgument: UNREADABLE; OBJECT_MISMATCH: the file has become shorter.
        """
        left = max(0, self._size - self._place)
        wanted = left if size is None or size < 0 else min(size, left)
        try:
            piece = os.pread(self._file.fileno(), wanted, self._offset + self._place)
        except OSError as error:
            raise failures.unreadable(self.store, self._key, error) from error
        if wanted and not piece:
            text = f"ends at byte {self._offset + self._place}"
            raise failures.mismatch(self.store, self._key, text)
        self._place += len(piece)
        return piece

    def sha256(self) -> bytes:
        """The digest of all of it; it is read again afterwards."""
        digest = hashlib.sha256()
        self.seek(0)
        while piece := self.read(_BLOCK):
            digest.update(piece)
        self.seek(0)
        return digest.digest()


class Upload:
    """A multipart upload of a file."""

    def __init__(self, client: S3Client, bucket: str, name: str, whole: Slice) -> None:
        self._client = client
        self._bucket = bucket
        self._name = name
        self._failed = False
        self._digests: dict[int, bytes] = {}
        self._whole = whole
        created = client.create_multipart_upload(
            Bucket=bucket, Key=name, ChecksumAlgorithm="SHA256"
        )
        self._id: str = told(whole.store, created, "UploadId")

    def send(self, threads: Executor, slices: list[Slice]) -> bytes:
        """Sends all parts; returns the digest of the whole file, which is computed meanwhile."""
        numbered = enumerate(slices, 1)
        futures = [threads.submit(self._part, number, each) for number, each in numbered]
        try:
            digest = self._whole.sha256()
        except BaseException:
            self._failed = True
            raise
        finally:
            self._parts = self._collected(futures)
        return digest

    def finish(self, conditions: dict[str, str]) -> str:
        """Makes the object of the parts; returns what the server says of its checksum, if it does.

        A first answer that was lost is no reason to fail: the object of the same size is there.
        """
        answer = self._client.complete_multipart_upload(
            Bucket=self._bucket,
            Key=self._name,
            UploadId=self._id,
            MultipartUpload={"Parts": self._parts},
            **conditions,  # type: ignore[arg-type]
        )
        return answer.get("ChecksumSHA256", "")

    def checksum(self) -> str:
        """What the server has to say: the digest of the parts' digests, and how many there are."""
        joined = b"".join(digest for _, digest in sorted(self._digests.items()))
        return f"{base64(hashlib.sha256(joined).digest())}-{len(self._digests)}"

    def abort(self) -> None:
        """Removes what was sent. Where that cannot be done now, `abandoned` does it later."""
        try:
            self._client.abort_multipart_upload(
                Bucket=self._bucket, Key=self._name, UploadId=self._id
            )
        except (BotoCoreError, ClientError):
            return

    def _part(self, number: int, content: Slice) -> CompletedPartTypeDef | None:
        if self._failed:
            return None
        try:
            digest = self._digests[number] = content.sha256()
            answer = self._client.upload_part(
                Bucket=self._bucket,
                Key=self._name,
                UploadId=self._id,
                PartNumber=number,
                Body=content,  # type: ignore[arg-type]
                ChecksumSHA256=base64(digest),
            )
        except BaseException:
            self._failed = True
            raise
        part: CompletedPartTypeDef = {
            "PartNumber": number,
            "ETag": told(content.store, answer, "ETag"),
        }
        if answer.get("ChecksumSHA256"):
            part["ChecksumSHA256"] = answer["ChecksumSHA256"]
        return part

    def _collected(
        self, futures: list[Future[CompletedPartTypeDef | None]]
    ) -> list[CompletedPartTypeDef]:
        """Waits for all of them, since they read a file that is closed next; then raises."""
        errors: list[BaseException] = []
        parts = []
        for each in futures:
            error = each.exception()
            if error is not None:
                errors.append(error)
            elif (part := each.result()) is not None:
                parts.append(part)
        for error in sorted(errors, key=lambda error: not isinstance(error, SubgrpcError)):
            raise error
        return parts
