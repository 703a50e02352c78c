"""The books: opening balances, and the transfers entered since."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from tir_gym.core.interfaces import World


class Transfer(NamedTuple):
    """One entry: what moved from where to where."""

    source: str
    target: str
    amount: int


class Books(World):
    """Accounts with whole balances of at least 0; every balance follows from the opening ones and the entries."""

    def __init__(self, opening: Mapping[str, int], entries: tuple[Transfer, ...] = (), written: int = 0) -> None:
        self._opening = dict(opening)
        self._written = written  # how many of the entries `take_writes` has told
        self.entries = entries

    @property
    def balances(self) -> dict[str, int]:
        """Each account's balance."""
        balances = dict(self._opening)
        for source, target, amount in self.entries:
            balances[source] -= amount
            balances[target] += amount
        return balances

    def enter(self, transfer: Transfer) -> None:
        """Add an entry."""
        self.entries += (transfer,)

    def snapshot(self) -> tuple[Transfer, ...]:
        """The entries."""
        return self.entries

    def restore(self, snapshot: tuple[Transfer, ...]) -> None:
        """The entries again; what is undone was either told as written or never will be."""
        self.entries = snapshot
        self._written = min(self._written, len(snapshot))

    def fork(self) -> "Books":
        """The same books."""
        return Books(self._opening, self.entries, self._written)

    def digest(self) -> str:
        """Hash of opening balances and entries."""
        return hashlib.blake2b(_json([sorted(self._opening.items()), self.entries]), digest_size=16).hexdigest()

    def diff(self, snapshot: tuple[Transfer, ...]) -> dict[str, Any]:
        """Each changed account's balance, before and after."""
        before = Books(self._opening, snapshot).balances
        return {name: [before[name], now] for name, now in self.balances.items() if now != before[name]}

    def take_writes(self) -> bytes:
        """The entries since the last call, as JSON."""
        new = self.entries[self._written :]
        self._written = len(self.entries)
        return _json(new) if new else b""


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
