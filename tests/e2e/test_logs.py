"""`subgrpc logs`: which attempts, which tasks, and what there is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Cli, Here, until

SPEC = """
name: tries
task_groups:
  - role: a
    command: |
      echo "a $SUBGRPC_ATTEMPT"
      until test -e "DIR/$SUBGRPC_ATTEMPT" -a -e "DIR/b$SUBGRPC_ATTEMPT"; do sleep 0.05; done
      test "$SUBGRPC_ATTEMPT" = 3
  - role: b
    command: |
      echo "b $SUBGRPC_ATTEMPT"
      touch "DIR/b$SUBGRPC_ATTEMPT"
retry_policy: {max_retries: 5, initial_backoff: 100ms}
"""


@pytest.fixture(scope="module")
def tries(shared: Cli) -> str:
    """An experiment of which the third attempt succeeded."""
    (shared.folder / "spec.yaml").write_text(SPEC.replace("DIR", str(shared.folder)))
    if not shared.state("tries"):  # the server outlives this fixture
        for number in range(1, 4):
            (shared.folder / str(number)).touch()
        shared("run", "-q", "spec.yaml", code=0)
    return "tries"


def test_since_an_attempt_means_that_and_all_after_it(here: Here, tries: str) -> None:
    """In the order of the attempts; --attempt is that one only."""
    lines = here("logs", "--since-attempt", "2", tries).decode().splitlines()
    assert sorted(lines[:2]) == ["[a-0] a 2", "[b-0] b 2"]
    assert sorted(lines[2:]) == ["[a-0] a 3", "[b-0] b 3"]
    lines = here("logs", "--attempt", "2", tries).decode().splitlines()
    assert sorted(lines) == ["[a-0] a 2", "[b-0] b 2"]
    assert here("logs", "--since-attempt", "2", "--task", "a/0", tries) == b"a 2\na 3\n"
    assert here("logs", "-f", "--since-attempt", "1", "--task", "a/0", tries) == b"a 1\na 2\na 3\n"
    tasks = here("logs", "--since-attempt", "2", "--task", "a/0", "-o", "name", tries)
    assert tasks.decode().split() == [
        f"teams/default/experiments/tries/attempts/{number}/tasks/a-0" for number in (2, 3)
    ]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--since-attempt", "4", "tries"], 1, "has no attempt 4: its latest is 3"),
        (["--attempt", "4", "tries"], 1, "has no attempt 4: its latest is 3"),
        (["--since-attempt", "4", "-o", "name", "tries"], 1, "there is no "),
        (["--since-attempt", "1", "--task", "c/0", "tries"], 1, "has no task 'c-0'"),
        (["--task", "c/0", "-o", "name", "tries"], 1, "there is no "),
        (["--since-attempt", "1", "--attempt", "2", "tries"], 2, "not both"),
        (["--since-attempt", "0", "tries"], 2, "--since-attempt"),
        (["--since-attempt", "1", "teams/default/experiments/tries/attempts/1"], 2, "already"),
    ],
)
@pytest.mark.usefixtures("tries")
def test_what_there_is_not_is_said(shared: Cli, words: list[str], code: int, told: str) -> None:
    """With the attempt that there is."""
    assert told in shared("logs", *words, code=code).stderr.decode()


def test_following_since_an_attempt_goes_on_over_retries(shared: Cli, tmp_path: Path) -> None:
    """From an attempt that runs to the end of one that did not exist yet."""
    spec = SPEC.replace("DIR", str(tmp_path)).replace("name: tries", "name: followed")
    (tmp_path / "spec.yaml").write_text(spec)
    shared("run", "-d", str(tmp_path / "spec.yaml"), code=0)
    (tmp_path / "1").touch()
    until(lambda: shared.json("get", "followed").get("attempt") == 2, "the second attempt")
    follower = shared.start("logs", "-f", "--since-attempt", "2", "--task", "a/0", "followed")
    assert follower.stdout is not None
    assert follower.stdout.readline() == b"a 2\n"
    early = shared("logs", "--since-attempt", "3", "-f", "followed", code=1)
    assert b"its latest is 2" in early.stderr
    (tmp_path / "2").touch()
    assert follower.stdout.readline() == b"a 3\n"
    (tmp_path / "3").touch()
    rest, told = follower.communicate(timeout=30)
    assert (follower.returncode, rest) == (0, b""), told
