"""Rules for the public API that buf's rules STANDARD and COMMENTS do not hold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor

from subgrpc.v1 import cluster_service_pb2, experiment_service_pb2, model_registry_service_pb2

FILES = (
    cluster_service_pb2.DESCRIPTOR,
    experiment_service_pb2.DESCRIPTOR,
    model_registry_service_pb2.DESCRIPTOR,
)
MUTATIONS = ("Create", "Update", "Cancel", "Delete", "Set", "Rollback")


def methods() -> Iterator[MethodDescriptor]:
    """Every method of the public services."""
    for file in FILES:
        for service in file.services_by_name.values():
            yield from service.methods


by_name = pytest.mark.parametrize("method", list(methods()), ids=lambda method: method.name)


@by_name
def test_unary_calls_have_a_path_for_http(method: MethodDescriptor) -> None:
    """A gateway can serve every unary call as REST; streams have none."""
    annotated = method.GetOptions().HasExtension(annotations_pb2.http)
    assert annotated is not (method.client_streaming or method.server_streaming)


@by_name
def test_mutations_can_be_repeated(method: MethodDescriptor) -> None:
    """Whoever did not get the answer can send the request again: it carries a request id."""
    mutates = method.name.startswith(MUTATIONS)
    assert ("request_id" in method.input_type.fields_by_name) is mutates


@by_name
def test_lists_come_in_pages(method: MethodDescriptor) -> None:
    """No list is unbounded."""
    if method.name.startswith("List"):
        assert {"page_size", "page_token"} <= set(method.input_type.fields_by_name)
        assert "next_page_token" in method.output_type.fields_by_name


@by_name
def test_streams_can_be_resumed(method: MethodDescriptor) -> None:
    """Every frame has a token with which the next connection goes on."""
    if method.server_streaming:
        assert "resume_token" in method.input_type.fields_by_name
        assert "resume_token" in method.output_type.fields_by_name
