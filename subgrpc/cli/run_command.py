"""`subgrpc run`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from subgrpc.cli import complete, detached, exitcodes, interruption, output
from subgrpc.cli.examples import examples
from subgrpc.cli.follow import Follower, many_tasks
from subgrpc.cli.logwriter import LogWriter
from subgrpc.cli.options import Connection, connection_options, output_option, short_name
from subgrpc.cli.times import SPAN
from subgrpc.errors import InvalidArgument

if TYPE_CHECKING:
    from subgrpc.client import Client
    from subgrpc.spec import Spec
    from subgrpc.v1.experiment_service_pb2 import Experiment

_COMMAND_KEY = "subgrpc.run.command"


class _Run(click.Command):
    """A command that leaves everything behind `--` alone."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_COMMAND_KEY] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS]", "{SPEC.yaml | -- COMMAND...}"]


_EXAMPLES = examples(
    "subgrpc run experiment.yaml",
    "subgrpc run --name first -- python train.py --epochs 3",
    "subgrpc run --cpu 2 --memory 4Gi --timeout 2h -d -- python train.py",
)


@click.command("run", cls=_Run, epilog=_EXAMPLES + exitcodes.EXPERIMENT_HELP)
@click.argument("spec", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--name",
    default="",
    metavar="NAME",
    help="The experiment's id; by default the spec's, or made up.",
)
@click.option(
    "--cluster",
    default="",
    metavar="CLUSTER",
    shell_complete=complete.clusters,
    help="Where to run; by default the spec's, or the server's.",
)
@click.option("-l", "--label", multiple=True, metavar="KEY=VALUE", help="A label; repeatable.")
@click.option("-e", "--env", multiple=True, metavar="KEY=VALUE", help="A variable; repeatable.")
@click.option("--timeout", type=SPAN, metavar="SPAN", help="How long it may run: 90s, 5m, 2h.")
@click.option("--cpu", metavar="CORES", help='For a COMMAND: cores, such as "2" or "500m".')
@click.option("--memory", metavar="SIZE", help='For a COMMAND: memory, such as "4Gi".')
@click.option("--gpus", type=click.IntRange(0), metavar="N", help="For a COMMAND: GPUs.")
@click.option("-d", "--detach", is_flag=True, help="Do not follow it: print its name and return.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing but the experiment's own output.")
@click.option(
    "--prefix/--no-prefix",
    default=None,
    help="The task before each line; by default if there are several tasks.",
)
@output_option
@connection_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    connection: Connection,
    spec: tuple[Path, ...],
    detach: bool,
    quiet: bool,
    prefix: bool | None,
    form: str,
    **given: Any,
) -> int:
    """Run a spec or a command, follow its output, and return its exit code.

    A COMMAND runs as it is written, without a shell, in the current folder if the server is on
    this machine. Ctrl-C ends the following, not the experiment; on a terminal it asks whether to
    cancel it. What the tasks wrote to stdout and stderr goes to stdout and stderr; with -o json or
    yaml both go to stderr, and stdout gets the experiment once it has ended.

    If no server was chosen and none is at the default address, one is started in the background.
    """
    wanted = _read(ctx, spec, connection.address, given)
    if not connection.chosen:
        detached.ensure_default()
    as_document = form in ("json", "yaml")
    with connection.open() as client:
        experiment = _create(client, wanted)
        if detach:
            output.print_document(form, experiment, name=short_name(experiment.name))
            return exitcodes.OK
        if not quiet:
            output.note(f"{short_name(experiment.name)} created")
        several = many_tasks(experiment) if prefix is None else prefix
        out = sys.stderr.buffer if as_document else None
        follower = Follower(client, experiment, LogWriter(prefix=several, out=out), quiet=quiet)
        ended = interruption.follow(client, experiment, follower)
    if not quiet:
        output.note(_outcome(ended))
    if as_document:
        output.print_document(form, ended, name="")
    return exitcodes.of_experiment(ended)


def _outcome(experiment: Experiment) -> str:
    words = [short_name(experiment.name), output.state_word(experiment)]
    if experiment.HasField("start_time"):
        words.append(f"after {output.took(experiment)}")
    why = ": ".join(each for each in (experiment.reason, output.clean(experiment.message)) if each)
    return " ".join(words) + (f" ({why})" if why else "")


def _read(ctx: click.Context, specs: tuple[Path, ...], address: str, given: dict[str, Any]) -> Spec:
    from subgrpc.spec import load_spec

    words: list[str] | None = ctx.meta.get(_COMMAND_KEY)
    _check_usage(ctx, specs, words)
    if words is None:
        for option in ("cpu", "memory", "gpus"):
            if given[option] is not None:
                raise click.UsageError(f"--{option} is for a COMMAND; a spec has resources", ctx)
    spec = load_spec(specs[0]) if words is None else _of_command(words, address, given)
    return _with_options(ctx, spec, given)


def _check_usage(ctx: click.Context, specs: tuple[Path, ...], words: list[str] | None) -> None:
    if words is not None and (specs or not words):
        found = f"{specs[0]} stands before it" if specs else "nothing stands behind it"
        raise click.UsageError(f"-- is followed by the command, but {found}.", ctx)
    if words is None and not specs:
        raise click.UsageError("Give a spec, or a command after --.", ctx)
    if words is not None:
        return
    is_spec = specs[0].suffix.lower() in (".yaml", ".yml", ".json")
    if len(specs) > 1 or not (is_spec or specs[0].is_file()):
        line = shlex.join(str(each) for each in specs)
        if is_spec and len(specs) == 1:
            return  # a file that is missing: reading it says so
        raise click.UsageError(f"To run a command: subgrpc run -- {line}", ctx)
    if not is_spec:
        raise click.UsageError(
            f"{specs[0]} is no .yaml or .json file. To run a program: subgrpc run -- PROGRAM …", ctx
        )


def _of_command(words: list[str], address: str, given: dict[str, Any]) -> Spec:
    from subgrpc.client.channel import is_local
    from subgrpc.spec import Spec
    from subgrpc.v1.experiment_service_pb2 import Experiment

    experiment = Experiment()
    group = experiment.spec.task_groups.add(args=words)
    if given["cpu"] is not None:
        group.resources.cpu = given["cpu"]
    if given["memory"] is not None:
        group.resources.memory = given["memory"]
    if given["gpus"] is not None:
        group.resources.gpus = given["gpus"]
    if is_local(address):
        # The server is on this machine, so that the folder is there too.
        experiment.spec.driver_options["local"]["working_directory"] = os.getcwd()
    return Spec("", experiment, short=True)


def _with_options(ctx: click.Context, spec: Spec, given: dict[str, Any]) -> Spec:
    """The spec with what the command line says: it wins."""
    import dataclasses

    experiment = spec.experiment
    for key, value in _pairs(ctx, "--label", given["label"]):
        experiment.labels[key] = value
    for key, value in _pairs(ctx, "--env", given["env"]):
        # A group's variable would win over one of the whole experiment. Each stays where it is, so
        # that the spec still knows where in the file it stands.
        for variables in (experiment.spec.env, *(g.env for g in experiment.spec.task_groups)):
            for each in variables:
                if each.name == key:
                    each.value = value
        if all(each.name != key for each in experiment.spec.env):
            experiment.spec.env.add(name=key, value=value)
    if given["cluster"]:
        experiment.spec.cluster = given["cluster"]
    if given["timeout"] is not None:
        experiment.spec.timeout.FromNanoseconds(round(given["timeout"] * 1e9))
    return dataclasses.replace(spec, experiment_id=given["name"] or spec.experiment_id)


def _pairs(ctx: click.Context, option: str, values: tuple[str, ...]) -> list[tuple[str, str]]:
    found = []
    for each in values:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise click.UsageError(f"{option} {each!r} is not KEY=VALUE.", ctx)
        found.append((key, value))
    return found


def _create(client: Client, spec: Spec) -> Experiment:
    try:
        return client.create_experiment(spec.experiment, experiment_id=spec.experiment_id)
    except InvalidArgument as error:
        raise spec.located(error) from error
