"""`subgrpc model create`, `register`, `update`, `tag`, `delete`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from subgrpc.cli import complete, exitcodes, output
from subgrpc.cli.complaints import complaint
from subgrpc.cli.examples import examples
from subgrpc.cli.model_kinds import short_model
from subgrpc.cli.model_reads import CODES
from subgrpc.cli.options import Connection, connection_options, output_option
from subgrpc.errors import SubgrpcError, Unavailable

F = TypeVar("F", bound=Callable[..., Any])


def message_option(command: F) -> F:
    """Adds `-m`, why something is done."""
    option = click.option(
        "-m", "--message", default="", metavar="TEXT", help="Why: for the history."
    )
    return option(command)


@click.command("create", epilog=CODES)
@click.argument("name")
@click.option("--display-name", default="", metavar="TEXT", help="A name for people.")
@click.option("--description", default="", metavar="TEXT", help="Free text for people.")
@click.option("--tag", multiple=True, metavar="KEY=VALUE", help="A tag to find it by; repeatable.")
@output_option
@connection_options
def create(
    connection: Connection,
    name: str,
    display_name: str,
    description: str,
    tag: tuple[str, ...],
    form: str,
) -> None:
    """Create a model without versions; `register` does so by itself."""
    with connection.open() as client:
        made = client.models.create(
            name, display_name=display_name, description=description, tags=_pairs(tag, "--tag")
        )
    _print(form, made, "created")


@click.command(
    "register",
    epilog=examples(
        "subgrpc model register digits my-run/model --metric accuracy=0.97",
        "subgrpc model register digits digits-weights --framework torch==2.4 --stage Staging",
    )
    + CODES,
)
@click.argument("name", shell_complete=complete.models)
@click.argument("source")
@click.option(
    "--attempt",
    type=click.IntRange(1),
    metavar="N",
    help="Of an output: which attempt's.  [default: the last one that has it]",
)
@click.option("--description", default="", metavar="TEXT", help="Free text for people.")
@click.option("--tag", multiple=True, metavar="KEY=VALUE", help="A tag to find it by; repeatable.")
@click.option("--metric", multiple=True, metavar="NAME=NUMBER", help="How good it is; repeatable.")
@click.option("--framework", metavar="NAME[==VERSION]", help="What it was made with.")
@click.option(
    "--signature",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What it takes and gives: YAML or JSON with inputs, outputs, params.",
)
@click.option(
    "--parent",
    multiple=True,
    metavar="VERSION",
    shell_complete=complete.models,
    help="A version that it was made of; repeatable.",
)
@click.option("--stage", default="", metavar="STAGE", help="The stage that it is in at once.")
@click.option("--alias", multiple=True, metavar="ALIAS", help="An alias that is to refer to it.")
@click.option("--existing", is_flag=True, help="Fail if there is no such model yet.")
@message_option
@output_option
@connection_options
def register(
    connection: Connection,
    name: str,
    source: str,
    attempt: int | None,
    description: str,
    tag: tuple[str, ...],
    metric: tuple[str, ...],
    framework: str | None,
    signature: Path | None,
    parent: tuple[str, ...],
    stage: str,
    alias: tuple[str, ...],
    existing: bool,
    message: str,
    form: str,
) -> None:
    """Make an artifact, or the output of an experiment, the next version of model NAME.

    SOURCE is an artifact's id, or EXPERIMENT/OUTPUT. The model is created if it is not there.
    """
    with connection.open() as client:
        made = client.models.register(
            name,
            source,
            attempt=attempt or 0,
            description=description,
            tags=_pairs(tag, "--tag"),
            metrics=_numbers(metric),
            framework=framework,
            signature=_read_signature(signature) if signature else None,
            parents=parent,
            stage=stage,
            aliases=alias,
            create_model=not existing,
            message=message,
        )
    _print(form, made, "registered")


@click.command("update", epilog=CODES)
@click.argument("name", shell_complete=complete.models)
@click.option("--display-name", metavar="TEXT", help="A name for people; of models only.")
@click.option("--description", metavar="TEXT", help="Free text for people.")
@output_option
@connection_options
@click.pass_context
def update(
    ctx: click.Context,
    /,
    connection: Connection,
    name: str,
    display_name: str | None,
    description: str | None,
    form: str,
) -> None:
    """Change the display name or description of a model, or the description of a version."""
    if display_name is None and description is None:
        raise click.UsageError("Give --display-name, --description or both.", ctx)
    with connection.open() as client:
        if not _is_version(name):
            changed: Any = client.models.update(
                name, display_name=display_name, description=description
            )
        elif display_name is not None:
            raise click.UsageError("A version has no display name.", ctx)
        else:
            changed = client.models.describe(name, description or "")
    _print(form, changed, "updated")


@click.command(
    "tag",
    epilog=examples(
        "subgrpc model tag digits task=ocr", "subgrpc model tag digits@champion reviewed=yes draft-"
    )
    + CODES,
)
@click.argument("name", shell_complete=complete.models)
@click.argument("tag", nargs=-1, required=True, metavar="KEY=VALUE|KEY-...")
@output_option
@connection_options
def tag(connection: Connection, name: str, tag: tuple[str, ...], form: str) -> None:
    """Set tags of a model or version, KEY=VALUE, or remove them, KEY-; others stay."""
    wanted: dict[str, str | None] = {
        each[:-1]: None for each in tag if each.endswith("-") and "=" not in each
    }
    wanted |= _pairs([each for each in tag if each[:-1] not in wanted], "a tag")
    with connection.open() as client:
        _print(form, client.models.tag(name, wanted), "tagged")


@click.command("delete", epilog=CODES)
@click.argument("name", nargs=-1, required=True, shell_complete=complete.models)
@click.option("--force", is_flag=True, help="Also models with versions, and versions in use.")
@message_option
@connection_options
def delete(connection: Connection, name: tuple[str, ...], force: bool, message: str) -> int:
    """Delete models or versions, for good; their artifacts stay."""
    code = exitcodes.OK
    with connection.open() as client:
        for each in dict.fromkeys(name):
            try:
                client.models.delete(each, force=force, message=message)
                click.echo(f"{each} deleted")
            except Unavailable:
                raise  # the next one would meet it too
            except SubgrpcError as error:
                if len(name) == 1:
                    raise
                output.note(f"{each}: {complaint(error)}")
                code = exitcodes.FAILED
    return code


def _print(form: str, resource: Any, word: str) -> None:
    short = short_model(resource.name)
    output.print_document(form, resource, name=short, text=lambda: click.echo(f"{short} {word}"))


def _is_version(name: str) -> bool:
    from subgrpc.client.modelnames import resource_name

    return resource_name(name).count("/") > 3


def _pairs(given: Sequence[str], what: str) -> dict[str, str]:
    found = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{each!r} is not {what} KEY=VALUE.")
        found[key] = value
    return found


def _numbers(given: Sequence[str]) -> dict[str, float]:
    found = {}
    for each in given:
        # The last one: names of metrics may have "=" in them, numbers do not.
        name, equals, value = each.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise click.UsageError(f"{each!r} is not --metric NAME=NUMBER.")
    return found


def _read_signature(path: Path) -> Any:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} is no YAML: {error}") from error
    if not isinstance(found, dict):
        raise click.UsageError(f"{path} holds no signature: inputs, outputs, params.")
    return found
