"""What the experiments run, and what they must have written: known from their uid alone.

A task appends a line to the shared ledger when it starts and when it ends (one write with O_APPEND
each), and in between prints numbered lines to both streams.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from subgrpc.v1.experiment_service_pb2 import Experiment

SCRIPT = """
echo "start $SUBGRPC_TASK_UID $$" >> "$CRASH_LEDGER"
pad=; while [ ${#pad} -lt $PAD ]; do pad="$pad........"; done
i=0
while [ $i -lt $LINES ]; do
  i=$((i+1)); echo "$SUBGRPC_TASK_UID out $i $pad"; echo "$SUBGRPC_TASK_UID err $i" >&2
  case $i in *0) [ -z "$PAUSE" ] || sleep $PAUSE;; esac
done
[ -z "$KEEP" ] || seq $KEEP > "$SUBGRPC_OUTPUT_DIR/model/early"
[ -z "$LAST" ] || sleep $LAST
[ -z "$KEEP" ] || seq $KEEP > "$SUBGRPC_OUTPUT_DIR/model/numbers"
code=0; [ $SUBGRPC_ATTEMPT -gt $FAILURES ] || code=3
echo "end $SUBGRPC_TASK_UID $code" >> "$CRASH_LEDGER"
exit $code
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of experiment.

    Attributes:
        weight: how often it comes.
        outcome: the state in which it ends when nothing disturbs it; empty: it may be any.
        reason: the same for the reason.
        lines: how many lines each task prints to each stream.
        pad: about how many more bytes a line of stdout has.
        pause: seconds to sleep after every ten lines.
        last: seconds to sleep at the end.
        failures: so many attempts fail with code 3.
        retries: how many attempts may follow the first.
        timeout: seconds; 0: none.
        roles: role and replicas.
        keep: numbers that each task leaves in a file of the output `model`; 0: it has no output.
        action: what the client does to it: `cancel`, `delete`, `label`, or nothing.
    """

    weight: int
    outcome: str = "SUCCEEDED"
    reason: str = ""
    lines: int = 12
    pad: int = 0
    pause: float = 0.0
    last: float = 0.0
    failures: int = 0
    retries: int = 0
    timeout: float = 0.0
    roles: tuple[tuple[str, int], ...] = (("main", 1),)
    keep: int = 0
    action: str = ""


KINDS = {
    "quick": Kind(40),
    "slow": Kind(14, lines=60, pause=0.1, last=0.2),
    "big": Kind(3, lines=300, pad=1000),
    "multi": Kind(8, lines=30, pause=0.05, roles=(("worker", 2), ("chief", 1))),
    "fails": Kind(7, outcome="FAILED", reason="ExitCode", failures=9),
    "retried": Kind(8, failures=1, retries=3),
    "output": Kind(8, keep=2000),
    "checkpoints": Kind(4, keep=200, last=2.5),
    "timeout": Kind(4, outcome="FAILED", reason="Timeout", last=30.0, timeout=0.5),
    "cancelled": Kind(7, outcome="", lines=40, pause=0.1, last=20.0, action="cancel"),
    "deleted": Kind(6, outcome="", lines=40, pause=0.1, last=20.0, action="delete"),
    "labelled": Kind(3, lines=30, pause=0.1, action="label"),
}


def choose(rng: random.Random) -> str:
    """A kind, by weight."""
    (name,) = rng.choices(list(KINDS), [kind.weight for kind in KINDS.values()])
    return name


def experiment(name: str, rid: str, env: dict[str, str], cluster: str) -> Experiment:
    """The experiment of a kind, marked with the id of the request that makes it."""
    kind = KINDS[name]
    made = Experiment(labels={"kind": name, "rid": rid})
    made.spec.cluster = cluster
    for role, replicas in kind.roles:
        group = made.spec.task_groups.add(role=role, replicas=replicas, command=SCRIPT)
        group.resources.cpu = "1"
    values = {
        **env,
        "LINES": str(kind.lines),
        "PAD": str(kind.pad),
        "PAUSE": str(kind.pause or ""),
        "LAST": str(kind.last or ""),
        "FAILURES": str(kind.failures),
        "KEEP": str(kind.keep or ""),
    }
    for key, value in values.items():
        made.spec.env.add(name=key, value=value)
    made.spec.retry_policy.max_retries = kind.retries
    made.spec.retry_policy.initial_backoff.FromMilliseconds(100)
    made.spec.termination_grace_period.FromMilliseconds(200)
    if kind.keep:
        output = made.spec.outputs.add(name="model", every_task=True, model="numbers")
        if name == "checkpoints":
            output.interval.FromSeconds(1)
    if kind.timeout:
        made.spec.timeout.FromMilliseconds(int(kind.timeout * 1000))
    return made


def output(name: str, task_uid: str, stream: str) -> bytes:
    """All that a task of a kind prints to `out` or `err`, if nobody stops it."""
    kind = KINDS[name]
    pad = " " + "." * (-(-kind.pad // 8) * 8) if stream == "out" else ""
    lines = (f"{task_uid} {stream} {i}{pad}\n" for i in range(1, kind.lines + 1))
    return "".join(lines).encode()


def tasks(name: str) -> list[str]:
    """The ids of its tasks."""
    return [f"{role}-{index}" for role, count in KINDS[name].roles for index in range(count)]
