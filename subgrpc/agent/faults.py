"""Named points at which a test has this process killed: see docs/testing.md.

A plan is `LOG|NAME=WHEN,NAME=WHEN`: WHEN is `3`, the third time that this process comes to the
point, or `1/50`, each time with a chance of one in fifty. Which point it was is appended to LOG.
"""

from __future__ import annotations

import os

VARIABLE = "SUBGRPC_FAULTS"
"""The environment variable that holds the plan; there are no faults without it."""
_KILL = 9


class Plan:
    """What is to happen at which point."""

    def __init__(self, text: str) -> None:
        log, _, points = text.rpartition("|")
        self.text = text
        self._log = log
        self._hits: dict[str, int] = {}
        self._chances: dict[str, int] = {}
        for each in filter(None, points.split(",")):
            name, _, when = each.partition("=")
            if when.startswith("1/"):
                self._chances[name] = int(when[2:])
            else:
                self._hits[name] = int(when)

    def point(self, name: str, where: str = "") -> None:
        """Kills this process, if it is time; `where` goes to the log too."""
        if self._is_due(name):
            self._kill(name, where)

    def _is_due(self, name: str) -> bool:
        if name in self._hits:
            self._hits[name] -= 1
            return self._hits[name] == 0
        chance = self._chances.get(name, 0)
        return chance > 0 and int.from_bytes(os.urandom(4), "big") % chance == 0

    def _kill(self, name: str, where: str) -> None:
        if self._log:
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.write(log, f"{name} {os.getpid()} {where}\n".encode())
        os.kill(os.getpid(), _KILL)
