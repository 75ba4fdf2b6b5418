"""What several commands share: how to reach the server, how to print, how a name is written."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from subgrpc import names
from subgrpc.cli.defaults import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from subgrpc.client import Client

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Connection:
    """Which server a command talks to."""

    address: str
    token: str
    ca: str
    cert: str
    key: str

    def open(self) -> Client:
        """A client; it connects with its first call."""
        from subgrpc.client import Client, Credentials

        return Client(self.address, Credentials(self.token, self.ca, self.cert, self.key))


def connection_options(command: F) -> F:
    """Adds the options that say which server; the command gets a `connection`."""

    @click.option(
        "--address",
        envvar="SUBGRPC_ADDRESS",
        default=DEFAULT_ADDRESS,
        show_default=True,
        show_envvar=True,
        metavar="ADDRESS",
        help="The server: HOST:PORT or unix:PATH.",
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
    def wrapped(
        *args: Any,
        address: str,
        token: str,
        tls_ca: str,
        tls_cert: str,
        tls_key: str,
        **kwargs: Any,
    ) -> Any:
        connection = Connection(address, token, tls_ca, tls_cert, tls_key)
        return command(*args, connection=connection, **kwargs)

    return wrapped  # type: ignore[return-value]  # click's decorators keep the kind of callable


def output_option(command: F) -> F:
    """Adds `-o table|json`; the command gets `as_json`."""
    option = click.option(
        "-o",
        "--output",
        "as_json",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        callback=lambda _context, _option, value: value == "json",
        help="How results are printed; json is the API's own JSON.",
    )
    return option(command)


def full_name(name: str) -> str:
    """The resource name of an experiment of which the last part, or all of it, is given."""
    if "/" in name:
        return name
    return str(names.ExperimentName(names.DEFAULT_TEAM, name))


def short_name(name: str) -> str:
    """The shortest name that the command line takes for an experiment."""
    return name.removeprefix(f"{names.team_name(names.DEFAULT_TEAM)}/experiments/")
