"""`make demo`: a server of its own, a real training run through it, and how to look around.

The server listens on a free port and keeps everything in build/demo. It is left running, so that
the run can be looked at; `subgrpc down` ends it, and the next `make demo` starts anew.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "build" / "demo"
SPEC = ROOT / "examples" / "digits" / "experiment.yaml"
BIN = Path(sys.executable).parent


def main() -> int:
    """Runs the demo; returns its exit code: that of the training run."""
    # The experiment's `python` is the one of this virtual environment.
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    for name in ("SUBGRPC_ADDRESS", "SUBGRPC_DATA_DIR", "SUBGRPC_TOKEN", "SUBGRPC_TLS_CA"):
        environment.pop(name, None)
    _reset(environment)
    server = _start(environment)
    environment["SUBGRPC_ADDRESS"] = address = server["addresses"][0]
    print(f"\n$ subgrpc run {SPEC.relative_to(ROOT)}", flush=True)
    run = subprocess.run([BIN / "subgrpc", "run", SPEC], env=environment, check=False)
    experiment = _newest(environment)
    _report(environment, experiment, address)
    return run.returncode


def _reset(environment: dict[str, str]) -> None:
    if DATA.exists():
        _subgrpc(environment, "down", "--data-dir", str(DATA))
        shutil.rmtree(DATA)


def _start(environment: dict[str, str]) -> dict[str, list[str]]:
    print(f"$ subgrpc up --detach --listen 127.0.0.1:0 --data-dir {DATA.relative_to(ROOT)}")
    told = _subgrpc(
        environment,
        *("up", "--detach", "--listen", "127.0.0.1:0", "--data-dir", str(DATA), "-o", "json"),
    )
    server: dict[str, list[str]] = json.loads(told)
    print(f"ready on {server['addresses'][0]}")
    return server


def _newest(environment: dict[str, str]) -> dict[str, str]:
    told = json.loads(_subgrpc(environment, "list", "--limit", "1", "-o", "json"))
    if not told["experiments"]:
        sys.exit("the experiment was not created")
    newest: dict[str, str] = told["experiments"][0]
    return newest


def _report(environment: dict[str, str], experiment: dict[str, str], address: str) -> None:
    name = experiment["name"].rpartition("/")[2]
    log = _subgrpc(environment, "logs", name)
    accuracy = [line for line in log.splitlines() if line.startswith("accuracy:")]
    state = experiment["state"].removeprefix("EXPERIMENT_STATE_")
    print(f"\n{state}  {accuracy[-1] if accuracy else 'no accuracy in the log'}")
    print(
        f"""
The server is still there. Look around:

  export PATH="{BIN}:$PATH" SUBGRPC_ADDRESS={address}
  subgrpc list
  subgrpc get {name}
  subgrpc logs {name}
  subgrpc run -- echo hello
  subgrpc down --data-dir {DATA}
"""
    )


def _subgrpc(environment: dict[str, str], *arguments: str) -> str:
    """Runs the command and returns its stdout; its failure ends the demo."""
    done = subprocess.run(
        [BIN / "subgrpc", *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
