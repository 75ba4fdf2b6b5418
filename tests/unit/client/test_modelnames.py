"""Models and versions as people write them."""

from __future__ import annotations

import pytest

from subgrpc.client import modelnames
from subgrpc.errors import InvalidArgument
from subgrpc.v1.model_registry_service_pb2 import ModelFramework, ModelSource

DIGITS = "teams/default/models/digits"
RUN = "teams/default/experiments/run"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("digits", DIGITS),
        ("digits/3", f"{DIGITS}/versions/3"),
        ("digits@champion", f"{DIGITS}/aliases/champion"),
        ("digits/latest", f"{DIGITS}/aliases/latest"),
        ("models/digits/3", f"{DIGITS}/versions/3"),
        ("models:/digits@champion", f"{DIGITS}/aliases/champion"),
        (f"{DIGITS}/versions/3", f"{DIGITS}/versions/3"),
        ("teams/red/models/m/aliases/a", "teams/red/models/m/aliases/a"),
    ],
)
def test_short_and_full_names_mean_the_same(text: str, name: str) -> None:
    """Those of MLflow's URIs, too."""
    assert modelnames.resource_name(text) == name


@pytest.mark.parametrize(
    "text", ["", "Digits", "digits/0", "digits@", "digits@A", "a/b/c", "digits/3/4", "digits 3"]
)
def test_what_names_nothing_is_refused(text: str) -> None:
    """With how it is to be written."""
    with pytest.raises(InvalidArgument, match="NAME@ALIAS"):
        modelnames.resource_name(text)


def test_a_model_is_no_version_and_a_version_no_model() -> None:
    """Each where the other is meant is a mistake that is told."""
    with pytest.raises(InvalidArgument, match="digits@latest"):
        modelnames.version_name("digits")
    with pytest.raises(InvalidArgument, match="a model is meant"):
        modelnames.model_name("digits/3")


@pytest.mark.parametrize(
    ("text", "attempt", "source"),
    [
        ("weights", 0, "teams/default/artifacts/weights"),
        ("teams/red/artifacts/w", 0, "teams/red/artifacts/w"),
        ("run/model", 2, ModelSource(experiment=RUN, output="model", attempt=2)),
        (f"{RUN}/outputs/model", 0, ModelSource(experiment=RUN, output="model")),
        (RUN, 0, ModelSource(experiment=RUN)),
    ],
)
def test_versions_are_made_of_artifacts_or_of_outputs(
    text: str, attempt: int, source: str | ModelSource
) -> None:
    """EXPERIMENT/OUTPUT is an output; an experiment alone stands for its only one."""
    assert modelnames.source_of(text, attempt) == source


def test_an_artifact_has_no_attempts() -> None:
    with pytest.raises(InvalidArgument, match="no attempts"):
        modelnames.source_of("weights", 1)


def test_frameworks_and_signatures_can_be_written_short() -> None:
    """As a requirement; as a mapping like the message."""
    framework = modelnames.framework_of("sklearn==1.5.2")
    assert framework == ModelFramework(name="sklearn", version="1.5.2")
    assert modelnames.framework_of("torch") == ModelFramework(name="torch")
    signature = modelnames.signature_of(
        {"inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 8]}]}
    )
    assert signature is not None
    assert list(signature.inputs[0].shape) == [-1, 8]
    with pytest.raises(InvalidArgument):
        modelnames.signature_of({"inputs": [{"kind": "x"}]})
