"""The shelf: the items, and which of them were inspected when."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tir_gym.core.interfaces import World


class Item(NamedTuple):
    """What an inspection reveals; weight and value are whole numbers of at least 1."""

    weight: int
    value: int
    kind: str


class Inspection(NamedTuple):
    """One inspection: the turn in which it was made, and the labels asked for."""

    turn: int
    labels: tuple[str, ...]


class Shelf(World):
    """Items by label, which never change, and the inspections made of them: `budget` labels in all, `per_turn` a turn.

    A label counts each time it is inspected.
    """

    def __init__(
        self,
        items: Mapping[str, Item],
        budget: int,
        per_turn: int,
        inspections: tuple[Inspection, ...] = (),
        written: int = 0,
    ) -> None:
        self.items = items
        self.budget = budget
        self.per_turn = per_turn
        self.inspections = inspections
        self._written = written  # how many of the inspections `take_writes` has told

    @property
    def seen(self) -> frozenset[str]:
        """The labels inspected so far."""
        return _seen(self.inspections)

    def left(self, turn: int) -> tuple[int, int]:
        """How many labels may still be inspected: in all, and in that turn."""
        now = sum(len(one.labels) for one in self.inspections if one.turn == turn)
        left = self.budget - _spent(self.inspections)
        return left, min(left, self.per_turn - now)

    def inspect(self, turn: int, labels: Sequence[str]) -> dict[str, Item]:
        """Spend the budget on these labels and reveal their items. Raises `ValueError` beyond what is left."""
        if len(labels) > self.left(turn)[1]:
            raise ValueError(f"{len(labels)} labels are more than the {self.left(turn)[1]} left in turn {turn}")
        self.inspections += (Inspection(turn, tuple(labels)),)
        return {label: self.items[label] for label in labels}

    def snapshot(self) -> tuple[Inspection, ...]:
        """The inspections."""
        return self.inspections

    def restore(self, snapshot: tuple[Inspection, ...]) -> None:
        """The inspections again; what is undone was either told as written or never will be."""
        self.inspections = snapshot
        self._written = min(self._written, len(snapshot))

    def fork(self) -> "Shelf":
        """The same shelf."""
        return Shelf(self.items, self.budget, self.per_turn, self.inspections, self._written)

    def digest(self) -> str:
        """Hash of items, limits and inspections."""
        content = [sorted(self.items.items()), self.budget, self.per_turn, self.inspections]
        return hashlib.blake2b(_json(content), digest_size=16).hexdigest()

    def diff(self, snapshot: tuple[Inspection, ...]) -> dict[str, Any]:
        """The budget spent before and now, and the labels seen since."""
        if self.inspections == snapshot:
            return {}
        spent = [_spent(snapshot), _spent(self.inspections)]
        return {"spent": spent, "newly_seen": sorted(self.seen - _seen(snapshot))}

    def take_writes(self) -> bytes:
        """The inspections since the last call, as JSON."""
        new = self.inspections[self._written :]
        self._written = len(self.inspections)
        return _json(new) if new else b""


def _seen(inspections: tuple[Inspection, ...]) -> frozenset[str]:
    return frozenset(label for one in inspections for label in one.labels)


def _spent(inspections: tuple[Inspection, ...]) -> int:
    return sum(len(one.labels) for one in inspections)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
