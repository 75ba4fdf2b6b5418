"""What the tasks of the driver contract do: steps that a shell carries out, and the fake reads.

A program is an argument vector for any POSIX `sh`, whose third word is ignored by the shell and
holds the same steps as JSON: so a backend in memory knows what a real one would have done.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import NamedTuple

_MARK = "subgrpc-contract"
"""The `$0` of a program."""
FOREVER = 600.0
"""Seconds: longer than any test waits."""


class Step(NamedTuple):
    """One thing that a task does.

    Attributes:
        kind: which.
        number: seconds, bytes, lines, an exit code or a signal, by kind.
        text: bytes as latin-1, or a variable's name.
        stream: 1: stdout, 2: stderr.
    """

    kind: str
    number: float = 0
    text: str = ""
    stream: int = 1

    def written(self) -> bytes:
        """The bytes of `write`, `lines` and `fill`."""
        count = int(self.number)
        if self.kind == "lines":
            return b"".join(b"%d\n" % number for number in range(1, count + 1))
        if self.kind == "fill":
            return b"x" * count
        return self.text.encode("latin-1")

    def kept(self) -> dict[str, bytes]:
        """The files of `keep`, `keep_large` and `keep_many`, by path."""
        count = int(self.number)
        if self.kind == "keep":
            path, text = json.loads(self.text)
            return {path: text.encode("latin-1")}
        if self.kind == "keep_large":
            return {self.text: b"x" * count}
        if self.kind == "keep_many":
            return {f"{self.text}/{each}": b"%d" % each for each in range(1, count + 1)}
        return {}


def write(data: bytes, stream: int = 1) -> Step:
    """Writes bytes, all at once."""
    return Step("write", text=data.decode("latin-1"), stream=stream)


def lines(count: int, stream: int = 1) -> Step:
    """Writes the numbers from 1, a line each."""
    return Step("lines", count, stream=stream)


def fill(count: int, stream: int = 1) -> Step:
    """Writes so many `x`."""
    return Step("fill", count, stream=stream)


def variable(name: str) -> Step:
    """Writes an environment variable's value and a NUL; nothing but a NUL if there is none."""
    return Step("variable", text=name)


def arguments() -> Step:
    """Writes the program's own arguments, a NUL after each."""
    return Step("arguments")


def wait(seconds: float = FOREVER) -> Step:
    """Does nothing."""
    return Step("wait", seconds)


def leave(code: int) -> Step:
    """Ends with an exit code."""
    return Step("leave", code)


def die(signal: int) -> Step:
    """Ends by a signal."""
    return Step("die", signal)


def ignore_term() -> Step:
    """Ignores SIGTERM from now on, and so do the processes that it starts."""
    return Step("ignore_term")


def on_term(seconds: float, last_words: bytes, code: int) -> Step:
    """On SIGTERM waits, writes, and ends with an exit code."""
    return Step("on_term", seconds, json.dumps([last_words.decode("latin-1"), code]))


def daemon() -> Step:
    """Leaves a process of its own session behind."""
    return Step("daemon")


def keep(path: str, data: bytes) -> Step:
    """Writes a file below $SUBGRPC_OUTPUT_DIR; one that is there is replaced at once."""
    return Step("keep", text=json.dumps([path, data.decode("latin-1")]))


def keep_large(path: str, count: int) -> Step:
    """Writes a file of so many `x` below $SUBGRPC_OUTPUT_DIR."""
    return Step("keep_large", count, path)


def keep_many(folder: str, count: int) -> Step:
    """Writes files called 1, 2, … in a folder below $SUBGRPC_OUTPUT_DIR; each holds its name."""
    return Step("keep_many", count, folder)


def show(path: str) -> Step:
    """Writes the content of a file below $SUBGRPC_INPUT_DIR."""
    return Step("show", text=path)


def hash_of(path: str) -> Step:
    """Writes what `sha256sum` says of a file below $SUBGRPC_INPUT_DIR that it reads from stdin."""
    return Step("hash_of", text=path)


def spoil(path: str) -> Step:
    """Tries to add to a file below $SUBGRPC_INPUT_DIR, which may be refused."""
    return Step("spoil", text=path)


def program(*steps: Step, arguments: Sequence[str] = ()) -> list[str]:
    """Returns the argument vector of a program."""
    traps = any(step.kind == "on_term" for step in steps)
    script = "; ".join(["shift", *(_shell(step, traps) for step in steps)])
    return ["sh", "-c", script, _MARK, json.dumps(steps), *arguments]


def read(args: Sequence[str]) -> tuple[list[Step], list[str]] | None:
    """Returns a program's steps and arguments; None: the argument vector is no program."""
    if len(args) < 5 or args[3] != _MARK:
        return None
    return [Step(*step) for step in json.loads(args[4])], list(args[5:])


def _shell(step: Step, traps: bool) -> str:
    target = " >&2" if step.stream == 2 else ""
    count = int(step.number)
    if step.kind == "write":
        return f"printf {_octal(step.text)}{target}"
    if step.kind == "lines":
        return f"seq {count}{target}"
    if step.kind == "fill":
        return f"head -c {count} /dev/zero | tr '\\0' x{target}"
    if step.kind == "variable":
        return f"printf '%s\\0' \"${step.text}\""
    if step.kind == "arguments":
        return 'for each in "$@"; do printf \'%s\\0\' "$each"; done'
    if step.kind == "wait":
        # A shell that waits for a child it did not replace itself with runs its trap at once.
        return f"sleep {step.number:g} & wait $!" if traps else f"sleep {step.number:g}"
    if step.kind == "leave":
        return f"exit {count}"
    if step.kind == "die":
        return f"kill -{count} $$"
    if step.kind == "ignore_term":
        return "trap '' TERM"
    if step.kind == "daemon":
        return f"(setsid sleep {FOREVER:g} >/dev/null 2>&1 &)"
    if step.kind in ("show", "hash_of", "spoil"):
        place = '"$SUBGRPC_INPUT_DIR"/' + shlex.quote(step.text)
        commands = {"show": f"cat {place}", "hash_of": f"sha256sum < {place}"}
        return commands.get(step.kind, f"(echo x >> {place}) 2>/dev/null || :")
    if step.kind.startswith("keep"):
        return _keeping(step, count)
    if step.kind == "on_term":
        words, code = json.loads(step.text)
        action = f"sleep {step.number:g}; printf {_octal(words)}; exit {code}"
        return f"trap {shlex.quote(action)} TERM"
    raise ValueError(f"there is no step {step.kind!r}")


def _keeping(step: Step, count: int) -> str:
    path = step.text if step.kind != "keep" else json.loads(step.text)[0]
    place = '"$SUBGRPC_OUTPUT_DIR"/' + shlex.quote(path)
    if step.kind == "keep_many":
        return f'mkdir -p {place}; for i in $(seq {count}); do printf $i > {place}/"$i"; done'
    folder = f'mkdir -p "$(dirname {place})"'
    if step.kind == "keep_large":
        return f"{folder}; head -c {count} /dev/zero | tr '\\0' x > {place}"
    text = _octal(json.loads(step.text)[1])
    return f"{folder}; printf {text} > {place}.new; mv {place}.new {place}"


def _octal(text: str) -> str:
    """A format for printf that writes any bytes, and has none that a shell minds."""
    return "'" + "".join(f"\\{byte:03o}" for byte in text.encode("latin-1")) + "'"
