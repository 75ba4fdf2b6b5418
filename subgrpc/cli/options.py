"""What several commands share: how to reach the server, how to print, how a name is written."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from subgrpc import names
from subgrpc.cli import complete
from subgrpc.cli.defaults import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from subgrpc.client import Client

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Connection:
    """Which server a command talks to.

    Attributes:
        address: where it listens.
        token: bearer token; empty: none.
        ca: as in `subgrpc.client.Credentials`.
        cert: likewise.
        key: likewise.
        chosen: whether the user said which, by option, variable or context.
    """

    address: str
    token: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""
    chosen: bool = True

    def open(self, timeout: float = 30.0) -> Client:
        """A client; it connects with its first call."""
        from subgrpc.client import Client, Credentials

        credentials = Credentials(self.token, self.ca, self.cert, self.key)
        return Client(self.address, credentials, timeout=timeout)


def database_option(command: F) -> F:
    """Adds `--database`; a password among the options, where every user can read it, is refused."""

    def check(ctx: click.Context, param: click.Parameter, value: str) -> str:
        seen = ctx.get_parameter_source("database") is ParameterSource.COMMANDLINE
        if seen and re.search(r"password\s*=|//[^/@]*:[^/@]*@", value):
            text = (
                "--database has a password, which `ps` shows to everybody here. Give the URL "
                "in SUBGRPC_DATABASE, or the password in PGPASSWORD or in ~/.pgpass."
            )
            raise click.UsageError(text, ctx)
        return value

    option = click.option(
        "--database",
        envvar="SUBGRPC_DATABASE",
        show_envvar=True,
        default="",
        metavar="URL",
        callback=check,
        help="A PostgreSQL database, postgresql://USER@HOST/NAME, that servers can share.  "
        "[default: SQLite in the data folder]",
    )
    return option(command)


_CONNECTION_PARAMETERS = ("address", "context", "token", "tls_ca", "tls_cert", "tls_key")


def connection_options(command: F) -> F:
    """Adds the options that say which server; the command gets a `connection`."""

    @click.option(
        "--address",
        envvar="SUBGRPC_ADDRESS",
        show_envvar=True,
        metavar="ADDRESS",
        help="The server: HOST:PORT or unix:PATH.  [default: that of the current context, else "
        f"{DEFAULT_ADDRESS}]",
    )
    @click.option(
        "--context",
        envvar="SUBGRPC_CONTEXT",
        show_envvar=True,
        metavar="NAME",
        shell_complete=complete.contexts,
        help="The server by its name in `subgrpc config list`.",
    )
    @click.option(
        "--token",
        envvar="SUBGRPC_TOKEN",
        default="",
        show_envvar=True,
        metavar="TOKEN",
        help="Bearer token. Others can see a command line: better use the variable.",
    )
    @click.option(
        "--tls-ca",
        envvar="SUBGRPC_TLS_CA",
        default="",
        show_envvar=True,
        metavar="FILE",
        help="Who signed the server's certificate (PEM). TLS is used with it, and always when the "
        "server is on another machine.",
    )
    @click.option(
        "--tls-cert",
        envvar="SUBGRPC_TLS_CERT",
        default="",
        metavar="FILE",
        help="Your own certificate (PEM), for mTLS.",
    )
    @click.option(
        "--tls-key",
        envvar="SUBGRPC_TLS_KEY",
        default="",
        metavar="FILE",
        help="The key of --tls-cert.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        connection = connection_of(click.get_current_context())
        others = {k: v for k, v in kwargs.items() if k not in _CONNECTION_PARAMETERS}
        return command(*args, connection=connection, **others)

    return wrapped  # type: ignore[return-value]  # click's decorators keep the kind of callable


def connection_of(ctx: click.Context) -> Connection:
    """Which server a command line means.

    An option wins over a variable, a variable over the current context. A server comes with its
    own credentials: what belongs to a context is never sent to an address that is given beside it.

    Raises:
        UsageError: both an address and a context are given as options.
        NotFound: there is no such context.
    """
    given = {key: ctx.params.get(key) or "" for key in _CONNECTION_PARAMETERS}
    typed = {key for key in given if _is_typed(ctx, key)}
    if {"address", "context"} <= typed:
        raise click.UsageError("Give --address or --context, not both.", ctx)
    if "address" in typed or (given["address"] and "context" not in typed):
        return Connection(
            given["address"], given["token"], given["tls_ca"], given["tls_cert"], given["tls_key"]
        )
    if given["address"]:  # of the environment, as are credentials that are not typed
        given = {key: value if key in typed else "" for key, value in given.items()}
    return _of_context(given, typed)


def _of_context(given: dict[str, str], typed: set[str]) -> Connection:
    from subgrpc.cli import contexts

    known = contexts.load()
    name = given["context"] or known.current
    if not name:
        address = DEFAULT_ADDRESS
        rest = (given["token"], given["tls_ca"], given["tls_cert"], given["tls_key"])
        return Connection(address, *rest, chosen=False)
    server = known.find(name)

    def choose(key: str, own: str) -> str:
        return given[key] if key in typed or not own else own

    token = given["token"]
    if "token" not in typed:
        token = contexts.read_token(server.token_file) or token
    return Connection(
        server.address,
        token,
        choose("tls_ca", server.tls_ca),
        choose("tls_cert", server.tls_cert),
        choose("tls_key", server.tls_key),
    )


def _is_typed(ctx: click.Context, parameter: str) -> bool:
    return ctx.get_parameter_source(parameter) is ParameterSource.COMMANDLINE


FORMS = ("table", "wide", "json", "yaml", "name")
"""How results can be printed."""


def output_option(command: F) -> F:
    """Adds `-o table|wide|json|yaml|name`; the command gets a `form`."""
    option = click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(FORMS),
        default="table",
        show_default=True,
        help="How results are printed; json and yaml are the API's own messages.",
    )
    return option(command)


def name_argument(command: F) -> F:
    """Adds the argument NAME, an experiment."""
    return click.argument("name", shell_complete=complete.experiments)(command)


def full_name(name: str) -> str:
    """The resource name of an experiment of which the last part, or all of it, is given."""
    if "/" in name:
        return name
    return str(names.ExperimentName(names.DEFAULT_TEAM, name))


def short_name(name: str) -> str:
    """The shortest name that the command line takes for an experiment."""
    return name.removeprefix(f"{names.team_name(names.DEFAULT_TEAM)}/experiments/")


def short_artifact(name: str) -> str:
    """The shortest name that the command line takes for an artifact."""
    return name.removeprefix(f"{names.team_name(names.DEFAULT_TEAM)}/artifacts/")
