"""The artifact store on S3, and on servers that speak its protocol.

Up to a part's size an object is one request, with its sha256 as the checksum that the server
compares; larger ones go in parts, each with a checksum of its own. Both ways the server is asked to
keep what is there already (`If-None-Match`), and nothing is visible before it is whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from botocore.exceptions import BotoCoreError, ClientError

from subgrpc.artifacts import ArtifactStore, SignedUrl, StoredObject, StoreSettings, failures
from subgrpc.artifacts.copying import opened
from subgrpc.artifacts.keys import check_key, check_prefix, check_range, is_key
from subgrpc.names import new_uid
from subgrpc_storage.s3_errors import (
    CONDITION,
    WRONG_CONTENT,
    code_of,
    s3_errors,
    status_of,
    told,
)
from subgrpc_storage.s3_parts import PART, Slice, Upload, base64
from subgrpc_storage.s3_reading import Reading
from subgrpc_storage.s3_settings import S3Settings, client_of
from subgrpc_storage.s3_signing import Signer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

THREADS: Final = 8
"""How many parts a store sends at the same time."""


class S3Store(ArtifactStore):
    """Objects of a bucket, below a prefix."""

    scheme: ClassVar[str] = "s3"

    def __init__(self, settings: S3Settings, client: S3Client) -> None:
        self._settings = settings
        self._client = client
        self._bucket = settings.bucket
        self._threads = ThreadPoolExecutor(THREADS, f"s3-{settings.name}")
        self._signer = Signer(settings, client)
        self._conditional = True
        self._signs_puts = False

    @classmethod
    def from_settings(cls, settings: StoreSettings) -> S3Store:
        """Makes a store of a bucket that is there."""
        found = S3Settings.of(settings)
        return cls(found, client_of(found))

    @property
    def name(self) -> str:
        """The store's name, as it was configured."""
        return self._settings.name

    def check(self) -> None:
        """Also finds out what the server does not do as S3 does: then other ways are taken."""
        self._conditional = self._keeps_what_is_there()
        super().check()
        self._signs_puts = self._keeps_to_signatures()
        self.abandoned(timedelta(days=7))  # may we? What is so old is nobody's any more.

    def put(self, key: str, source: Path, size: int, sha256: bytes, *, take: bool = False) -> None:
        """Sends a file, in one request or in parts."""
        check_key(self.name, key)
        with opened(self.name, key, source, size) as file, s3_errors(self.name):
            if self._conditional or not self._has(key, size):
                self._put(key, Slice(self.name, key, file, 0, size), sha256)
        if take:
            source.unlink(missing_ok=True)

    def get(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> Generator[bytes, None, None]:
        """Reads an object; what breaks goes on where it was."""
        check_range(self.name, offset, length)
        name = self._named(check_key(self.name, key))
        if length == 0:
            if self.stat(key) is None:
                raise failures.not_found(self.name, key)
            return
        end = None if length is None else offset + length
        yield from Reading(self.name, key, self._client, self._bucket, name).pieces(offset, end)

    def stat(self, key: str) -> StoredObject | None:
        """Lists an object alone.

        A HEAD would have no body: neither does its 404 tell whether it is the bucket that is
        missing, nor would a size be noticed of which the last digits were cut off.
        """
        name = self._named(check_key(self.name, key))
        with s3_errors(self.name):
            answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=name, MaxKeys=1)
            told(self.name, answer, "Name")
        for each in answer.get("Contents", ()):
            if each["Key"] == name:
                return StoredObject(key, each["Size"], _time(each["LastModified"]))
        return None

    def delete(self, key: str) -> None:
        """Deletes an object. Where the bucket keeps versions, they are its own business."""
        name = self._named(check_key(self.name, key))
        with s3_errors(self.name):
            self._client.delete_object(Bucket=self._bucket, Key=name)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Lists page by page; what nobody has put as an object is not shown."""
        check_prefix(self.name, prefix)
        skipped = len(self._settings.prefix)
        pages = self._client.get_paginator("list_objects_v2")
        with s3_errors(self.name):
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._named(prefix)):
                told(self.name, page, "Name")
                for each in page.get("Contents", ()):
                    key = each["Key"][skipped:]
                    if is_key(key):
                        yield StoredObject(key, each["Size"], _time(each["LastModified"]))

    def abandoned(self, older_than: timedelta) -> int:
        """Aborts uploads in parts that did not come to an end, by the server's clock."""
        removed = 0
        pages = self._client.get_paginator("list_multipart_uploads")
        with s3_errors(self.name):
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._settings.prefix):
                latest = _now(page) - older_than
                for each in page.get("Uploads", ()):
                    if _time(each["Initiated"]) <= latest:
                        removed += self._abort(each["Key"], each["UploadId"])
        return removed

    def sign_get(self, key: str, expires: timedelta) -> SignedUrl | None:
        """Signs a GET."""
        return self._signer.get(self._named(check_key(self.name, key)), expires)

    def sign_put(self, key: str, size: int, sha256: bytes, expires: timedelta) -> SignedUrl | None:
        """Signs a PUT of one content, once `check` has seen that the server refuses any other."""
        name = self._named(check_key(self.name, key))
        if not self._signs_puts:
            return None
        return self._signer.put(name, size, sha256, expires, conditional=self._conditional)

    def close(self) -> None:
        """Ends threads and connections."""
        self._threads.shutdown()
        self._client.close()

    def _put(self, key: str, whole: Slice, sha256: bytes) -> None:
        send = self._send_at_once if len(whole) <= PART else self._send_in_parts
        try:
            send(key, whole, sha256)
        except ClientError as error:
            if code_of(error) in WRONG_CONTENT:
                raise failures.damaged(self.name, key, "it was changed on its way") from error
            if code_of(error) not in CONDITION:
                raise
            if not self._has(key, len(whole)):
                text = "it came and went while it was put"
                raise failures.unavailable(self.name, text) from error

    def _send_at_once(self, key: str, whole: Slice, sha256: bytes) -> None:
        self._compare(key, whole.sha256(), sha256)
        answer = self._client.put_object(
            Bucket=self._bucket,
            Key=self._named(key),
            Body=whole,  # type: ignore[arg-type]
            ChecksumSHA256=base64(sha256),
            **self._conditions(),
        )
        self._verify(key, len(whole), answer.get("ChecksumSHA256", ""), base64(sha256))

    def _send_in_parts(self, key: str, whole: Slice, sha256: bytes) -> None:
        size = len(whole)
        upload = Upload(self._client, self._bucket, self._named(key), whole)
        offsets = range(0, size, PART)
        try:
            self._compare(
                key,
                upload.send(self._threads, [whole.part(each, PART) for each in offsets]),
                sha256,
            )
            said = upload.finish(self._conditions())
        except BaseException as error:
            if not isinstance(error, BotoCoreError):  # else nobody would hear it
                upload.abort()
            raise
        self._verify(key, size, said, upload.checksum())

    def _compare(self, key: str, found: bytes, wanted: bytes) -> None:
        if found != wanted:
            text = f"has the sha256 {found.hex()}, not {wanted.hex()}"
            raise failures.mismatch(self.name, key, text)

    def _verify(self, key: str, size: int, said: str, wanted: str) -> None:
        """Compares what the server says that it keeps; some say nothing, then its size counts.

        So it does where the end of what was said was cut off.
        """
        right = said == wanted
        if not right and wanted.startswith(said):
            found = self.stat(key)
            right = found is not None and found.size == size
        if not right:
            self.delete(key)
            text = "what the server says that it keeps is not what was sent; it was removed"
            raise failures.damaged(self.name, key, text)

    def _has(self, key: str, size: int) -> bool:
        found = self.stat(key)
        if found is not None and found.size != size:
            raise failures.exists(self.name, key, found.size, size)
        return found is not None

    def _named(self, key: str) -> str:
        return f"{self._settings.prefix}{key}"

    def _conditions(self) -> dict[str, Any]:
        return {"IfNoneMatch": "*"} if self._conditional else {}

    def _abort(self, name: str, upload: str) -> int:
        """Aborts an upload, unless somebody has come to its end meanwhile; how many."""
        try:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload)
        except ClientError as error:
            if code_of(error) != "NoSuchUpload":
                raise
            return 0
        return 1

    def _keeps_what_is_there(self) -> bool:
        """Whether a conditional write does not replace an object."""
        name = self._named(f"check/{new_uid()}")
        with s3_errors(self.name):
            try:
                for content in (b"first", b"second"):
                    self._client.put_object(
                        Bucket=self._bucket,
                        Key=name,
                        Body=content,
                        IfNoneMatch="*",
                        ChecksumSHA256=base64(hashlib.sha256(content).digest()),
                    )
            except ClientError as error:
                if code_of(error) not in CONDITION and status_of(error) != 501:
                    raise
                return code_of(error) in CONDITION
            finally:
                self._client.delete_object(Bucket=self._bucket, Key=name)
        return False

    def _keeps_to_signatures(self) -> bool:
        """Whether a signed PUT takes nothing but what was signed."""
        key, content, other = f"check/{new_uid()}", b"signed", b"forged"
        minute = timedelta(minutes=1)
        signed = self._signer.put(
            self._named(key),
            len(content),
            hashlib.sha256(content).digest(),
            minute,
            conditional=self._conditional,
        )
        try:
            return self._signer.refused(signed, other) and self.stat(key) is None
        finally:
            self.delete(key)


def _time(found: datetime) -> datetime:
    """Servers tell fractions of a second here, and not there."""
    return found.astimezone(timezone.utc).replace(microsecond=0)


def _now(answer: Any) -> datetime:
    """The server's time, at which it answered."""
    told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(told) if told else datetime.now(timezone.utc)
