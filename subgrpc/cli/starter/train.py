"""Fits a line to noisy points with gradient descent. Needs nothing but Python; put yours here."""

import argparse
import random


def main() -> None:
    """Trains, with a line of output per epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    source = random.Random(options.seed)
    points = []
    for _ in range(1000):
        x = source.uniform(-1, 1)
        points.append((x, 3 * x + 2 + source.gauss(0, 0.1)))

    slope, offset = 0.0, 0.0
    for epoch in range(1, options.epochs + 1):
        loss = 0.0
        for x, y in points:
            error = slope * x + offset - y
            slope -= options.learning_rate * error * x
            offset -= options.learning_rate * error
            loss += error * error
        # Flushed, so that whoever follows the log sees every line when it is written.
        print(f"epoch {epoch}/{options.epochs}  loss {loss / len(points):.5f}", flush=True)
    print(f"y = {slope:.2f} x + {offset:.2f}")


if __name__ == "__main__":
    main()
