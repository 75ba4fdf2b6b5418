"""How people write models, versions and what versions are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from google.protobuf.json_format import ParseDict, ParseError

from subgrpc import names
from subgrpc.errors import FieldViolation, InvalidArgument
from subgrpc.v1.model_registry_service_pb2 import (
    ModelFramework,
    ModelSignature,
    ModelSource,
)

SignatureLike: TypeAlias = "ModelSignature | Mapping[str, Sequence[Mapping[str, Any]]]"
"""A signature: the message, or `{"inputs": [{"name": …, "dtype": …, "shape": […]}], …}`."""
FrameworkLike: TypeAlias = "ModelFramework | str"
"""A framework: the message, or `sklearn`, `sklearn==1.5.2`."""

_PARENT = names.team_name(names.DEFAULT_TEAM)
_SEGMENT = names.SEGMENT.pattern
_SHORT = re.compile(
    rf"(?:models:?/)?(?P<model>{_SEGMENT})"
    rf"(?:/(?P<number>[1-9][0-9]{{0,8}})|[/@](?P<alias>{_SEGMENT}))?"
)
_OUTPUT = re.compile(rf"(?P<experiment>{_SEGMENT})/(?P<output>[^/]+)")
_FULL = ("teams/*/models/*", "teams/*/models/*/versions/*", "teams/*/models/*/aliases/*")


def model_name(text: str, parent: str = _PARENT) -> str:
    """The resource name of a model of which the last part, or all of it, is given.

    Raises:
        InvalidArgument: it names a version, or nothing.
    """
    found = resource_name(text, parent)
    if names.match(found, _FULL[0]) is None:
        raise _refused(text, "names a version; here a model is meant, such as digits")
    return found


def version_name(text: str, parent: str = _PARENT) -> str:
    """The resource name of a version, or of an alias: `digits/3`, `digits@champion`.

    Raises:
        InvalidArgument: it names no version.
    """
    found = resource_name(text, parent)
    if names.match(found, _FULL[0]) is not None:
        hint = "say which version, such as digits/3, digits@champion or digits@latest"
        raise _refused(text, f"names a model: {hint}")
    return found


def resource_name(text: str, parent: str = _PARENT) -> str:
    """The resource name of a model, a version or an alias.

    Raises:
        InvalidArgument: it is none.
    """
    if any(names.match(text, pattern) is not None for pattern in _FULL):
        return text
    found = _SHORT.fullmatch(text)
    if found is None:
        raise _refused(text, "is no model; write NAME, NAME/NUMBER or NAME@ALIAS")
    model = f"{parent}/models/{found['model']}"
    if found["number"]:
        return f"{model}/versions/{found['number']}"
    return f"{model}/aliases/{found['alias']}" if found["alias"] else model


def is_alias(name: str) -> bool:
    """Whether a resource name is that of an alias."""
    return names.match(name, _FULL[2]) is not None


def source_of(text: str, attempt: int = 0) -> str | ModelSource:
    """What a version is made of: the resource name of an artifact, or an experiment's output.

    Args:
        text: an artifact's id or full name, EXPERIMENT/OUTPUT, or an experiment's full name.
        attempt: of an output: which attempt's; 0: the last one that has it.

    Raises:
        InvalidArgument: an attempt of an artifact is asked for.
    """
    experiment, _, output = text.partition("/outputs/")
    if names.match(experiment, "teams/*/experiments/*") is None:
        found = _OUTPUT.fullmatch(text)
        experiment = f"{_PARENT}/experiments/{found['experiment']}" if found else ""
        output = found["output"] if found else ""
    if experiment:
        return ModelSource(experiment=experiment, output=output, attempt=attempt)
    if attempt:
        raise _refused(text, "is an artifact, which has no attempts", "attempt")
    return text if "/" in text else f"{_PARENT}/artifacts/{text}"


def framework_of(framework: FrameworkLike | None) -> ModelFramework | None:
    """The message of a framework."""
    if framework is None or isinstance(framework, ModelFramework):
        return framework
    name, _, version = framework.partition("==")
    return ModelFramework(name=name.strip(), version=version.strip())


def signature_of(signature: SignatureLike | None) -> ModelSignature | None:
    """The message of a signature.

    Raises:
        InvalidArgument: a mapping is not as the message.
    """
    if signature is None or isinstance(signature, ModelSignature):
        return signature
    try:
        return ParseDict(dict(signature), ModelSignature())
    except ParseError as error:
        violation = FieldViolation("signature", str(error))
        raise InvalidArgument(violations=[violation]) from error


def _refused(text: str, problem: str, field: str = "name") -> InvalidArgument:
    shown = repr(text if len(text) <= 100 else text[:100] + "…")
    return InvalidArgument(violations=[FieldViolation(field, f"{shown} {problem}")])
