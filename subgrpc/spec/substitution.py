"""Puts environment variables into a spec: `${env:NAME}`, in files that say `substitute: true`.

`${env:NAME:-TEXT}` is TEXT where the variable is not set or empty; `$${env:` stands for `${env:`
itself. Shell syntax such as `$HOME` and `${HOME}` is left to the shell of the task. Keys are never
changed, and what was put in is not looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from subgrpc.spec.places import Problems, Spot
from subgrpc.spec.tree import Node, join, resolved

KEY = "substitute"
MAX_CHARACTERS = 1 << 20
"""What all variables may add to a file together."""
_REFERENCE = re.compile(r"\$\$\{env:|\$\{env:(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")


def wanted(root: Node, problems: Problems) -> bool:
    """Whether a file asks for substitution."""
    node = root.items.get(KEY)
    if node is None or node.value is None or isinstance(node.value, bool):
        return bool(node and node.value)
    problems.add(Spot(node, KEY, KEY), f"must be true or false, not {node.kind}")
    return False


def substitute(root: Node, environ: Mapping[str, str], problems: Problems) -> Node:
    """Returns the tree with variables in the place of references to them."""
    return _Substitution(environ, problems).node(root, "")


class _Substitution:
    def __init__(self, environ: Mapping[str, str], problems: Problems) -> None:
        self._environ = environ
        self._problems = problems
        self._left = MAX_CHARACTERS

    def node(self, node: Node, path: str) -> Node:
        if isinstance(node.value, dict):
            return replace(
                node,
                value={key: self.node(each, join(path, key)) for key, each in node.items.items()},
            )
        if isinstance(node.value, list):
            children = [self.node(each, f"{path}[{n}]") for n, each in enumerate(node.value)]
            return replace(node, value=children)
        if "${env:" not in node.text:
            return node
        text = _REFERENCE.sub(lambda found: self._value(found, Spot(node, path, "")), node.text)
        return replace(node, text=text, value=self._read(node, text))

    @staticmethod
    def _read(node: Node, text: str) -> object:
        # A variable that is empty is an empty text, not the absence of a value.
        value = text if node.quoted else resolved(text)
        return text if value is None else value

    def _value(self, found: re.Match[str], spot: Spot) -> str:
        name, default = found[1], found[2]
        if found[0].startswith("$$"):
            return "${env:"
        if name is None:
            text = (
                "has '${env:' without a variable: write ${env:NAME}, or $${env: for the text itself"
            )
            self._problems.add(spot, text, "SUBSTITUTION")
            return ""
        value = self._environ.get(name)
        if value is None and default is None:
            text = f"needs the environment variable {name}, which is not set; set it, or write "
            self._problems.add(spot, f"{text}${{env:{name}:-DEFAULT}}", "SUBSTITUTION")
            return ""
        chosen = value if value or default is None else default
        self._left -= len(chosen or "")
        if self._left < 0:
            text = f"adds more than {MAX_CHARACTERS >> 20} MiB from the environment"
            self._problems.add(spot, text, "SUBSTITUTION")
            return ""
        return chosen or ""
