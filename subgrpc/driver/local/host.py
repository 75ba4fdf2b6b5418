"""What this host has: processors, memory and GPUs that its control group lets us use."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from subgrpc.agent import cgroup
from subgrpc.driver.local.options import HostOptions

_NVIDIA_SMI_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Host:
    """What all tasks together may use.

    Attributes:
        cpu: millicores.
        memory: bytes.
        gpus: the ids of the GPUs, as CUDA_VISIBLE_DEVICES has them.
        cgroup: the folder in which a task's control group can be made; empty: nowhere.
    """

    cpu: int
    memory: int
    gpus: tuple[str, ...]
    cgroup: str


def look(options: HostOptions) -> Host:
    """Returns what the host has, or what the operator says that it has. May take a second."""
    return Host(
        cpu=options.cpu if options.cpu is not None else _cpu(),
        memory=options.memory if options.memory is not None else _memory(),
        gpus=options.gpus if options.gpus is not None else _gpus(),
        cgroup=cgroup.find_parent(),
    )


def _cpu() -> int:
    """Millicores that this process may use: its affinity, less where a quota is set."""
    allowed = len(os.sched_getaffinity(0)) * 1000
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if not quota:
        quota = _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
        period = _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    if quota.isdecimal() and period.isdecimal() and int(period):
        return max(1, min(allowed, int(quota) * 1000 // int(period)))
    return allowed


def _memory() -> int:
    """Bytes of memory, less where a limit is set for all that we start."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limit = _read(path)
        if limit.isdecimal() and int(limit):
            total = min(total, int(limit))
    return total


def _gpus() -> tuple[str, ...]:
    """The numbers of NVIDIA's GPUs in the order of the PCI bus; none where there is no driver."""
    folder = Path("/proc/driver/nvidia/gpus")
    program = shutil.which("nvidia-smi")
    if program is not None:
        command = [program, "--query-gpu=index", "--format=csv,noheader"]
        try:
            answer = subprocess.run(
                command, capture_output=True, text=True, timeout=_NVIDIA_SMI_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return ()  # installed, but no driver is loaded
        return tuple(line.strip() for line in answer.stdout.splitlines() if line.strip())
    return (
        tuple(str(number) for number, _ in enumerate(folder.iterdir())) if folder.exists() else ()
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
