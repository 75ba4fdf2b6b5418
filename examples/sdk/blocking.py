"""Runs three experiments at once and prints how they ended.

subgrpc up --detach && python examples/sdk/blocking.py
"""

from __future__ import annotations

import sys

from subgrpc.client import Client


def main() -> int:
    with Client() as client:  # $SUBGRPC_ADDRESS, else 127.0.0.1:7411
        started = [
            client.experiments.create(
                [sys.executable, "-c", f"print({rate}, 'is my learning rate')"],
                labels={"example": "sdk"},
                cpu="100m",
            )
            for rate in (0.1, 0.01, 0.001)
        ]
        for experiment in started:
            experiment.wait(timeout=60, print_output=True)
            print(experiment.id, experiment.state, experiment.message)
        return 0 if all(each.succeeded for each in started) else 1


if __name__ == "__main__":
    sys.exit(main())
