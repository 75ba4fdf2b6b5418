"""The example of digits becomes a model that is kept on S3."""

from __future__ import annotations

from tests.e2e.conftest import Cli, own
from tests.e2e.digits import train_register_and_pull
from tests.integration.s3.servers import Bucket

__all__ = ["own"]


def test_digits_become_a_model(own: Cli, bucket: Bucket, prefix: str) -> None:
    """From the training to the model that was pulled the bytes are the same."""
    settings = bucket.settings(prefix)
    options = [f"{key}={value}" for key, value in settings.options.items()]
    words = [word for each in options for word in ("--artifact-option", each)]
    train_register_and_pull(own, "--artifacts", settings.url, *words)
    assert bucket.client.list_objects_v2(Bucket=bucket.name, Prefix=prefix)["KeyCount"] > 2
