"""`subgrpc errors`, and the line that leads to it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from subgrpc.cli.complaints import complaint
from subgrpc.cli.explanations import explanations
from subgrpc.cli.main import run
from subgrpc.errors import FieldViolation, InvalidArgument, NotFound, SubgrpcError


def test_a_reason_is_explained_without_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    """What it means, how it comes to it, what to do, and whether trying again helps."""
    assert run(["errors", "experiment_not_found"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "EXPERIMENT_NOT_FOUND",
        "",
        "There is no experiment of that name.",
        "Cause: a typing error, or it was deleted, or this is another server.",
        "Do:    `subgrpc list` shows those that are there.",
        "Retry: no.",
    ]
    assert not told.err


def test_programs_get_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    """As every read."""
    assert run(["errors", "ExitCode", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["reason"] == "ExitCode"
    assert run(["errors", "-o", "yaml"]) == 0
    listed = yaml.safe_load(capsys.readouterr().out)["errors"]
    assert [each["reason"] for each in listed] == [each.reason for each in explanations()]
    assert run(["errors", "-o", "name"]) == 0
    assert capsys.readouterr().out.splitlines() == [each.reason for each in explanations()]
    assert run(["errors"]) == 0
    assert capsys.readouterr().out.startswith("REASON ")


def test_what_is_no_reason_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason that may have been meant."""
    assert run(["errors", "EXPERIMENT_NOT_FUND"]) == 2
    assert "Did you mean EXPERIMENT_NOT_FOUND?" in capsys.readouterr().err
    assert run(["errors", "qqqq"]) == 2
    assert "`subgrpc errors` lists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotFound("gone", reason="TASK_NOT_FOUND"), "TASK_NOT_FOUND"),
        (InvalidArgument(violations=[FieldViolation("a", "b", "TOO_LONG")]), "TOO_LONG"),
        (
            InvalidArgument(violations=[FieldViolation("a", "b", "OWN")], reason="INVALID_SPEC"),
            "INVALID_SPEC",
        ),
        (
            InvalidArgument(violations=[FieldViolation("a", "b", "TOO_LONG")] * 2),
            "INVALID_ARGUMENT",
        ),
    ],
)
def test_an_error_ends_with_the_command_that_explains_it(error: SubgrpcError, reason: str) -> None:
    """Of a single mistake, its own reason."""
    assert complaint(error).splitlines()[-1] == f"help: subgrpc errors {reason}"


def test_an_error_that_nobody_can_explain_leads_nowhere() -> None:
    """A driver's own reason."""
    unknown = NotFound("gone", reason="MY_OWN")
    assert "help:" not in complaint(unknown)
    unknown.help_url = "https://docs.example.com/errors/#my_own"  # a newer server knows more
    assert complaint(unknown).splitlines()[-1] == f"help: {unknown.help_url}"


def test_a_failed_command_says_so_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Behind everything else."""
    assert run(["list", "--address", "127.0.0.1:1"]) == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "help: subgrpc errors SERVER_UNREACHABLE"
    assert not told.out


def test_explaining_does_not_load_grpc() -> None:
    """Nor anything else that is slow."""
    script = (
        "import sys; from subgrpc.cli.main import run; run(['errors', 'TIMEOUT']); "
        "sys.exit(bool({'grpc', 'google.protobuf', 'yaml', 'sqlmodel'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL, check=False)
    assert done.returncode == 0
