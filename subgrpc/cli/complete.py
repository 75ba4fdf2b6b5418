"""What the shell offers behind Tab: names of experiments, tasks, clusters and contexts.

A shell waits for the answer, so a server that is slow or absent means no offers, and no message.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from subgrpc.client import Client

_MOST = 100
_PATIENCE = 2.0


def contexts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of contexts."""
    from subgrpc.cli.contexts import load
    from subgrpc.errors import SubgrpcError

    try:
        return [each for each in load().servers if each.startswith(incomplete)]
    except (SubgrpcError, OSError):
        return []


def experiments(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of experiments, the newest first."""
    from subgrpc.cli.options import short_name

    wanted = _beginning("experiment_id", incomplete)
    if wanted is None:
        return []

    def ask(client: Client) -> list[str]:
        found = client.list_experiments(filter=wanted, page_size=_MOST)
        return [short_name(each.name) for each in itertools.islice(found, _MOST)]

    return _not_given(ctx, param, _asked(ctx, ask))


def artifacts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of artifacts, the newest first."""
    from subgrpc.cli.options import short_artifact

    wanted = _beginning("artifact_id", incomplete)
    if wanted is None:
        return []

    def ask(client: Client) -> list[str]:
        found = client.list_artifacts(filter=wanted, page_size=_MOST)
        return [short_artifact(each.name) for each in itertools.islice(found, _MOST)]

    return _not_given(ctx, param, _asked(ctx, ask))


def tasks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Tasks of the experiment on the command line."""
    from subgrpc.cli.options import full_name

    # Behind an option that still lacks its value, click has not assigned arguments yet.
    name = ctx.params.get("name") or next(iter(ctx.args), "")
    if not name:
        return []

    def ask(client: Client) -> list[str]:
        found = client.list_tasks(full_name(name))
        return [f"{each.status.role}/{each.status.index}" for each in found]

    return [each for each in _asked(ctx, ask) if each.startswith(incomplete)]


def clusters(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of clusters."""

    def ask(client: Client) -> list[str]:
        return [each.name.removeprefix("clusters/") for each in client.list_clusters()]

    return [each for each in _asked(ctx, ask) if each.startswith(incomplete)]


def _beginning(field: str, incomplete: str) -> str | None:
    """The filter of what begins like this; None: no id does."""
    if not all(each.isascii() and (each.isalnum() or each == "-") for each in incomplete):
        return None
    # Ids have lower-case letters, digits and hyphens, all of which come before "~".
    return f'{field} >= "{incomplete}" AND {field} < "{incomplete}~"' if incomplete else ""


def _not_given(ctx: click.Context, param: click.Parameter, found: list[str]) -> list[str]:
    """Those of some names that do not stand on the command line yet."""
    given = ctx.params.get(param.name or "") or ()
    taken = given if isinstance(given, tuple) else ()
    return [each for each in found if each not in taken]


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of models; behind NAME/ the numbers of its versions, behind NAME@ its aliases."""
    model, slash, _ = incomplete.partition("/")
    before, at, _ = incomplete.partition("@")

    def ask(client: Client) -> list[str]:
        if slash:
            found = client.models.versions(model, page_size=_MOST)
            return [f"{model}/{each.number}" for each in itertools.islice(found, _MOST)]
        if at:
            return [f"{before}@{each}" for each in client.models.get(before).aliases]
        found_models = client.models.list(order_by="model_id", page_size=1000)
        return [each.name.rpartition("/")[2] for each in found_models]

    return [each for each in _asked(ctx, ask) if each.startswith(incomplete)]


def _asked(ctx: click.Context, ask: Callable[[Client], list[str]]) -> list[str]:
    from subgrpc.cli.options import connection_of
    from subgrpc.errors import SubgrpcError

    try:
        with connection_of(ctx).open(_PATIENCE) as client:
            return ask(client)
    except (SubgrpcError, OSError, click.UsageError):
        return []
