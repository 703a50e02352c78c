"""The domain: one bookkeeper, the books, one number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.toys.ledger.tasks import make_tasks
from tests.toys.ledger.tools import LedgerToolkit
from tests.toys.ledger.verify import LedgerVerifier
from tests.toys.ledger.world import Books
from tir_gym.core.domain import Domain
from tir_gym.core.interfaces import World
from tir_gym.core.task import Task, TaskSet
from tir_gym.core.tool import Toolkit
from tir_gym.core.verify import Verifier


@dataclass(frozen=True)
class Ledger(Domain):
    """A bookkeeper. Option: the currency in which amounts are shown."""

    name: ClassVar[str] = "Ledger"
    description: ClassVar[str] = "Level two accounts with few transfers and report their balance."
    instructions: ClassVar[str] = "You keep the books. Read balances and transfer money with the tools."
    floor: ClassVar[float] = 0.0
    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"agent": LedgerToolkit}

    currency: str = "EUR"

    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        """Generated books."""
        return make_tasks(source, split, difficulty)

    def world(self, task: Task, seed: int) -> World:
        """The books as the task opens them."""
        return Books(task.data["balances"])

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        """The bookkeeper's tools."""
        return LedgerToolkit(world, task.data["limit"], self.currency)

    def verifier(self) -> Verifier:
        """The books and the answer."""
        return LedgerVerifier(self.currency)
