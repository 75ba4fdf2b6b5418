"""The page of errors has an entry for every reason that the code knows, and for no other."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from subgrpc import reasons
from subgrpc.cli.explanations import PAGE, explanations, find
from subgrpc.client.statuses import from_rpc

PACKAGE = Path(__file__).resolve().parents[2] / "subgrpc"
TREES = [
    ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
    # Fakes are for tests, migrations and generated code raise nothing.
    if "_pb2" not in path.name and not {"testing", "migrations"} & set(path.parts)
]
REASON = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


class Explained(grpc.RpcError):
    """A failed call of which nobody has said why."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return ""

    def trailing_metadata(self) -> None:
        return None


def words(node: ast.AST | None, constants: dict[str, str]) -> Iterator[str]:
    """The reasons that an expression may have."""
    for each in ast.walk(node) if node is not None else ():
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            text = each.value
        else:
            text = constants.get(each.id, "") if isinstance(each, ast.Name) else ""
        if REASON.fullmatch(text):
            yield text


def constants_of(tree: ast.Module) -> dict[str, str]:
    """The texts that a module gives names to."""
    return {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


CONSTANTS = {name: text for tree in TREES for name, text in constants_of(tree).items()}


def parameters(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Functions, and classes with fields, that take a reason, with its place in a call."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        names = [each.arg for each in (*node.args.posonlyargs, *node.args.args)]
        if "reason" in names:
            yield node.name, names.index("reason") - (names[0] in ("self", "cls"))
    if isinstance(node, ast.ClassDef):
        fields = [
            each.target.id
            for each in node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        ]
        if "reason" in fields:
            yield node.name, fields.index("reason")


def of_call(node: ast.Call, places: set[tuple[str, int]]) -> Iterator[str]:
    """The reasons in a call: `reason=`, where a parameter `reason` stands, `get("reason", …)`."""
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    for keyword in node.keywords:
        if keyword.arg == "reason":
            yield from words(keyword.value, CONSTANTS)
    for position, argument in enumerate(node.args):
        if (name, position) in places:
            yield from words(argument, CONSTANTS)
    if name == "get" and len(node.args) == 2 and "reason" in ast.unparse(node.args[0]):
        yield from words(node.args[1], CONSTANTS)


def of_defaults(node: ast.AST) -> Iterator[str]:
    """The reasons that parameters, fields and classes of errors have unless one is given."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        positional = [*node.args.posonlyargs, *node.args.args]
        given = [*zip(positional[::-1], node.args.defaults[::-1], strict=False)]
        for parameter, default in (
            *given,
            *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
        ):
            if parameter.arg == "reason":
                yield from words(default, CONSTANTS)
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    if isinstance(target, ast.Name) and target.id in ("reason", "default_reason"):
        yield from words(getattr(node, "value", None), CONSTANTS)


def in_the_code() -> set[str]:
    """Every reason that can be raised, or stand in an experiment, in lower case."""
    places = {each for tree in TREES for node in ast.walk(tree) for each in parameters(node)}
    found = {text for _, text in inspect.getmembers(reasons, lambda each: isinstance(each, str))}
    found = {text for text in found if re.fullmatch(r"([A-Z][a-z]+)+", text)}
    for tree in TREES:
        for node in ast.walk(tree):
            found.update(of_defaults(node))
            if isinstance(node, ast.Call):
                found.update(of_call(node, places))
    for code in grpc.StatusCode:
        if code != grpc.StatusCode.OK:
            found.add(from_rpc(Explained(code), "").reason)
    return {letters(each) for each in found}


def letters(reason: str) -> str:
    """One word for INVALID_SPEC of a call and InvalidSpec of an experiment: they share an entry."""
    return reason.replace("_", "").lower()


def test_every_reason_has_an_entry_and_every_entry_a_reason() -> None:
    """Its own, or that of the same word in the other spelling."""
    entries = [letters(each.reason) for each in explanations()]
    assert len(set(entries)) == len(entries)
    assert set(entries) == in_the_code()
    assert len(entries) > 100


def test_every_entry_is_complete() -> None:
    """Each heading of the third level has its meaning, cause, remedy, and whether to retry."""
    headings = re.findall(r"^### (.*)$", PAGE.read_text(), re.MULTILINE)
    assert [each.reason for each in explanations()] == headings
    assert all(len(part) > 2 for each in explanations() for part in each)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("UNKNOWN_CLUSTER", "UNKNOWN_CLUSTER"),
        ("unknown_cluster", "UNKNOWN_CLUSTER"),
        ("DataDirLocked", "DATA_DIR_LOCKED"),
        ("InvalidSpec", "INVALID_SPEC"),
        ("Cancelled", "CANCELLED"),
        ("outofmemory", "OutOfMemory"),
    ],
)
def test_an_entry_is_found_however_it_is_written(asked: str, found: str) -> None:
    """Clusters and experiments write in CamelCase what calls write with underscores."""
    entry = find(asked)
    assert entry is not None
    assert entry.reason == found


def test_what_is_no_reason_has_no_entry() -> None:
    """Drivers may have reasons that this page cannot know."""
    assert find("MY_DRIVERS_OWN") is None
