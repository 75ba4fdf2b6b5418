"""Signed URLs of S3: making them, and finding out whether the server keeps to them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session

from subgrpc.artifacts import SignedUrl
from subgrpc_storage.s3_errors import of_sdk, s3_errors
from subgrpc_storage.s3_parts import base64
from subgrpc_storage.s3_settings import S3Settings, verification

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LONGEST: Final = timedelta(days=7)
"""S3 lets no signature be valid for longer."""


class Signer:
    """Signs requests for objects of a bucket."""

    def __init__(self, settings: S3Settings, client: S3Client) -> None:
        self._settings = settings
        self._client = client

    def get(self, name: str, expires: timedelta) -> SignedUrl:
        """A request that reads an object, also in parts: a Range is not signed."""
        return self._signed("get_object", "GET", {"Key": name}, {}, expires)

    def put(
        self, name: str, size: int, sha256: bytes, expires: timedelta, *, conditional: bool
    ) -> SignedUrl:
        """A request that writes an object of that size and digest, where there is none yet."""
        params = {"Key": name, "ContentLength": size, "ChecksumSHA256": base64(sha256)}
        headers = {"x-amz-checksum-sha256": base64(sha256)}
        if conditional:
            params["IfNoneMatch"] = headers["if-none-match"] = "*"
        return self._signed("put_object", "PUT", params, headers, expires)

    def refused(self, signed: SignedUrl, content: bytes) -> bool:
        """Whether the server refuses a content that is not the one that was signed."""
        session = URLLib3Session(
            verify=verification(),  # type: ignore[arg-type] # the stubs forget the file
            timeout=(self._settings.connect_timeout, self._settings.timeout),  # type: ignore[arg-type]
        )
        request = AWSRequest(signed.method, signed.url, dict(signed.headers), content).prepare()
        try:
            status: int = session.send(request).status_code
        except BotoCoreError as error:
            raise of_sdk(self._settings.name, error) from error
        finally:
            session.close()
        return 400 <= status < 500

    def _signed(
        self,
        operation: str,
        method: str,
        params: Mapping[str, Any],
        headers: Mapping[str, str],
        expires: timedelta,
    ) -> SignedUrl:
        seconds = max(1, round(min(expires, LONGEST).total_seconds()))
        expiry = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        with s3_errors(self._settings.name):
            url = self._client.generate_presigned_url(
                operation,
                Params={"Bucket": self._settings.bucket, **params},
                ExpiresIn=seconds,
            )
        return SignedUrl(method, url, headers, expiry)
