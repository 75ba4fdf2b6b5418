"""The artifact-store contract: a place that keeps objects, as an abstract class.

An object is a file of bytes that is written once, whole, and never changed. What is in it (one
blob, or many small ones) only the metastore knows: a store needs nothing but keys and bytes.

Stores are synchronous and thread-safe: the SDKs of S3 and HDFS block, and the server calls them
from a bounded pool of threads. Every method may be called again after a crash of the caller.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, NamedTuple

from subgrpc.artifacts.failures import damaged
from subgrpc.names import new_uid


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What a store is made from.

    Attributes:
        name: the store's name, for errors and logs.
        url: where it is, such as `file:///var/lib/subgrpc/artifacts`, `s3://BUCKET/PREFIX` or
            `hdfs://NAMENODE:9870/FOLDER`. Holds no password.
        options: the operator's further options for this store.
    """

    name: str
    url: str
    options: Mapping[str, str] = field(default_factory=dict)


class StoredObject(NamedTuple):
    """An object as its store knows it.

    Attributes:
        key: its key.
        size: in bytes.
        time: when it was written, by the store's clock, with a time zone.
    """

    key: str
    size: int
    time: datetime


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """A request that anybody who holds it may make for a while. It is a secret until it expires.

    Attributes:
        method: `GET` or `PUT`.
        url: where.
        headers: what has to be sent along, exactly.
        expiry: until when, with a time zone.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    expiry: datetime


class ArtifactStore(ABC):
    """A place that keeps objects.

    Keys are made by subgrpc: segments of `[a-z0-9.-]` joined by `/`, at most 200 characters, none
    of which starts with a dot (else `InvalidArgument` OBJECT_KEY_INVALID). A key is never used for
    two contents, and none is the folder of another.

    Errors that every method may raise, each with the store's name and what to do about it:
    `Unavailable` STORE_UNAVAILABLE, with `retry_after`, while the store cannot be reached or does
    not answer in time (never `NotFound` then); `FailedPrecondition` STORE_ACCESS_DENIED for wrong
    credentials or missing permission, STORE_MISCONFIGURED for a bucket or folder that is not there;
    `ResourceExhausted` STORE_FULL. No call waits for ever. `subgrpc.artifacts.failures` makes them.
    """

    scheme: ClassVar[str]
    """The scheme of its URLs: also the name of its entry point."""
    pack_below: ClassVar[int] = 1 << 20
    """Blobs of fewer bytes are put together into one object."""
    pack_size: ClassVar[int] = 16 << 20
    """About how large such an object gets, in bytes."""

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: StoreSettings) -> ArtifactStore:
        """Makes a store; touches nothing yet.

        Raises:
            InvalidArgument: STORE_INVALID: the URL or an option is wrong.
        """

    @property
    @abstractmethod
    def name(self) -> str:
        """The store's name, as it was configured."""

    def check(self) -> None:
        """Writes, reads, lists and deletes a small object: raises what is wrong with the store.

        What earlier checks have left, whose process was killed, goes too.
        """
        key, data = f"check/{new_uid()}", os.urandom(1000)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "check")
            source.write_bytes(data)
            self.put(key, source, len(data), hashlib.sha256(data).digest())
        try:
            found = self.stat(key)
            if b"".join(self.get(key)) != data or found is None or found.size != len(data):
                raise damaged(self.name, key, "it is not what was put a moment ago")
            for each in self.list("check/"):
                if found.time - each.time > timedelta(hours=1):
                    self.delete(each.key)
        finally:
            self.delete(key)

    @abstractmethod
    def put(self, key: str, source: Path, size: int, sha256: bytes, *, take: bool = False) -> None:
        """Keeps a file's content under a key; it is durable, and whole, when this returns.

        An object of that key and size that is there already is success: it was put before.
        What fails leaves nothing that `stat`, `get` or `list` would show as an object.

        Args:
            key: the key.
            source: the file; it does not change meanwhile.
            size: its size in bytes.
            sha256: the digest of its content. What the store says that it keeps is compared with
                size and, where it can tell, digest.
            take: the store may move the file away instead of copying it. It may then believe the
                digest: the caller has just computed it.

        Raises:
            InvalidArgument: OBJECT_MISMATCH: the file's size or digest is another.
            AlreadyExists: OBJECT_EXISTS: there is an object of that key and another size.
            DataLoss: OBJECT_DAMAGED: what the store says that it keeps is not what was sent. It was
                removed.
        """

    @abstractmethod
    def get(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> Generator[bytes, None, None]:
        """Yields an object's bytes from an offset, in pieces of at most 1 MiB.

        All that is asked for and there is comes, or an error: never silently less. A range that
        goes beyond the end is cut off there. A connection that breaks is taken up again where it
        broke. Closing the generator early ends the transfer.

        Raises (when the first piece is asked for):
            NotFound: OBJECT_NOT_FOUND: there is no such object.
            InvalidArgument: OUT_OF_RANGE: offset or length are negative.
            DataLoss: OBJECT_DAMAGED: there is less than the object's size.
        """

    @abstractmethod
    def stat(self, key: str) -> StoredObject | None:
        """Returns what the store knows of an object; None: it is certain that there is none."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Removes an object for good. One that is not there is success."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yields all finished objects whose key starts with a prefix, in any order."""

    def abandoned(self, older_than: timedelta) -> int:
        """Removes what interrupted puts left, where the store keeps such; returns how many."""
        return 0

    def sign_get(self, key: str, expires: timedelta) -> SignedUrl | None:
        """Returns a request that reads an object (ranges allowed); None: this store has no such."""
        return None

    def sign_put(self, key: str, size: int, sha256: bytes, expires: timedelta) -> SignedUrl | None:
        """Returns a request that writes an object, which the store refuses for any other content.

        None: this store has no such, or it is not certain that it enforces the digest: a store may
        find that out in `check`.
        """
        return None

    @abstractmethod
    def close(self) -> None:
        """Ends its connections. No method is called afterwards."""
