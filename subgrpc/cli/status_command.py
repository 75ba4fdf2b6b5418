"""`subgrpc status`."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from subgrpc.cli import exitcodes, output
from subgrpc.cli.options import Connection, connection_options, output_option
from subgrpc.errors import Unavailable

if TYPE_CHECKING:
    from subgrpc.client import Client
    from subgrpc.v1.cluster_service_pb2 import Cluster
    from subgrpc.v1.types_pb2 import Resources

_ACTIVE = "state = QUEUED OR state = STARTING OR state = RUNNING OR state = CANCELLING"
_MOST = 10_000


@click.command("status")
@output_option
@connection_options
def command(connection: Connection, as_json: bool) -> int:
    """Show whether the server can be reached, its version, its clusters, and what runs.

    Exit codes: 0 it can be reached, 3 no server answers, 1 it refused to answer, 2 wrong usage.
    """
    from subgrpc.client.statuses import SERVER_UNREACHABLE

    with connection.open() as client:
        try:
            clusters = list(client.list_clusters())
        except Unavailable as error:
            if error.reason != SERVER_UNREACHABLE:
                raise
            return _unreachable(connection.address, error, as_json)
        version = client.server_version()
        counts = _counts(client)
    if as_json:
        facts: dict[str, Any] = {"address": connection.address, "reachable": True}
        facts |= {"version": version, "experiments": counts, "clusters": clusters}
        output.print_json(facts)
        return exitcodes.OK
    active = ", ".join(f"{count} {state}" for state, count in counts.items())
    output.print_facts(
        [
            ("Server", connection.address),
            ("Version", version),
            ("Experiments", active or "none queued or running"),
        ]
    )
    click.echo()
    output.print_table(
        ["CLUSTER", "DRIVER", "HEALTH", "CPU", "MEMORY", "GPUS", "WHY"],
        [_row(each) for each in clusters],
    )
    return exitcodes.OK


def _unreachable(address: str, error: Unavailable, as_json: bool) -> int:
    from subgrpc.cli.complaints import complaint

    if as_json:
        output.print_json({"address": address, "reachable": False, "message": error.message})
    output.note(complaint(error))
    return exitcodes.NOT_RUNNING


def _counts(client: Client) -> dict[str, int]:
    """How many experiments are in which state, of those that have not ended."""
    found = client.list_experiments(filter=_ACTIVE, page_size=1000)
    return dict(Counter(output.state_word(each) for each in itertools.islice(found, _MOST)))


def _row(cluster: Cluster) -> list[str]:
    from subgrpc.v1.cluster_service_pb2 import ClusterHealth

    name = cluster.name.removeprefix("clusters/") + (" (default)" if cluster.default else "")
    health = output.enum_word(ClusterHealth.Name(cluster.health), "CLUSTER_HEALTH_")
    why = ": ".join(each for each in (cluster.reason, cluster.message) if each)
    used, room = cluster.allocated, cluster.capacity
    return [
        name,
        cluster.driver,
        health,
        _of(used.cpu or "0", room.cpu),
        _of(_memory(used) or "0", _memory(room)),
        _of(str(used.gpus), str(room.gpus)) if room.gpus else "",
        why,
    ]


def _of(used: str, room: str) -> str:
    return f"{used} of {room}" if room else ""


def _memory(resources: Resources) -> str:
    from subgrpc.quantities import parse_bytes, show_bytes

    try:
        return show_bytes(parse_bytes(resources.memory)) if resources.memory else ""
    except ValueError:  # "0", or a unit that only its driver knows
        return resources.memory
