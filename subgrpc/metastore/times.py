"""Times in messages: the metastore has microseconds since the epoch, messages have Timestamps."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp


def set_time(timestamp: Timestamp, time: int) -> None:
    """In place: a message of its own would be made only to be copied."""
    timestamp.seconds = time // 1_000_000
    timestamp.nanos = time % 1_000_000 * 1_000
