"""Generates the Python code of the protos into a folder (default: the source tree).

    .venv/bin/python tools/generate.py [--check | --third-party]

`--check` generates into a temporary folder and fails if the checked-in code differs;
`--third-party` only brings the protos that ours import into build/protos, where buf wants them.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THIRD_PARTY = ROOT / "build" / "protos"
GENERATOR = ROOT / ".venv-generate" / "bin" / "python"
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def copy_third_party() -> None:
    """Copies google/api and google/rpc protos out of the wheel googleapis-common-protos."""
    for package in ("google.api", "google.rpc"):
        spec = find_spec(package)
        assert spec is not None, package
        assert spec.submodule_search_locations is not None, package
        source = Path(next(iter(spec.submodule_search_locations)))
        target = THIRD_PARTY / package.replace(".", "/")
        target.mkdir(parents=True, exist_ok=True)
        for proto in source.glob("*.proto"):
            shutil.copyfile(proto, target / proto.name)


def generate(out: Path) -> None:
    """Runs protoc (the oldest supported, in .venv-generate) with the typing plug-ins of .venv."""
    protos = sorted(
        str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto").rglob("*.proto")
    )
    services = [proto for proto in protos if proto.endswith("_service.proto")]
    base = [str(GENERATOR), "-m", "grpc_tools.protoc", "-Iproto", "-Ibuild/protos"]
    typed = Path(sys.executable).parent
    subprocess.run(
        [
            *base,
            f"--plugin=protoc-gen-mypy={typed}/protoc-gen-mypy",
            f"--python_out={out}",
            f"--mypy_out=quiet:{out}",
            *protos,
        ],
        cwd=ROOT,
        check=True,
    )
    subprocess.run(
        [
            *base,
            f"--plugin=protoc-gen-mypy_grpc={typed}/protoc-gen-mypy_grpc",
            f"--grpc_python_out={out}",
            f"--mypy_grpc_out=quiet:{out}",
            *services,
        ],
        cwd=ROOT,
        check=True,
    )


def generated(root: Path) -> set[Path]:
    """The generated files below a folder, relative to it."""
    return {
        path.relative_to(root)
        for suffix in SUFFIXES
        for path in (root / "subgrpc").rglob(f"*{suffix}")
    }


def main() -> int:
    """Generates, or compares; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true")
    mode.add_argument("--third-party", action="store_true")
    options = parser.parse_args()
    copy_third_party()
    if options.third_party:
        return 0
    if not options.check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        names = generated(fresh) | generated(ROOT)
        stale = [
            str(name)
            for name in sorted(names)
            if not (fresh / name).exists()
            or not (ROOT / name).exists()
            or not filecmp.cmp(fresh / name, ROOT / name, shallow=False)
        ]
    if stale:
        print(
            "not what the protos generate; run `make generate`:",
            *stale,
            sep="\n  ",
            file=sys.stderr,
        )
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
