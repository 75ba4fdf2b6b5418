"""What a supervisor is asked to do, and how that reaches it.

It comes over standard input, since it holds secrets: never on disk, never in an argument list.
The form is that of /proc/PID/environ, `key=value` fields that end with NUL: what a process is made
of cannot hold a NUL, values need not be text, and no parser has to be imported.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing it costs 1.5 ms
    from collections.abc import Mapping, Sequence


class Request:
    """One task to supervise.

    Attributes:
        args: the argument vector.
        env: the whole environment.
        cwd: the folder to start in.
        grace: seconds between SIGTERM and SIGKILL.
        timeout: seconds that the process may run; 0: for ever.
        memory: the limit in bytes; 0: none.
        cgroup: the folder of the control group to make for the limit; empty: none.
        outputs: files to take, as `outputs.decode` reads them.
        out: the folder $SUBGRPC_OUTPUT_DIR, where there are outputs.
        folders: to be made before the process starts, in this order.
    """

    __slots__ = (
        "args",
        "cgroup",
        "cwd",
        "env",
        "folders",
        "grace",
        "memory",
        "out",
        "outputs",
        "timeout",
    )

    def __init__(
        self,
        args: Sequence[bytes],
        env: Mapping[bytes, bytes],
        cwd: bytes,
        grace: float = 10.0,
        timeout: float = 0.0,
        memory: int = 0,
        cgroup: str = "",
        outputs: Sequence[bytes] = (),
        out: bytes = b"",
        folders: Sequence[bytes] = (),
    ) -> None:
        self.args = list(args)
        self.env = dict(env)
        self.cwd = cwd
        self.grace = grace
        self.timeout = timeout
        self.memory = memory
        self.cgroup = cgroup
        self.outputs = list(outputs)
        self.out = out
        self.folders = list(folders)


def encode(request: Request) -> bytes:
    """Returns the bytes that `decode` reads.

    Raises:
        ValueError: an argument, a variable or the folder holds a NUL.
    """
    fields = [b"arg=" + arg for arg in request.args]
    fields += [b"env=" + name + b"=" + value for name, value in request.env.items()]
    fields += [b"output=" + output for output in request.outputs]
    fields += [b"folder=" + folder for folder in request.folders]
    fields += [
        b"cwd=" + request.cwd,
        b"out=" + request.out,
        b"grace=%r" % request.grace,
        b"timeout=%r" % request.timeout,
        b"memory=%d" % request.memory,
        b"cgroup=" + request.cgroup.encode(),
        b"end=",
    ]
    if any(b"\0" in field for field in fields):
        raise ValueError("an argument or variable holds a NUL character")
    return b"\0".join(fields) + b"\0"


def decode(data: bytes) -> Request:
    """Reads what `encode` wrote.

    Raises:
        ValueError: it is not complete.
    """
    fields = data.split(b"\0")
    if fields[-2:] != [b"end=", b""]:
        raise ValueError("the request is not complete")
    request = Request([], {}, b"")
    for field in fields[:-2]:
        key, _, value = field.partition(b"=")
        if key == b"env":
            name, _, content = value.partition(b"=")
            request.env[name] = content
        elif key == b"arg":
            request.args.append(value)
        elif key == b"cwd":
            request.cwd = value
        elif key == b"out":
            request.out = value
        elif key == b"output":
            request.outputs.append(value)
        elif key == b"folder":
            request.folders.append(value)
        elif key == b"memory":
            request.memory = int(value)
        elif key == b"cgroup":
            request.cgroup = value.decode()
        elif key in (b"grace", b"timeout"):
            setattr(request, key.decode(), float(value))
    return request
