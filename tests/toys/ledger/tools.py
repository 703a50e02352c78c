"""The bookkeeper's tools."""

from typing import Annotated

from pydantic import Field

from tests.toys.ledger.world import Books, Transfer
from tir_gym.core.tool import Submit, ToolError, Toolkit, tool


class LedgerToolkit(Toolkit):
    """Read the books, move money, close them."""

    def __init__(self, books: Books, limit: int, currency: str) -> None:
        super().__init__()
        self._books = books
        self._limit = limit
        self._currency = currency

    @tool(kind="evidence", effect="read", latency_s=0.5, parallel_safe=True)
    def list_accounts(self) -> list[str]:
        """List the names of all accounts."""
        return sorted(self._books.balances)

    @tool(kind="evidence", effect="read", latency_s=1.5, parallel_safe=True)
    def balance(self, account: str) -> str:
        """Read the balance of an account.

        Args:
            account: Its name, as `list_accounts` gives it.
        """
        held = self._held(account)
        return f"{account} holds {held} {self._currency}."

    @tool(kind="action", effect="write", latency_s=2.0)
    def transfer(self, source: str, target: str, amount: Annotated[int, Field(gt=0)]) -> str:
        """Move money from one account to another.

        Args:
            source: The account that pays.
            target: The account that is paid.
            amount: A whole number greater than 0.
        """
        held = self._held(source)
        self._held(target)
        if source == target:
            raise ToolError(f"{source} cannot pay itself; name two different accounts")
        if amount > self._limit:
            raise ToolError(f"a transfer moves at most {self._limit} {self._currency}; split the amount")
        if amount > held:
            raise ToolError(f"{source} holds {held} {self._currency}; transfer at most that, or pay it in first")
        self._books.enter(Transfer(source, target, amount))
        return f"{source} paid {target} {amount} {self._currency}."

    @tool(kind="control", effect="read")
    def close_books(self, balance: int) -> Submit:
        """Close the books and answer with the common balance.

        Args:
            balance: What each of the two accounts now holds.
        """
        return Submit(str(balance))

    def _held(self, account: str) -> int:
        balances = self._books.balances
        if account not in balances:
            raise ToolError(f"there is no account {account[:80]!r}; `list_accounts` names all there are")
        return balances[account]
