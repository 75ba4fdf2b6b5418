"""What is wrong with inputs."""

# The signatures are those of the methods that are overridden.
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

from subgrpc.errors import DataLoss, Unavailable
from tests.unit.testing.broken import Broken, found_by


@found_by("inputs_are_what_was_put")
class LeavesOutEmptyInputs(Broken):
    def input_files(self, process):
        found = super().input_files(process)
        return {path: data or b"?" for path, data in found.items()}


@found_by("inputs_are_what_was_put")
class CutsLargeInputs(Broken):
    def input_files(self, process):
        return {path: data[:1_000_000] for path, data in super().input_files(process).items()}


@found_by("several_inputs")
class ConfusesInputs(Broken):
    def input_files(self, process):
        files = super().input_files(process)
        inputs = self.runs[process.key].workload.inputs
        first = self.inputs[inputs[0].digest]
        return {**files, **{f"{e.name}/{p}": d for e in inputs for p, d in first.items()}}


@found_by("an_input_that_is_not_there")
class StartsWithoutInputs(Broken):
    class Mixin:
        async def check_inputs(self, wanted):
            pass

    def input_files(self, process):
        for each in self.runs[process.key].workload.inputs:
            self.inputs.setdefault(each.digest, {"a": b""})
        return super().input_files(process)


@found_by(
    "an_input_that_is_not_there", "damaged_inputs", "inputs_that_break_off",
    "inputs_stay_while_a_run_has_them", "inputs_are_what_was_put", "a_task_that_spoils_its_input",
)  # fmt: skip
class HasEverything(Broken):
    class Mixin:
        async def has_input(self, wanted):
            await super().has_input(wanted)
            return True

        async def put_input(self, wanted, content):
            await super().put_input(wanted, content)


@found_by("an_input_is_taken_once")
class TakesInputsAgain(Broken):
    class Mixin:
        async def put_input(self, wanted, content):
            (await self.inputs()).pop(wanted.digest, None)
            await super().put_input(wanted, content)


@found_by("an_input_is_taken_once", "inputs_in_an_outage")
class KeepsInputsToItself(Broken):
    class Mixin:
        async def has_input(self, wanted):
            return wanted.digest in self.__dict__.setdefault("own", set())

        async def put_input(self, wanted, content):
            await super().put_input(wanted, content)
            self.__dict__.setdefault("own", set()).add(wanted.digest)


@found_by("damaged_inputs")
class TakesAnything(Broken):
    class Mixin:
        async def put_input(self, wanted, content):
            try:
                await super().put_input(wanted, content)
            except DataLoss:
                (await self.inputs())[wanted.digest] = {}


@found_by("inputs_that_break_off")
class KeepsHalfInputs(Broken):
    class Mixin:
        async def put_input(self, wanted, content):
            try:
                await super().put_input(wanted, content)
            except Unavailable:
                (await self.inputs())[wanted.digest] = {"a": b"half"}
                raise


@found_by("a_task_that_spoils_its_input")
class LetsTasksSpoil(Broken):
    def input_files(self, process):
        if any("spoil" in arg for arg in process.group.args):
            for each in self.runs[process.key].workload.inputs:
                self.inputs[each.digest] = {"a": b"purex"}
        return super().input_files(process)


@found_by("inputs_stay_while_a_run_has_them")
class KeepsTheLastInputOnly(Broken):
    def take(self, known):
        if known.workload.inputs:
            wanted = {each.digest for each in known.workload.inputs}
            for digest in set(self.inputs) - wanted:
                self.inputs[digest] = {"a": b"gone"}
        super().take(known)


@found_by("inputs_in_an_outage")
class HasNoInputInAnOutage(Broken):
    class Mixin:
        async def has_input(self, wanted):
            return not self.backend.outage and await super().has_input(wanted)
