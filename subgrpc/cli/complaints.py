"""Errors for people: what was wrong, where, and what to do about it."""

from __future__ import annotations

from subgrpc.cli import explanations
from subgrpc.cli.output import clean
from subgrpc.errors import InvalidArgument, ResourceExhausted, SubgrpcError, Unavailable

_ADVICE = {
    "SERVER_UNREACHABLE": "start a server with `subgrpc up --detach`, or say where it is with "
    "--address, SUBGRPC_ADDRESS or `subgrpc config`",
    "CREDENTIALS_MISSING": "give a token with SUBGRPC_TOKEN, or a certificate with --tls-cert",
    "CREDENTIALS_INVALID": "check SUBGRPC_TOKEN",
    "EXPERIMENT_NOT_FOUND": "`subgrpc list` shows those that are there",
    "TASK_NOT_FOUND": "`subgrpc tasks --all-attempts` shows an experiment's tasks",
    "CLUSTER_NOT_FOUND": "`subgrpc clusters` shows the clusters",
    "CONTEXT_NOT_FOUND": "make it with `subgrpc config set NAME --address ADDRESS`",
    "TOO_MANY_STREAMS": "end some of your `subgrpc logs -f` and `subgrpc wait`",
    "EXPERIMENT_NOT_TERMINAL": "stop it with `subgrpc cancel` first, or use --force",
    "EXPERIMENT_EXISTS": "choose another name, or remove that one with `subgrpc delete`",
    "MODEL_NOT_FOUND": "`subgrpc model list` shows those that are there",
    "MODEL_VERSION_NOT_FOUND": "`subgrpc model list NAME` shows those that are there",
    "MODEL_ALIAS_NOT_FOUND": "`subgrpc model get NAME` shows those that are there",
    "MODEL_HAS_VERSIONS": "use --force if they are to go too",
    "MODEL_VERSION_IN_USE": "move the aliases and the stage first, or use --force",
    "NOTHING_TO_ROLL_BACK": "`subgrpc model history NAME --alias ALIAS` shows where it was",
    "ADDRESS_IN_USE": "`subgrpc status` shows whether it is a subgrpc server; choose another "
    "address with --listen",
    "DATA_DIR_LOCKED": "`subgrpc down` stops that server, --data-dir chooses another folder",
    "INSECURE_LISTENER": "see --tls-cert, --tls-key, --token-file and --tls-client-ca",
    "SCHEMA_TOO_NEW": "install the newer subgrpc again, or choose another --data-dir",
}
"""What to do, by reason."""


def complaint(error: SubgrpcError) -> str:
    """All of an error in words, several lines if need be."""
    lines = [f"error: {_summary(error)}"]
    if isinstance(error, InvalidArgument) and len(error.violations) > 1:
        lines += [f"  {clean(str(each))}" for each in error.violations]
    omitted = error.metadata.get("omittedViolations")
    if omitted:
        lines.append(f"  and {omitted} more")
    if isinstance(error, Unavailable | ResourceExhausted) and error.retry_after:
        lines.append(f"Try again in {error.retry_after:g} s.")
    advice = _ADVICE.get(error.reason)
    if advice:
        lines.append(f"{advice[0].upper()}{advice[1:]}.")
    if known := explanations.first_known(_reasons(error)):
        lines.append(f"help: subgrpc errors {known}")
    elif error.help_url:  # of a reason that only the server knows
        lines.append(f"help: {clean(error.help_url)}")
    return "\n".join(lines)


def _reasons(error: SubgrpcError) -> list[str]:
    """The reasons that tell most first: of a single mistake, that is its own."""
    violations = error.violations if isinstance(error, InvalidArgument) else ()
    return [*(each.reason for each in violations if len(violations) == 1), error.reason]


def _summary(error: SubgrpcError) -> str:
    violations = error.violations if isinstance(error, InvalidArgument) else ()
    if len(violations) == 1:
        return clean(str(violations[0]))
    if violations:
        return f"{len(violations)} mistakes:"
    return clean(error.message or error.reason)
