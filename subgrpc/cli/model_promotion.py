"""`subgrpc model stage`, `alias`, `rollback`: which version is in use."""

from __future__ import annotations

import click

from subgrpc.cli import complete, output
from subgrpc.cli.examples import examples
from subgrpc.cli.model_changes import message_option
from subgrpc.cli.model_kinds import short_model
from subgrpc.cli.model_reads import CODES
from subgrpc.cli.options import Connection, connection_options, output_option


@click.command(
    "stage",
    epilog=examples("subgrpc model stage digits/3 Production --archive-existing -m 'passed review'")
    + CODES,
)
@click.argument("version", shell_complete=complete.models)
@click.argument("to", metavar="STAGE")
@click.option(
    "--archive-existing",
    is_flag=True,
    help="Move the model's other versions in that stage to Archived.",
)
@message_option
@output_option
@connection_options
def stage(
    connection: Connection,
    version: str,
    to: str,
    archive_existing: bool,
    message: str,
    form: str,
) -> None:
    """Move VERSION to STAGE: None, Staging, Production, Archived, or any other word."""
    with connection.open() as client:
        moved = client.models.set_stage(
            version, to, archive_existing=archive_existing, message=message
        )
    short = short_model(moved.name)
    output.print_document(
        form, moved, name=short, text=lambda: click.echo(f"{short} is in {moved.stage}")
    )


@click.command(
    "alias",
    epilog=examples(
        "subgrpc model alias digits champion 2", "subgrpc model alias digits old --remove"
    )
    + CODES,
)
@click.argument("name", shell_complete=complete.models)
@click.argument("alias")
@click.argument("number", metavar="VERSION", type=click.IntRange(1), required=False)
@click.option("--remove", is_flag=True, help="Remove the alias; rollbacks never lead behind that.")
@message_option
@output_option
@connection_options
@click.pass_context
def alias(
    ctx: click.Context,
    /,
    connection: Connection,
    name: str,
    alias: str,
    number: int | None,
    remove: bool,
    message: str,
    form: str,
) -> None:
    """Have ALIAS of model NAME refer to the version with the number VERSION."""
    if remove is (number is not None):
        raise click.UsageError("Give either the number of a version, or --remove.", ctx)
    with connection.open() as client:
        if number is None:
            client.models.remove_alias(name, alias, message=message)
            click.echo(f"{name}@{alias} removed")
            return
        found = client.models.set_alias(name, alias, number, message=message)
    short = short_model(found.name)
    output.print_document(
        form, found, name=short, text=lambda: click.echo(f"{short} is version {found.number}")
    )


@click.command(
    "rollback",
    epilog=examples("subgrpc model rollback digits champion -m 'wrong on rotated digits'") + CODES,
)
@click.argument("name", shell_complete=complete.models)
@click.argument("alias")
@message_option
@output_option
@connection_options
def rollback(connection: Connection, name: str, alias: str, message: str, form: str) -> None:
    """Have ALIAS refer to what it did before it was last set; once more: one step further."""
    with connection.open() as client:
        found = client.models.rollback(name, alias, message=message)
    short = short_model(found.name)
    output.print_document(
        form,
        found,
        name=short,
        text=lambda: click.echo(f"{short} is version {found.number} again"),
    )
