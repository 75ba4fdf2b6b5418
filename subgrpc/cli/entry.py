"""What the installed script `subgrpc` calls: the command line, where it is installed."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line; says what is missing where only the SDK is installed."""
    try:
        from subgrpc.cli.main import main as run
    except KeyboardInterrupt:  # before there is anything to interrupt
        sys.exit(130)
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit(
            "subgrpc: the command line is not installed, only the SDK is. For the commands:\n"
            "  pip install 'subgrpc[cli]'    to speak to a server\n"
            "  pip install 'subgrpc[all]'    to run one too"
        )
    run()
