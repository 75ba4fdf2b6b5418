"""Learns to read handwritten digits: a small neural network, one log line per epoch."""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--hidden", type=int, default=64, help="neurons of the hidden layer")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds to wait per epoch")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        images / 16.0, labels, test_size=0.25, random_state=options.seed, stratify=labels
    )
    say(f"{len(train_x)} digits to learn from, {len(test_x)} to be tested with")

    model = MLPClassifier(
        hidden_layer_sizes=(options.hidden,),
        learning_rate_init=options.learning_rate,
        batch_size=options.batch_size,
        random_state=options.seed,
    )
    order = np.random.default_rng(options.seed)
    classes = np.unique(labels)
    for epoch in range(1, options.epochs + 1):
        start = time.monotonic()
        for batch in np.array_split(
            order.permutation(len(train_x)), len(train_x) // options.batch_size
        ):
            model.partial_fit(train_x[batch], train_y[batch], classes=classes)
        loss = log_loss(train_y, model.predict_proba(train_x), labels=classes)
        accuracy = model.score(test_x, test_y)
        say(
            f"epoch {epoch:2d}/{options.epochs}  loss {loss:.4f}  accuracy {accuracy:.4f}  "
            f"{time.monotonic() - start:.2f} s"
        )
        time.sleep(options.pause)
    say(f"accuracy: {model.score(test_x, test_y):.4f}")
    save(model)


def save(model: MLPClassifier) -> None:
    """Leaves the model's weights where the experiment's output `model` is looked for."""
    folder = os.environ.get("SUBGRPC_OUTPUT_DIR")
    if folder is None:  # it was started by hand
        return
    layers = zip(model.coefs_, model.intercepts_, strict=True)
    arrays = {
        name: array
        for number, (weights, biases) in enumerate(layers)
        for name, array in ((f"weights_{number}", weights), (f"biases_{number}", biases))
    }
    np.savez(os.path.join(folder, "model", "digits.npz"), classes=model.classes_, **arrays)


def say(text: str) -> None:
    # Flushed, so that whoever follows the log sees every line when it is written.
    print(text, flush=True)


if __name__ == "__main__":
    main()
