"""The outputs of one task: taken at its end, and now and then while it runs.

Loaded only for tasks that have some. What is taken while the task runs is taken by a child, so that
copying keeps nobody from stopping the task in time.
"""

from __future__ import annotations

import errno
import os
import time

from . import libc, signals
from .request import Request
from .signals import signal
from .status import Status
from .taking import ABOUT, FOLDER, OutOfTimeError, Source, TakeError, Taking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIMIT = 3600.0
"""Most seconds that taking the outputs of a task at its end may last."""
WAITING = 2
"""So many checkpoints of an output may wait to be stored; while they do, none is taken."""
_AGAIN = 1.0
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_SEPARATOR = b"\n"


class Output:
    """What is to be taken.

    Attributes:
        name: its name.
        paths: its patterns; none: the folder of its name.
        always: take it also if the task did not succeed.
        optional: nothing is wrong if there is no file.
        interval: seconds between two checkpoints; 0: none are taken.
    """

    def __init__(
        self,
        name: str,
        paths: Sequence[bytes] = (),
        always: bool = False,
        optional: bool = False,
        interval: float = 0.0,
    ) -> None:
        self.name = name
        self.paths = list(paths)
        self.always = always
        self.optional = optional
        self.interval = interval

    @property
    def place(self) -> str:
        """Where its files are looked for, for people."""
        shown = b", ".join(self.paths).decode("utf-8", "replace")
        return shown or f"$SUBGRPC_OUTPUT_DIR/{self.name}"


def encode(output: Output) -> bytes:
    """Returns the bytes that `decode` reads.

    Raises:
        ValueError: a pattern holds a line break.
    """
    if any(_SEPARATOR in path for path in output.paths):
        raise ValueError("a pattern holds a line break")
    first = f"{output.name} {output.always:d} {output.optional:d} {output.interval!r}"
    return _SEPARATOR.join([first.encode(), *output.paths])


def decode(data: bytes) -> Output:
    """Reads what `encode` wrote."""
    first, *paths = data.split(_SEPARATOR)
    name, always, optional, interval = first.split(b" ")
    return Output(name.decode(), paths, always == b"1", optional == b"1", float(interval))


class Outputs:
    """The outputs of a task under supervision.

    Attributes:
        due: when (monotonic) the next checkpoint is to be taken; None: never, or one is being
            taken now.
    """

    def __init__(self, folder: str, request: Request, point: Callable[[str], None]) -> None:
        """`point` is told where we are, for tests."""
        self._folder = folder
        self._outputs = [decode(each) for each in request.outputs]
        self._source = Source(request.cwd, request.out, os.fsencode(folder))
        self._point = point
        self._sequences = dict.fromkeys((each.name for each in self._outputs), 0)
        now = time.monotonic()
        self._times = {e.name: now + e.interval for e in self._outputs if e.interval}
        self._child = 0

    @property
    def due(self) -> float | None:
        """When the next checkpoint is to be taken."""
        return min(self._times.values(), default=None) if not self._child else None

    def begin(self, now: float) -> None:
        """Begins to take what is due, in a child."""
        chosen = [each for each in self._outputs if self._times.get(each.name, now + 1) <= now]
        for each in chosen:
            self._times[each.name] = now + each.interval
        chosen = [each for each in chosen if self._waiting(each) < WAITING]
        for each in chosen:
            self._sequences[each.name] += 1
        if not chosen:
            return
        parent = os.getpid()
        try:
            self._child = os.fork()
        except OSError as error:
            _log(f"no checkpoint: {error}")
            return
        if self._child == 0:
            self._be_child(parent, chosen)

    def ended(self, pid: int) -> None:
        """A child has ended, perhaps ours."""
        if pid == self._child:
            self._child = 0

    def abandon(self) -> None:
        """Ends the child: the task has ended, and is looked at as a whole."""
        if self._child:
            os.kill(self._child, signal.SIGKILL)

    def finish(self, status: Status, left: Callable[[], float]) -> None:
        """Takes what is to be taken at the end; a task without a required output has failed.

        Args:
            status: how the task ended.
            left: says how many seconds there are left; called again and again.
        """
        for output in self._outputs:
            if status.outcome != "succeeded" and not output.always:
                continue
            self._sequences[output.name] += 1
            try:
                taking = self._take_at_last(output, left)
            except (OSError, TakeError, OutOfTimeError) as error:
                text = f"output {output.name!r} cannot be taken: {error}"
                _log(text)
                if not output.optional and status.outcome == "succeeded":
                    status.end("failed", "OutputFailed", text)
                continue
            if not (taking.count or output.optional) and status.outcome == "succeeded":
                text = f"output {output.name!r} has no files: nothing matches {output.place}"
                more = "; ".join(taking.told()[:3])
                status.end("failed", "OutputMissing", f"{text} ({more})" if more else text)
        self._point("agent.taken")

    def _take_at_last(self, output: Output, left: Callable[[], float]) -> Taking:
        def tick() -> None:
            if left() <= 0:
                raise OutOfTimeError("there was no time left for it")

        while True:
            taking = self._taking(output, True)
            try:
                taking.take(self._source, output.paths, tick)
            except OSError as error:
                if error.errno not in _PASSING or left() <= _AGAIN:
                    raise
                _log(f"output {output.name!r} is tried again: {error}")
                time.sleep(_AGAIN)
            else:
                return taking

    def _taking(self, output: Output, final: bool) -> Taking:
        return Taking(self._folder, output.name, self._sequences[output.name], final)

    def _waiting(self, output: Output) -> int:
        """How many checkpoints of an output were not released yet."""
        home = os.path.join(self._folder, FOLDER, output.name)
        try:
            return sum(os.path.exists(os.path.join(home, e, ABOUT)) for e in os.listdir(home))
        except FileNotFoundError:
            return 0

    def _be_child(self, parent: int, chosen: Sequence[Output]) -> None:
        """Takes checkpoints; never returns."""
        try:
            libc.die_with_parent(signal.SIGKILL)
            signals.reset()
            if os.getppid() == parent:
                for output in chosen:
                    self._checkpoint(output)
        finally:
            os._exit(0)

    def _checkpoint(self, output: Output) -> None:
        try:
            self._taking(output, False).take(self._source, output.paths, _nothing)
        except (OSError, TakeError) as error:
            _log(f"no checkpoint of {output.name!r}: {error}")
        self._point("agent.checkpoint")


def _nothing() -> None:
    """There is time enough."""


def _log(text: str) -> None:
    try:
        os.write(2, (text + "\n").encode("utf-8", "replace"))
    except OSError:
        return
