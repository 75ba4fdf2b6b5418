"""`subgrpc up`."""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from subgrpc import __version__
from subgrpc.cli import defaults, detached, exitcodes, output, serverfile
from subgrpc.cli.datafolder import data_dir_option
from subgrpc.cli.examples import examples
from subgrpc.cli.options import database_option, output_option
from subgrpc.cli.sizes import SIZE
from subgrpc.cli.times import SPAN
from subgrpc.errors import SubgrpcError

if TYPE_CHECKING:
    from subgrpc.config import ServerConfig

_FILE = click.Path(path_type=Path, dir_okay=False, resolve_path=True)


@click.command(
    "up",
    epilog=examples(
        "subgrpc up --detach",
        "subgrpc up --local cpu=8 --local memory=16Gi",
        "subgrpc up --listen 0.0.0.0:7411 --tls-cert cert.pem --tls-key key.pem --token-file t",
    ),
)
@click.option(
    "--listen",
    multiple=True,
    metavar="ADDRESS",
    help="HOST:PORT (port 0: a free one) or unix:PATH; repeatable.  "
    f"[default: {defaults.DEFAULT_ADDRESS}]",
)
@data_dir_option("Where everything is kept.")
@database_option
@click.option(
    "--advertise",
    default="",
    metavar="ADDRESS",
    help="Where other servers on the same --database reach this one.  "
    "[default: its first listener that names a host]",
)
@click.option(
    "--peer-ca",
    type=_FILE,
    metavar="FILE",
    help="Who vouches for the certificates of other servers (PEM).  [default: gRPC's own]",
)
@click.option(
    "--lease-length",
    type=click.FloatRange(1, 300),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="When the server that leads a cluster dies, another on the same --database takes over "
    "within so many seconds; the same on all.",
)
@click.option("--detach", "-d", is_flag=True, help="Start it in the background and return.")
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="The server's certificate (PEM).")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="The key of --tls-cert.")
@click.option(
    "--tls-client-ca", type=_FILE, metavar="FILE", help="Ask clients for certificates (mTLS)."
)
@click.option(
    "--token-file", type=_FILE, metavar="FILE", help='Ask for tokens; lines "TOKEN PRINCIPAL".'
)
@click.option(
    "--local",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of the cluster `local`, such as cpu=8 or memory=16Gi; repeatable.",
)
@click.option(
    "--artifacts",
    metavar="URL",
    help="Where artifacts are kept: file:///FOLDER, s3://BUCKET/PREFIX, hdfs://HOST:PORT/FOLDER; "
    "the same for all servers on one --database.  [default: a folder in --data-dir]",
)
@click.option(
    "--artifact-option",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of that store, such as endpoint_url=https://minio.example; repeatable.",
)
@click.option(
    "--log-cache",
    type=SIZE,
    default="10Gi",
    show_default=True,
    metavar="SIZE",
    help="How much of the logs that the artifact store has stays on this server's disk, too.",
)
@click.option(
    "--log-retention",
    type=SPAN,
    metavar="SPAN",
    help="Remove logs so long after the end of their attempt, such as 30d or 12h.  "
    "[default: with the experiment]",
)
@click.option(
    "--docs-url",
    metavar="URL",
    help="Where you have published the site of `make docs`: errors then link to their entry.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    metavar="LEVEL",
    help="What the server writes to stderr: debug, info, warning or error.",
)
@click.option("--ready-fd", type=int, hidden=True, help="Where to say that it is ready.")
@output_option
@click.pass_context
def command(
    ctx: click.Context, /, detach: bool, ready_fd: int | None, form: str, **given: Any
) -> int:
    """Start a server, in the foreground; SIGTERM or Ctrl-C stops it.

    Experiments that run when it stops go on, and the next start finds them. Programs that
    experiments name are looked for on the PATH that the server has.

    Exit codes: 0 stopped as asked (--detach: it is ready), 1 it could not start or keep running,
    2 wrong usage.
    """
    if not detached.is_installed():
        text = "the server is not installed, only the command line: pip install 'subgrpc[server]'"
        raise click.ClickException(text)
    data_dir = given["data_dir"] = Path(os.path.abspath(given["data_dir"]))
    database = given.pop("database")
    given["listen"] = tuple(_absolute(each) for each in given["listen"])
    given["advertise"] = _absolute(given["advertise"])
    local = _pairs(ctx, "--local", given["local"])
    stored = _pairs(ctx, "--artifact-option", given["artifact_option"])
    if detach:
        started = detached.start(data_dir, _arguments(given), {"SUBGRPC_DATABASE": database})
        _print_ready(started, data_dir, form)
        return exitcodes.OK
    try:
        _serve(_config(given, database, local, stored), given["log_level"], ready_fd, form)
    except SubgrpcError as error:
        _report(ready_fd, {"error": error.message, "reason": error.reason})
        raise
    return exitcodes.OK


def _absolute(listener: str) -> str:
    """A listener that means the same in another folder."""
    path = listener.removeprefix("unix:")
    return listener if path in (listener, "") else f"unix:{os.path.abspath(path)}"


def _pairs(ctx: click.Context, option: str, pairs: tuple[str, ...]) -> dict[str, str]:
    options: dict[str, str] = {}
    for each in pairs:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise click.UsageError(f"{option} {each!r} is not KEY=VALUE.", ctx)
        options[key] = value
    return options


def _config(
    given: dict[str, Any], database: str, local: dict[str, str], stored: dict[str, str]
) -> ServerConfig:
    from subgrpc.config import ClusterSettings, ServerConfig

    kept = given["log_retention"]
    return ServerConfig(
        data_dir=given["data_dir"],
        database=database,
        listen=given["listen"] or (defaults.DEFAULT_ADDRESS,),
        tls_cert=given["tls_cert"],
        tls_key=given["tls_key"],
        tls_client_ca=given["tls_client_ca"],
        token_file=given["token_file"],
        advertise=given["advertise"],
        peer_ca=given["peer_ca"],
        artifacts=given["artifacts"] or "",
        artifact_options=stored,
        log_cache=given["log_cache"],
        log_retention=None if kept is None else timedelta(seconds=kept),
        lease_length=given["lease_length"],
        docs_url=given["docs_url"] or "",
        clusters={"local": ClusterSettings(driver="local", options=local)},
    )


def _serve(config: ServerConfig, log_level: str, ready_fd: int | None, form: str) -> None:
    from subgrpc.rpc.logging import configure_logging
    from subgrpc.rpc.server import Server, run

    configure_logging(log_level)

    def ready(server: Server) -> None:
        found = serverfile.write(config.data_dir, list(server.addresses), __version__)
        _report(ready_fd, {"ready": True})
        if ready_fd is None:
            _print_ready(found, config.data_dir, form)

    try:
        run(config, ready)
    finally:
        serverfile.remove(config.data_dir)


def _report(ready_fd: int | None, message: dict[str, object]) -> None:
    """Tells the process that started this one how it went."""
    if ready_fd is not None:
        with os.fdopen(ready_fd, "w", encoding="utf-8") as pipe:
            pipe.write(json.dumps(message))


def _arguments(given: dict[str, Any]) -> list[str]:
    """The options of this command line, for the process in the background."""
    words: list[str] = []
    for name, value in given.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, tuple):
            words += [word for each in value for word in (option, each)]
        elif value is not None:
            words += [option, str(value)]
    return words


def _print_ready(server: serverfile.ServerFile, data_dir: Path, form: str) -> None:
    def show() -> None:
        where = ", ".join(server.addresses)
        click.echo(f"subgrpc {server.version} is ready on {where} (process {server.pid})")
        output.note(f"data in {data_dir}; stop with: {detached.down_command(data_dir)}")
        if defaults.DEFAULT_ADDRESS not in server.addresses:
            output.note(f"clients: export SUBGRPC_ADDRESS={server.addresses[0]}")

    facts = {
        "addresses": server.addresses,
        "pid": server.pid,
        "version": server.version,
        "dataDir": str(data_dir),
    }
    output.print_document(form, facts, name=server.addresses[0], text=show)
    sys.stdout.flush()
