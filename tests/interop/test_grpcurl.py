"""grpcurl, which knows nothing of subgrpc: everything it needs comes by reflection."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

EXPERIMENTS = "subgrpc.v1.ExperimentService"


def call(
    grpcurl: str, address: str, method: str, request: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    """Calls a method with a request as JSON; the answers are JSON on stdout."""
    command = [grpcurl, "-plaintext", "-max-time", "60", "-d", json.dumps(request), address, method]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def create(grpcurl: str, address: str, experiment: str, command: str) -> dict[str, Any]:
    """Creates an experiment and returns it."""
    answer = call(
        grpcurl,
        address,
        f"{EXPERIMENTS}/CreateExperiment",
        {
            "parent": "teams/default",
            "experiment_id": experiment,
            "experiment": {"spec": {"task_groups": [{"command": command}]}},
        },
    )
    assert answer.returncode == 0, answer.stderr
    created: dict[str, Any] = json.loads(answer.stdout)["experiment"]
    return created


def frames(text: str) -> list[dict[str, Any]]:
    """The JSON objects that stand one behind the other in a stream's answer."""
    found, decoder, rest = [], json.JSONDecoder(), text.strip()
    while rest:
        frame, end = decoder.raw_decode(rest)
        found.append(frame)
        rest = rest[end:].lstrip()
    return found


def test_it_lists_the_services_by_reflection(grpcurl: str, address: str) -> None:
    """The public services, health, reflection and channelz are there; nothing has to be known."""
    done = subprocess.run(
        [grpcurl, "-plaintext", address, "list"], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) >= {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "subgrpc.v1.ClusterService",
        EXPERIMENTS,
    }


def test_it_describes_a_service(grpcurl: str, address: str) -> None:
    """Reflection knows the protos that ours import: the annotation of the REST path is readable."""
    done = subprocess.run(
        [grpcurl, "-plaintext", address, "describe", EXPERIMENTS],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "google.api.http" in done.stdout


def test_the_services_are_healthy(grpcurl: str, address: str) -> None:
    """Health is answered for each service by name."""
    answer = call(grpcurl, address, "grpc.health.v1.Health/Check", {"service": EXPERIMENTS})
    assert json.loads(answer.stdout) == {"status": "SERVING"}


def test_it_creates_an_experiment_and_streams_its_logs_as_text(grpcurl: str, address: str) -> None:
    """Without naming a format, the log is text that a person can read, to the end of the run."""
    created = create(
        grpcurl, address, "from-grpcurl", "echo Größe 1; sleep 0.3; echo done; echo careful >&2"
    )
    assert created["state"] == "EXPERIMENT_STATE_QUEUED"
    answer = call(
        grpcurl, address, f"{EXPERIMENTS}/StreamLogs", {"name": created["name"], "follow": True}
    )
    assert answer.returncode == 0, answer.stderr
    assert '"text": "Größe 1\\n' in answer.stdout
    received = frames(answer.stdout)
    text: dict[str, str] = {}
    for chunk in (frame["chunk"] for frame in received if "chunk" in frame):
        text[chunk["stream"]] = text.get(chunk["stream"], "") + chunk["text"]
    assert text == {"LOG_STREAM_STDOUT": "Größe 1\ndone\n", "LOG_STREAM_STDERR": "careful\n"}
    assert received[-1]["end"]["state"] == "EXPERIMENT_STATE_SUCCEEDED"


def test_it_watches_an_experiment_to_its_end(grpcurl: str, address: str) -> None:
    """A watch is read with any client: changes, a bookmark, and an end."""
    create(grpcurl, address, "watched-from-grpcurl", "true")
    answer = call(
        grpcurl,
        address,
        f"{EXPERIMENTS}/WatchExperiments",
        {
            "parent": "teams/default",
            "filter": 'experiment_id = "watched-from-grpcurl"',
            "until_terminal": True,
        },
    )
    assert answer.returncode == 0, answer.stderr
    received = frames(answer.stdout)
    assert any("INITIAL_STATE_COMPLETE" in str(frame.get("bookmark")) for frame in received)
    states = [frame["change"]["experiment"]["state"] for frame in received if "change" in frame]
    assert states[-1] == "EXPERIMENT_STATE_SUCCEEDED"


def test_it_keeps_models(grpcurl: str, address: str) -> None:
    """The calls of docs/models.md: a version of an artifact, found by its alias."""

    def done(method: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = call(grpcurl, address, f"subgrpc.v1.{method}", request)
        assert answer.returncode == 0, answer.stderr
        found: dict[str, Any] = json.loads(answer.stdout)
        return found

    done(
        "ArtifactService/CreateArtifact",
        {"parent": "teams/default", "artifact_id": "from-grpcurl"},
    )
    model = "teams/default/models/from-grpcurl"
    registry = "ModelRegistryService"
    done(
        f"{registry}/CreateModelVersion",
        {
            "parent": model,
            "model_version": {
                "artifact": "teams/default/artifacts/from-grpcurl",
                "metrics": {"accuracy": 0.97},
            },
            "create_model": True,
        },
    )
    done(f"{registry}/SetModelAlias", {"name": f"{model}/aliases/champion", "number": 1})
    found = done(f"{registry}/GetModelVersion", {"name": f"{model}/aliases/champion"})
    assert found["model_version"]["metrics"] == {"accuracy": 0.97}
    update = {
        "model": {"name": model, "tags": {"a.b": "c"}},
        "update_mask": {"paths": ["tags.a.b"]},
    }
    assert done(f"{registry}/UpdateModel", update)["model"]["tags"] == {"a.b": "c"}


def test_a_mistake_is_explained_where_it_was_made(grpcurl: str, address: str) -> None:
    """The status names the field, in google.rpc.BadRequest, beside a stable reason."""
    answer = call(
        grpcurl,
        address,
        f"{EXPERIMENTS}/CreateExperiment",
        {
            "parent": "teams/default",
            "experiment": {"spec": {"task_groups": [{"role": "No Role", "command": "true"}]}},
        },
    )
    assert answer.returncode != 0
    assert "InvalidArgument" in answer.stderr
    assert "experiment.spec.task_groups[0].role" in answer.stderr
    assert "google.rpc.ErrorInfo" in answer.stderr
