"""A control group for one task's memory limit: version 2 or 1, where it may be written."""

from __future__ import annotations

import os

PROCS = "cgroup.procs"


def find_parent() -> str:
    """Returns the folder in which groups with a memory limit can be made; empty: nowhere."""
    try:
        with open("/proc/self/cgroup") as file:
            own = {
                fields[1]: fields[2]
                for fields in (line.rstrip("\n").split(":", 2) for line in file)
            }
        with open("/proc/self/mountinfo") as file:
            mounts = [_mount(line) for line in file]
    except OSError:
        return ""
    for kind, controllers, root, point in mounts:
        if kind == "cgroup" and "memory" in controllers:
            parent = _below(point, root, own.get("memory", "/"))
            if _usable(parent):
                return parent
    for kind, _, root, point in mounts:
        if kind == "cgroup2":
            parent = delegated(point, _below(point, root, own.get("", "/")))
            if parent:
                return parent
    return ""


def create(folder: str, limit: int) -> None:
    """Makes a group with a memory limit in bytes, swap included.

    Raises:
        OSError: it cannot be made; nothing is left.
    """
    os.makedirs(folder, exist_ok=True)  # it may be left by a supervisor that was killed
    try:
        if os.path.exists(os.path.join(folder, "memory.max")):
            _write(folder, "memory.max", limit)
            _write_if_there(folder, "memory.swap.max", 0)
            _write_if_there(folder, "memory.oom.group", 1)
        else:
            _write(folder, "memory.limit_in_bytes", limit)
            _write_if_there(folder, "memory.memsw.limit_in_bytes", limit)
    except OSError:
        remove(folder)
        raise


def oom_kills(folder: str) -> int:
    """Returns how often the kernel killed a process of the group for its memory."""
    for name in ("memory.events", "memory.oom_control"):
        try:
            with open(os.path.join(folder, name)) as file:
                for line in file:
                    key, _, value = line.partition(" ")
                    if key == "oom_kill":
                        return int(value)
        except (OSError, ValueError):
            continue
    return 0


def members(folder: str) -> list[int]:
    """Returns the pids in a group; none if there is no such group."""
    try:
        with open(os.path.join(folder, PROCS)) as file:
            return [int(line) for line in file]
    except OSError:
        return []


def remove(folder: str) -> bool:
    """Removes a group; False while it still has processes."""
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _mount(line: str) -> tuple[str, list[str], str, str]:
    """Reads a line of mountinfo: file system, its options, root within it, mount point."""
    before, _, after = line.partition(" - ")
    fields, (kind, _, options) = before.split(" "), after.rstrip("\n").split(" ", 2)
    return kind, options.split(","), fields[3], fields[4]


def _below(point: str, root: str, path: str) -> str:
    """Where a group's path stands below a mount; the mount itself if it is not visible there."""
    inner = path[len(root) :] if root != "/" and path.startswith(root) else path
    folder = os.path.normpath(point + "/" + inner)
    return folder if os.path.isdir(folder) else point


def delegated(point: str, folder: str) -> str:
    """The nearest group upwards that hands memory on to its children and may be written."""
    while folder.startswith(point):
        try:
            with open(os.path.join(folder, "cgroup.subtree_control")) as file:
                if "memory" in file.read().split() and _usable(folder):
                    return folder
        except OSError:
            pass
        if folder == point:
            break
        folder = os.path.dirname(folder)
    return ""


def _usable(folder: str) -> bool:
    return os.access(folder, os.W_OK | os.X_OK) and os.access(os.path.join(folder, PROCS), os.W_OK)


def _write(folder: str, name: str, value: int) -> None:
    descriptor = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, b"%d" % value)
    finally:
        os.close(descriptor)


def _write_if_there(folder: str, name: str, value: int) -> None:
    """Kernels without swap accounting lack some files; the limit proper stands without them."""
    try:
        _write(folder, name, value)
    except OSError:
        return
