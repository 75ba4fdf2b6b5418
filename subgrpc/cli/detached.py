"""Starting a server in the background: for `up --detach`, and for `run` where none is yet."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from subgrpc.cli import defaults, output, serverfile
from subgrpc.errors import SubgrpcError, Unavailable

_OTHERS = ("ADDRESS_IN_USE", "DATA_DIR_LOCKED")
"""Why a start fails that another command has made at the same moment."""
_OTHERS_PATIENCE = 10.0


def start(
    data_dir: Path, arguments: Sequence[str], secret: Mapping[str, str] | None = None
) -> serverfile.ServerFile:
    """Starts `subgrpc up` as a process of its own and returns once it is ready.

    Args:
        data_dir: its data folder.
        arguments: its options.
        secret: variables for what everybody could read among its options.

    Raises:
        Unavailable: it did not become ready; the reason is the server's own.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = data_dir / serverfile.LOG_NAME
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8") as answer:
        try:
            with log.open("ab") as sink:
                child = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "subgrpc.cli.main", "up", *arguments),
                        *("--ready-fd", str(writing)),
                    ],
                    # `-m` looks for modules here first, and here nobody else has any.
                    cwd=data_dir,
                    env={**os.environ, **(secret or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    pass_fds=(writing,),
                    start_new_session=True,
                )
        finally:
            os.close(writing)
        try:
            told = answer.read()
        except KeyboardInterrupt:
            child.terminate()
            raise
    result = json.loads(told) if told else {}
    if "ready" not in result:
        code = child.wait()
        text = f"the server ended with code {code} before it was ready; see {log}"
        reason = result.get("reason", "SERVER_NOT_STARTED")
        raise Unavailable(result.get("error", text), reason=reason)
    found = serverfile.read(data_dir)
    assert found is not None
    return found


def is_installed() -> bool:
    """Whether the server is, and not only the command line."""
    return importlib.util.find_spec("sqlmodel") is not None


def ensure_default() -> None:
    """Starts a server at the default address if nothing listens there, and says so in one line.

    Where the server is not installed (`pip install subgrpc[cli]`), nothing is started.

    Raises:
        Unavailable: it was needed and could not be started.
    """
    if _listens() or not is_installed():
        return
    data_dir = Path(os.path.abspath(defaults.data_dir()))
    try:
        server = start(data_dir, ["--data-dir", str(data_dir)])
    except SubgrpcError as error:
        if error.reason in _OTHERS and _listens_soon():
            return
        raise
    output.note(
        f"started a server on {defaults.DEFAULT_ADDRESS} (process {server.pid}, data in "
        f"{data_dir}); stop it with: {down_command(data_dir)}"
    )


def down_command(data_dir: Path) -> str:
    """What to type to stop the server of a data folder."""
    own = data_dir == Path(os.path.abspath(defaults.data_dir()))
    return "subgrpc down" if own else f"subgrpc down --data-dir {data_dir}"


def _listens() -> bool:
    host, _, port = defaults.DEFAULT_ADDRESS.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1.0).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True  # something is there, or cannot be asked: the call tells
    return True


def _listens_soon() -> bool:
    """Whether the server that came first answers in time."""
    deadline = time.monotonic() + _OTHERS_PATIENCE
    while time.monotonic() < deadline:
        # A server of this folder that serves another address never will.
        found = serverfile.read(Path(os.path.abspath(defaults.data_dir())))
        if found is not None and defaults.DEFAULT_ADDRESS not in found.addresses:
            return False
        if _listens():
            return True
        time.sleep(0.05)
    return False
