"""The example of digits becomes a model."""

from __future__ import annotations

from tests.e2e.conftest import Cli
from tests.e2e.digits import train_register_and_pull


def test_digits_become_a_model(own: Cli) -> None:
    """From the training to the model that was pulled the bytes are the same."""
    train_register_and_pull(own)
