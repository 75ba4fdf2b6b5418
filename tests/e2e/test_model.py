"""`subgrpc model`: a registry as its users have it."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.shell_completion import ShellComplete

from subgrpc import names
from subgrpc.cli.main import cli
from subgrpc.metastore import Metastore, Transaction, artifacts
from subgrpc.v1.artifact_service_pb2 import ARTIFACT_STATE_READY, Artifact, ArtifactSource

from .conftest import Cli

TEAM = "teams/default"


async def store_artifacts(folder: Path, database: str) -> None:
    """Two artifacts; the second is an output of an experiment."""
    store = await Metastore.open(folder, database=database)

    def insert(tx: Transaction) -> None:
        for name in ("weights", "out"):
            made = Artifact(name=f"{TEAM}/artifacts/{name}", uid=names.new_uid())
            made.state, made.digest, made.size_bytes = ARTIFACT_STATE_READY, "ab" * 32, 1234
            if name == "out":
                experiment = f"{TEAM}/experiments/run"
                source = ArtifactSource(experiment=experiment, attempt=1, output="model")
                made.source.CopyFrom(source)
            artifacts.insert(tx, made)

    await store.write_ordered(insert)
    await store.close()


@pytest.fixture
def registry(own: Cli) -> Cli:
    """A server with two artifacts, and model `digits` with two versions."""
    asyncio.run(store_artifacts(own.data, own.env["SUBGRPC_DATABASE"]))
    own.up()
    own("model", "register", "digits", "weights", "--metric", "accuracy=0.9", code=0)
    own("model", "register", "digits", "run/model", "--metric", "accuracy=0.95", code=0)
    return own


def said(cli: Cli, *words: str, code: int = 0) -> str:
    """What a command prints on stdout, or why it failed."""
    done = cli(*words, code=code)
    return (done.stderr if code else done.stdout).decode().strip()


@pytest.mark.thorough
def test_the_champion_moves_and_rolls_back(registry: Cli) -> None:
    """The history tells who, when, from what, to what, and why; exit codes are those of all."""
    assert said(registry, "model", "alias", "digits", "champion", "1") == (
        "digits@champion is version 1"
    )
    registry("model", "alias", "digits", "champion", "2", "-m", "better", code=0)
    assert registry.json("model", "get", "digits@champion")["number"] == 2
    assert said(registry, "model", "rollback", "digits", "champion", "-m", "worse") == (
        "digits@champion is version 1 again"
    )
    refused = said(registry, "model", "rollback", "digits", "champion", code=1)
    assert "referred to no other version before" in refused
    assert "help: subgrpc errors NOTHING_TO_ROLL_BACK" in refused
    events = registry.json("model", "history", "digits", "--alias", "champion")["events"]
    assert [(each["type"], each["toValue"], each.get("message")) for each in events] == [
        ("AliasSet", "1", None),
        ("AliasSet", "2", "better"),
        ("AliasRolledBack", "1", "worse"),
    ]
    table = said(registry, "model", "history", "digits", "--limit", "1").splitlines()
    assert table[1].split()[-5:] == ["AliasRolledBack", "@champion", "2", "1", "worse"]
    said(registry, "model", "alias", "digits", "champion", "--remove")
    assert "has no alias 'champion'" in said(registry, "model", "get", "digits@champion", code=1)


@pytest.mark.thorough
def test_versions_are_made_found_staged_and_removed(registry: Cli, tmp_path: Path) -> None:
    """Every subcommand; short names are what others take."""
    signature = tmp_path / "signature.yaml"
    signature.write_text("inputs: [{name: image, dtype: float32, shape: [-1, 64]}]\n")
    registry("model", "create", "other", "--tag", "task=ocr", "--display-name", "Other", code=0)
    made = said(
        *(registry, "model", "register", "other", "weights", "--signature", str(signature)),
        *("--framework", "sklearn==1.5", "--tag", "a=b=c", "--parent", "digits@latest"),
        *("--stage", "staging", "--alias", "best", "--existing", "-o", "name"),
    )
    assert made == "other/1"
    told = said(registry, "model", "get", made)
    for line in ("Inputs", "image: float32[?, 64]", "sklearn 1.5", "Staging", "digits/2", "a=b=c"):
        assert line in told
    assert said(registry, "model", "list", "-o", "name").splitlines() == ["other", "digits"]
    assert said(registry, "model", "list", "digits", "-o", "name") == "digits/2\ndigits/1"
    found = said(registry, "model", "search", "metrics.accuracy > 0.93", "-o", "name")
    assert found == "digits/2"
    assert "run/model" in said(registry, "model", "list", "digits")
    assert said(registry, "model", "stage", "digits/1", "production") == "digits/1 is in Production"
    said(registry, "model", "stage", "digits@latest", "Production", "--archive-existing")
    stages = registry.json("model", "list", "digits")["modelVersions"]
    assert [each["stage"] for each in stages] == ["Production", "Archived"]
    registry("model", "tag", "other", "task-", "team=vision", code=0)
    assert registry.json("model", "get", "other")["tags"] == {"team": "vision"}
    registry("model", "update", "other/1", "--description", "first", code=0)
    assert registry.json("model", "get", "other/1")["description"] == "first"
    refused = said(registry, "model", "delete", "digits/2", "digits/1", code=1)
    assert "in use (stage Production)" in refused
    assert said(registry, "model", "list", "digits", "-o", "name") == "digits/2"
    said(registry, "model", "delete", "digits", "--force")
    documents = yaml.safe_load(registry("model", "list", "-o", "yaml", code=0).stdout)
    assert [each["name"] for each in documents["models"]] == [f"{TEAM}/models/other"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("register", "digits", "weights", "--metric", "x"), "NAME=NUMBER"),
        (("register", "digits", "weights", "--tag", "x"), "KEY=VALUE"),
        (("alias", "digits", "champion"), "--remove"),
        (("update", "digits"), "--description"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(
    own: Cli, words: tuple[str, ...], told: str
) -> None:
    """With code 2; no server is there."""
    done = own("model", *words, code=2)
    assert told in done.stderr.decode()


def test_watch_shows_models_and_versions(registry: Cli) -> None:
    """What is there, then each change, a line each."""
    process = registry.start("model", "watch", "-o", "json")
    lines: list[dict[str, Any]] = []

    def read(count: int) -> None:
        assert process.stdout is not None
        while len(lines) < count:
            lines.append(json.loads(process.stdout.readline()))

    read(3)
    registry("model", "alias", "digits", "champion", "1", code=0)
    read(5)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) in (0, 130)
    assert [("model" in each, each["type"]) for each in lines[:3]] == [
        *((True, "CHANGE_TYPE_ADDED"), (False, "CHANGE_TYPE_ADDED"), (False, "CHANGE_TYPE_ADDED"))
    ]
    assert {each["revision"] for each in lines[3:]} == {lines[3]["revision"]}


def test_names_are_completed(registry: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models; behind NAME/ numbers, behind NAME@ aliases."""
    registry("model", "alias", "digits", "champion", "1", code=0)
    for key, value in registry.env.items():
        monkeypatch.setenv(key, value)

    def complete(incomplete: str) -> list[str]:
        found = ShellComplete(cli, {}, "subgrpc", "")
        return [each.value for each in found.get_completions(["model", "get"], incomplete)]

    assert complete("di") == ["digits"]
    assert complete("digits/") == ["digits/2", "digits/1"]
    assert complete("digits@") == ["digits@champion"]
    assert complete("Nobody@") == []
