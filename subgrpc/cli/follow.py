"""Following a running experiment: its output, and on stderr what keeps it waiting."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from subgrpc import names
from subgrpc.cli import output
from subgrpc.cli.advice import next_step
from subgrpc.cli.ctrlc import CtrlC
from subgrpc.cli.options import short_name
from subgrpc.errors import SubgrpcError

if TYPE_CHECKING:
    from subgrpc.cli.logwriter import LogWriter
    from subgrpc.client import Client
    from subgrpc.v1.experiment_service_pb2 import Experiment


def many_tasks(experiment: Experiment) -> bool:
    """Whether an experiment has more than one task."""
    groups = experiment.spec.task_groups
    return sum(each.replicas if each.HasField("replicas") else 1 for each in groups) > 1


def note_loss() -> dict[str, Any]:
    """The callbacks of a stream that say on stderr that the connection is lost, and is back."""

    def lost(error: SubgrpcError) -> None:
        output.note(f"{error.message}; experiments go on; trying again for ten minutes")

    return {"on_loss": lost, "on_back": lambda: output.note("connected again")}


class Follower:
    """Writes an experiment's output until it has ended; can be interrupted and go on."""

    def __init__(
        self, client: Client, experiment: Experiment, writer: LogWriter, *, quiet: bool
    ) -> None:
        self._client = client
        self._experiment = experiment
        self._writer = writer
        self._quiet = quiet
        self._token = ""

    def follow(self) -> Experiment:
        """Writes what was not written yet, and returns the experiment as it is at its end."""
        silent: dict[str, Any] = {} if self._quiet else note_loss()
        name = self._experiment.name
        frames = self._client.follow_logs(name, resume_token=self._token, **silent)
        progress = _Progress(self._client, self._experiment, quiet=self._quiet)
        with frames, progress, CtrlC(frames.close) as ctrl_c:
            for frame in frames:
                self._writer.take(frame)
                self._token = frame.resume_token or self._token
                if ctrl_c.came:
                    break
        self._writer.finish()
        # The output is complete; the state is too, but for a moment perhaps.
        return self._client.wait(name)


class _Progress:
    """Says in the background why an experiment waits."""

    def __init__(self, client: Client, experiment: Experiment, *, quiet: bool) -> None:
        self._thread = None if quiet else threading.Thread(target=self._run, daemon=True)
        self._changes = client.watch(
            parent=names.team_name(names.parse_experiment(experiment.name).team),
            filter=f'uid = "{experiment.uid}"',
            until_terminal=True,
        )
        self._said = ""

    def __enter__(self) -> None:
        if self._thread is not None:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._changes.close()
        if self._thread is not None:
            self._thread.join(2.0)

    def _run(self) -> None:
        try:
            for frame in self._changes:
                if frame.WhichOneof("frame") == "change":
                    self._say(frame.change.experiment)
        except (SubgrpcError, OSError):
            return  # the log stream meets the same lost server or closed pipe, and reports it

    def _say(self, experiment: Experiment) -> None:
        state = output.state_word(experiment)
        if state not in ("QUEUED", "CANCELLING") or not experiment.message:
            return
        text = f"{short_name(experiment.name)} is {state}: {output.clean(experiment.message)}"
        if text != self._said:
            self._said = text
            step = next_step(experiment)
            output.note(f"{text}\n  {step}" if step else text)
