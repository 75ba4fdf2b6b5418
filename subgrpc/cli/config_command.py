"""`subgrpc config`."""

from __future__ import annotations

import dataclasses
import os

import click

from subgrpc.cli import complete, contexts, output
from subgrpc.cli.contexts import ServerContext
from subgrpc.cli.kinds import Column, Kind
from subgrpc.cli.options import output_option
from subgrpc.errors import FieldViolation, InvalidArgument

_FILE = click.Path(dir_okay=False)
_ONLY_NAMES = "Exit codes: 0 done, 1 could not be done (no such context, ...), 2 wrong usage."


@click.group(
    "config",
    epilog="""\b
Which server a command talks to, the first of: --address or --context, SUBGRPC_ADDRESS,
SUBGRPC_CONTEXT, the current context, 127.0.0.1:7411.

\b
Exit codes: 0 done, 1 could not be done (no such context, ...), 2 wrong usage.
""",
)
def command() -> None:
    """Name servers (contexts), and choose the current one.

    They are kept in $XDG_CONFIG_HOME/subgrpc/config.toml, by default ~/.config/subgrpc/config.toml.
    """


@command.command("set", epilog=_ONLY_NAMES)
@click.argument("name", shell_complete=complete.contexts)
@click.option("--address", metavar="ADDRESS", help="The server: HOST:PORT or unix:PATH.")
@click.option("--token-file", type=_FILE, help='Where its bearer token is; "": none.')
@click.option("--tls-ca", type=_FILE, help="Who signed the server's certificate (PEM).")
@click.option("--tls-cert", type=_FILE, help="Your own certificate (PEM), for mTLS.")
@click.option("--tls-key", type=_FILE, help="The key of --tls-cert.")
@click.option("--use", "use_it", is_flag=True, help="Make it the current context.")
@click.pass_context
def set_context(
    ctx: click.Context, /, name: str, address: str | None, use_it: bool, **files: str | None
) -> None:
    """Make a context, or change what is given of one."""
    if not contexts.NAME.fullmatch(name):
        raise click.UsageError(f"{name!r} is no name: letters, digits and . _ -", ctx)
    known = contexts.load()
    if address is not None:
        _check(address)
        if address.startswith("unix:"):
            address = f"unix:{os.path.abspath(address.removeprefix('unix:'))}"
    elif name not in known.servers:
        raise click.UsageError("A new context needs --address.", ctx)
    # Relative to where the user is, not to where the file will be read.
    changes = {
        key: os.path.abspath(value) if value else ""
        for key, value in files.items()
        if value is not None
    }
    before = known.servers.get(name, ServerContext(address or ""))
    known.servers[name] = dataclasses.replace(before, address=address or before.address, **changes)
    if use_it:
        known.current = name
    contexts.save(known)
    click.echo(f"{name} {known.servers[name].address}")
    if known.current != name:
        output.note(f"to talk to it from now on: subgrpc config use {name}")


@command.command("use", epilog=_ONLY_NAMES)
@click.argument("name", shell_complete=complete.contexts)
def use_context(name: str) -> None:
    """Make a context the current one."""
    known = contexts.load()
    server = known.find(name)
    known.current = name
    contexts.save(known)
    click.echo(f"{name} {server.address}")
    for variable in ("SUBGRPC_ADDRESS", "SUBGRPC_CONTEXT"):
        if os.environ.get(variable):
            output.note(f"{variable} is set and wins over it")


@command.command("list", epilog=_ONLY_NAMES)
@output_option
def list_contexts(form: str) -> None:
    """List the contexts; a star marks the current one."""
    known = contexts.load()
    rows = [
        {"name": name, "current": name == known.current, **dataclasses.asdict(server)}
        for name, server in known.servers.items()
    ]
    _CONTEXTS.print_list(form, rows)
    if not rows:
        output.note("no contexts yet: subgrpc config set NAME --address ADDRESS")


@command.command("current", epilog=_ONLY_NAMES)
@output_option
def current_context(form: str) -> None:
    """Print the current context; without one this fails."""
    known = contexts.load()
    if not known.current:
        raise InvalidArgument("there is no current context", reason="CONTEXT_NOT_FOUND")
    server = known.find(known.current)
    document = {"name": known.current, "current": True, **dataclasses.asdict(server)}
    output.print_document(form, document, name=known.current)


@command.command("delete", epilog=_ONLY_NAMES)
@click.argument("name", nargs=-1, required=True, shell_complete=complete.contexts)
def delete_contexts(name: tuple[str, ...]) -> None:
    """Forget contexts; their servers are left alone."""
    known = contexts.load()
    for each in dict.fromkeys(name):
        known.find(each)
        del known.servers[each]
        if known.current == each:
            known.current = ""
            output.note("that was the current one; now there is none")
    contexts.save(known)
    for each in dict.fromkeys(name):
        click.echo(f"{each} deleted")


def _check(address: str) -> None:
    from subgrpc.client import Client

    try:
        Client(address).close()
    except InvalidArgument as error:
        text = error.violations[0].description if error.violations else error.message
        raise InvalidArgument(violations=[FieldViolation("--address", text)]) from error


_CONTEXTS: Kind[dict[str, object]] = Kind(
    "contexts",
    lambda each: str(each["name"]),
    (
        Column("CURRENT", lambda each: "*" * bool(each["current"])),
        Column("NAME", lambda each: str(each["name"])),
        Column("ADDRESS", lambda each: str(each["address"])),
        Column("TOKEN FILE", lambda each: str(each["token_file"]), wide=True),
        Column("TLS CA", lambda each: str(each["tls_ca"]), wide=True),
        Column("TLS CERT", lambda each: str(each["tls_cert"]), wide=True),
    ),
)
