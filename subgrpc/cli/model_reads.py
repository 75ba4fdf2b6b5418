"""`subgrpc model list`, `get`, `search`, `history`, `watch`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from subgrpc.cli import complete, output
from subgrpc.cli.changes import ChangePrinter
from subgrpc.cli.ctrlc import CtrlC
from subgrpc.cli.follow import note_loss
from subgrpc.cli.kinds import Kind
from subgrpc.cli.model_kinds import (
    HISTORY,
    MODELS,
    VERSIONS,
    WATCHED,
    aliases_text,
    fields_text,
    framework_text,
    metrics_text,
    short_model,
    tags_text,
)
from subgrpc.cli.options import (
    Connection,
    connection_options,
    output_option,
    short_artifact,
    short_name,
)

if TYPE_CHECKING:
    from subgrpc.v1.model_registry_service_pb2 import Model, ModelChange, ModelVersion

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
CODES = "Exit codes: 0 done, 1 could not be done (not found, ...), 2 wrong usage."


def _list_options(command: F) -> F:
    for decorate in (
        click.option(
            "--limit",
            type=click.IntRange(0),
            default=50,
            show_default=True,
            metavar="N",
            help="At most so many; 0: all.",
        ),
        click.option(
            "--order-by",
            default="",
            metavar="FIELD",
            help="create_time, update_time, of models model_id, of a model's versions number; with "
            '" desc" for descending.',
        ),
    ):
        command = decorate(command)
    return command


@click.command("list", epilog=CODES)
@click.argument("name", default="", shell_complete=complete.models)
@click.option(
    "--filter",
    "filter_",
    default="",
    metavar="FILTER",
    help="Only those that match, such as: tags.task = ocr; of versions: stage = Production",
)
@_list_options
@output_option
@connection_options
def list_models(
    connection: Connection, name: str, filter_: str, order_by: str, limit: int, form: str
) -> None:
    """List models, newest first; with NAME the versions of this one, the greatest number first."""
    chosen: dict[str, Any] = {
        "filter": filter_,
        "order_by": order_by,
        "page_size": _page(limit),
    }
    with connection.open() as client:
        if name:
            _print_list(form, VERSIONS, client.models.versions(name, **chosen), limit, "version")
        else:
            _print_list(form, MODELS, client.models.list(**chosen), limit, "model")


@click.command("search", epilog=CODES)
@click.argument("filter_", metavar="FILTER", default="")
@_list_options
@output_option
@connection_options
def search(connection: Connection, filter_: str, order_by: str, limit: int, form: str) -> None:
    """List the versions of all models that match FILTER, newest first.

    Fields: model_id, number, stage, alias, creator, framework, artifact, experiment, create_time,
    update_time, tags.KEY, metrics.NAME; such as 'stage = Production AND metrics.accuracy >= 0.9'.
    """
    with connection.open() as client:
        found = client.models.versions(filter=filter_, order_by=order_by, page_size=_page(limit))
        _print_list(form, VERSIONS, found, limit, "version")


@click.command("get", epilog=CODES)
@click.argument("name", shell_complete=complete.models)
@output_option
@connection_options
def get(connection: Connection, name: str, form: str) -> None:
    """Show a model, or one version: NAME, NAME/NUMBER or NAME@ALIAS."""
    from subgrpc.client.modelnames import resource_name

    with connection.open() as client:
        if resource_name(name).count("/") > 3:
            version = client.models.version(name)
            _print(form, version, _version_facts(version))
        else:
            model = client.models.get(name)
            _print(form, model, _model_facts(model))


@click.command("history", epilog=CODES)
@click.argument("name", shell_complete=complete.models)
@click.option("--alias", default="", metavar="ALIAS", help="Only what became of this alias.")
@click.option(
    "--version", "number", type=click.IntRange(1), metavar="N", help="Only what concerns version N."
)
@click.option(
    "--filter",
    "filter_",
    default="",
    metavar="FILTER",
    help='Over sequence, type, actor, version, alias, time; such as: type = "StageChanged"',
)
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    metavar="N",
    help="Only the last so many; 0: all.",
)
@output_option
@connection_options
def history(
    connection: Connection,
    name: str,
    alias: str,
    number: int | None,
    filter_: str,
    limit: int,
    form: str,
) -> None:
    """List who changed what of a model, when, from what to what, and why; the last comes last."""
    conditions = (f"({filter_})" * bool(filter_.strip()), alias and f'alias = "{alias}"')
    wanted = [each for each in (*conditions, number and f"version = {number}") if each]
    with connection.open() as client:
        found = client.models.history(
            name, filter=" AND ".join(wanted), order_by="sequence desc" if limit else ""
        )
        events = list(itertools.islice(found, limit + 1 if limit else None))
    more = bool(limit) and len(events) > limit
    HISTORY.print_list(form, events[:limit][::-1] if limit else events)
    if more:
        output.note(f"there is more than the last {limit}: see --limit")


@click.command("watch", epilog=CODES + " 130 interrupted.")
@click.option(
    "--filter",
    "filter_",
    default="",
    metavar="FILTER",
    help="Only those that match, such as: model_id = digits AND kind = VERSION",
)
@output_option
@connection_options
def watch(connection: Connection, filter_: str, form: str) -> None:
    """Print models and versions as they are, then every change in the order in which it happened.

    It ends with Ctrl-C. Server restarts and lost connections are waited over; no change is lost
    or doubled. With -o json every change is one line of JSON, with -o yaml one document.
    """
    with connection.open() as client:
        # A stream is patient with a server that cannot be reached: say so at the start.
        next(client.models.list(page_size=1), None)
        frames = client.watch_models(filter=filter_, **note_loss())
        show = ChangePrinter(form, WATCHED, _resource)
        with frames, CtrlC(frames.close) as ctrl_c:
            for frame in frames:
                if frame.WhichOneof("frame") == "change":
                    show(frame.change)
                if ctrl_c.came:
                    break


def _resource(change: ModelChange) -> Model | ModelVersion:
    return change.model if change.WhichOneof("resource") == "model" else change.model_version


def _page(limit: int) -> int:
    return min(limit + 1, 1000) if limit else 1000


def _print_list(form: str, kind: Kind[T], found: Iterable[T], limit: int, what: str) -> None:
    items = list(itertools.islice(found, limit + 1 if limit else None))
    shown = items[:limit] if limit else items
    kind.print_list(form, shown)
    if not items:
        output.note(f"no {what} matches, or there is none yet: subgrpc model register NAME SOURCE")
    if len(items) > len(shown):
        output.note(f"there are more than {limit}: see --limit")


def _print(form: str, resource: Model | ModelVersion, facts: list[tuple[str, str]]) -> None:
    if form in ("table", "wide"):
        output.print_facts(facts)
    else:
        output.print_document(form, resource, name=short_model(resource.name))


def _model_facts(model: Model) -> list[tuple[str, str]]:
    return [
        ("Name", model.name),
        ("Uid", model.uid),
        ("Display name", model.display_name),
        ("Description", model.description),
        ("Tags", tags_text(model)),
        ("Latest version", str(model.latest_version or "")),
        ("Versions", str(model.version_count)),
        ("Aliases", aliases_text(model)),
        ("Creator", model.creator),
        ("Created", output.when(model.create_time)),
        ("Updated", output.when(model.update_time)),
    ]


def _version_facts(version: ModelVersion) -> list[tuple[str, str]]:
    from subgrpc.cli.kinds import show_size

    lineage, signature = version.lineage, version.signature
    return [
        ("Name", version.name),
        ("Uid", version.uid),
        ("Stage", version.stage),
        ("Since", output.when(version.stage_time)),
        ("Aliases", aliases_text(version)),
        ("Description", version.description),
        ("Tags", tags_text(version)),
        ("Metrics", metrics_text(version)),
        ("Framework", framework_text(version)),
        ("Inputs", fields_text(list(signature.inputs))),
        ("Outputs", fields_text(list(signature.outputs))),
        ("Params", fields_text(list(signature.params))),
        ("Artifact", short_artifact(version.artifact)),
        ("Digest", version.artifact_digest),
        ("Size", show_size(version.size_bytes)),
        ("Experiment", short_name(lineage.experiment)),
        ("Attempt", str(lineage.attempt or "")),
        ("Output", lineage.output),
        ("Parents", ", ".join(short_model(each) for each in lineage.parent_versions)),
        ("Creator", version.creator),
        ("Created", output.when(version.create_time)),
        ("Updated", output.when(version.update_time)),
    ]
