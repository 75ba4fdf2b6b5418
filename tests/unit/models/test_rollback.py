"""Aliases against a plain model of them: a stack for each, and nothing else."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from subgrpc.admin.check import check
from subgrpc.errors import FailedPrecondition, NotFound
from subgrpc.v1 import model_registry_service_pb2 as api

from .conftest import DIGITS, Registry

T = TypeVar("T")
ALIASES = st.sampled_from(["champion", "challenger"])
STAGES = st.sampled_from(["None", "Staging", "Production"])


class Aliases(RuleBasedStateMachine):
    """Versions come and go, aliases are set, removed and rolled back, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.registry = self.do(Registry.open(self.folder))
        self.stages: dict[int, str] = {}
        self.stacks: dict[str, list[int]] = {}
        self.given = 0
        self.entries: list[tuple[str, str, str]] = []

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.do(self.registry.store.close())
        assert check(self.folder).problems == []
        self.loop.close()
        shutil.rmtree(self.folder)

    @rule(stage=STAGES)
    def register(self, stage: str) -> None:
        """The next number, whatever was deleted."""
        made = self.do(self.registry.register(stage=stage))
        self.given += 1
        assert made.number == self.given
        self.stages[made.number] = stage

    @precondition(lambda self: self.stages)
    @rule(alias=ALIASES, data=st.data())
    def point(self, alias: str, data: st.DataObject) -> None:
        """An alias that refers to the version already gets no entry."""
        number = data.draw(st.sampled_from(sorted(self.stages)))
        request = api.SetModelAliasRequest(name=f"{DIGITS}/aliases/{alias}", number=number)
        self.do(self.registry.aliases.set(request, "ann"))
        stack = self.stacks.setdefault(alias, [])
        if stack[-1:] != [number]:
            self.entries.append((alias, str(stack[-1]) if stack else "", str(number)))
            stack.append(number)

    @rule(alias=ALIASES)
    def roll_back(self, alias: str) -> None:
        """One step down, or refused with the reason."""
        request = api.RollbackModelAliasRequest(name=f"{DIGITS}/aliases/{alias}")
        call = self.registry.aliases.rollback(request, "ann")
        stack = self.stacks.get(alias, [])
        if not stack:
            with pytest.raises(NotFound):
                self.do(call)
        elif len(stack) == 1:
            with pytest.raises(FailedPrecondition) as caught:
                self.do(call)
            assert caught.value.reason == "NOTHING_TO_ROLL_BACK"
        elif stack[-2] not in self.stages:
            with pytest.raises(FailedPrecondition) as caught:
                self.do(call)
            assert caught.value.reason == "ROLLBACK_TARGET_DELETED"
        else:
            found = api.RollbackModelAliasResponse.FromString(self.do(call)).model_alias
            self.entries.append((alias, str(stack.pop()), str(stack[-1])))
            assert found.number == stack[-1]

    @precondition(lambda self: self.stacks)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """Nothing leads back behind that."""
        alias = data.draw(st.sampled_from(sorted(self.stacks)))
        request = api.DeleteModelAliasRequest(name=f"{DIGITS}/aliases/{alias}")
        self.do(self.registry.aliases.delete(request, "ann"))
        self.entries.append((alias, str(self.stacks.pop(alias)[-1]), ""))

    @precondition(lambda self: self.stages)
    @rule(force=st.booleans(), data=st.data())
    def delete(self, force: bool, data: st.DataObject) -> None:
        """What is in use only by force, which removes its aliases."""
        number = data.draw(st.sampled_from(sorted(self.stages)))
        request = api.DeleteModelVersionRequest(name=f"{DIGITS}/versions/{number}", force=force)
        call = self.registry.versions.delete(request, "ann")
        mine = sorted(alias for alias, stack in self.stacks.items() if stack[-1] == number)
        if (mine or self.stages[number] == "Production") and not force:
            with pytest.raises(FailedPrecondition) as caught:
                self.do(call)
            assert caught.value.reason == "MODEL_VERSION_IN_USE"
            return
        self.do(call)
        del self.stages[number]
        for alias in mine:
            del self.stacks[alias]
            self.entries.append((alias, str(number), ""))

    @precondition(lambda self: self.given)
    @invariant()
    def everybody_says_the_same(self) -> None:
        """The model, its versions, and the history."""
        model = self.do(self.registry.model())
        tops = {alias: stack[-1] for alias, stack in self.stacks.items()}
        assert dict(model.aliases) == tops
        assert (model.version_count, model.latest_version) == (
            len(self.stages),
            max(self.stages, default=0),
        )
        for number, stage in self.stages.items():
            version = self.do(self.registry.version(number))
            mine = sorted(alias for alias, top in tops.items() if top == number)
            assert (list(version.aliases), version.stage) == (mine, stage)
        events = [each for each in self.do(self.registry.history()) if each.alias]
        assert [(each.alias, each.from_value, each.to_value) for each in events] == self.entries


TestAliases = Aliases.TestCase
TestAliases.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
