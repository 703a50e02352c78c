"""The agent's tools: inspections within a budget, and an interpreter that lasts or does not."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from tir_gym.core.tool import Output, ToolError, as_output, tool
from tir_gym.core.transcript import CallErrorType
from tir_gym.envs.opaque_knapsack.world import Shelf
from tir_gym.tools.python import PythonToolkit, StatelessPythonToolkit


class KnapsackToolkit(PythonToolkit):
    """`inspect`, and an interpreter that keeps its state. `at_most` is how many items of a limited class may go in."""

    def __init__(self, shelf: Shelf, at_most: Mapping[str, int], deadline_s: float) -> None:
        super().__init__(deadline_s)
        self._desk = InspectionDesk(shelf, at_most)

    def begin_turn(self, turn: int) -> None:
        """A new turn, with its own share of the inspections."""
        self._desk.turn = turn

    @tool(kind="evidence", effect="write", latency_s=0.5)
    def inspect(self, ids: Annotated[list[str], Field(min_length=1, examples=[["AB3", "KX7"]])]) -> Output:
        """Reveal weight, value and class of items, and how many items of a class may be chosen where that is limited.
        Each label counts against the limit of this turn and against the whole budget, a label seen before too.
        In Python code `inspect(ids)` is a function that returns the same data.

        Args:
            ids: labels of items
        """
        return self._desk.inspect(ids)


class StatelessKnapsackToolkit(StatelessPythonToolkit):
    """`inspect`, and an interpreter that is new at every call."""

    def __init__(self, shelf: Shelf, at_most: Mapping[str, int], deadline_s: float) -> None:
        super().__init__(deadline_s)
        self._desk = InspectionDesk(shelf, at_most)

    begin_turn = KnapsackToolkit.begin_turn
    inspect = KnapsackToolkit.inspect


class InspectionDesk:
    """Inspects for the agent what the budget allows, or says why not. A refusal reveals nothing and costs nothing."""

    def __init__(self, shelf: Shelf, at_most: Mapping[str, int]) -> None:
        self._shelf = shelf
        self._at_most = dict(at_most)
        self.turn = 0

    def inspect(self, ids: list[str]) -> Output:
        """The items and the rule on classes. Raises `ToolError` for labels there are not, repeated or too many."""
        unknown = [label for label in ids if label not in self._shelf.items]
        if unknown:
            raise ToolError(f"there is no item {unknown[0][:80]!r}; the task lists the labels")
        if len(set(ids)) < len(ids):
            raise ToolError("a label is given twice; name each item once")
        left, now = self._shelf.left(self.turn)
        if len(ids) > now:
            spent = "the budget is spent" if left == 0 else f"{left} inspections are left, {now} of them this turn"
            mend = "answer with what you know" if left == 0 else "ask for fewer" if now else "go on in the next turn"
            raise ToolError(f"{len(ids)} labels are too many: {spent}; {mend}", CallErrorType.BUDGET)
        found = self._shelf.inspect(self.turn, ids)
        left, now = self._shelf.left(self.turn)
        shown = {
            "items": {label: {"weight": i.weight, "value": i.value, "class": i.kind} for label, i in found.items()},
            "at_most": self._at_most,
            "inspections_left": left,
            "left_this_turn": now,
        }
        return replace(as_output(shown), facts={"labels": ids, "left": left})
