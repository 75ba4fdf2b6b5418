"""Following a running experiment: its output, and on stderr what keeps it waiting."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from subgrpc import names
from subgrpc.cli import output
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


def follow(client: Client, experiment: Experiment, writer: LogWriter, *, quiet: bool) -> Experiment:
    """Writes an experiment's output until it has ended, and returns it as it is then."""
    silent: dict[str, Any] = {} if quiet else note_loss()
    frames = client.follow_logs(experiment.name, **silent)
    with _Progress(client, experiment, quiet=quiet), frames:
        for frame in frames:
            writer.take(frame)
    writer.finish()
    # The output is complete; the state is too, but for a moment perhaps.
    return client.wait(experiment.name)


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
            output.note(text)
