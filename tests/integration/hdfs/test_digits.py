"""The example of digits becomes a model that is kept on HDFS."""

from __future__ import annotations

from tests.e2e.conftest import Cli, own
from tests.e2e.digits import train_register_and_pull
from tests.integration.hdfs.cluster import Hdfs, settings

__all__ = ["own"]


def test_digits_become_a_model(own: Cli, hdfs: Hdfs, folder: str) -> None:
    """From the training to the model that was pulled the bytes are the same."""
    given = settings(hdfs.namenode, folder)
    options = [f"{key}={value}" for key, value in given.options.items()]
    words = [word for each in options for word in ("--artifact-option", each)]
    train_register_and_pull(own, "--artifacts", given.url, *words)
    assert "objects" in hdfs.names(folder)
