"""The verdict: the books and the answer."""

from tests.toys.ledger.world import Books
from tir_gym.core.task import Gold
from tir_gym.core.verify import Evidence, Score, Verifier


class LedgerVerifier(Verifier):
    """1.0 where the two accounts are level, within the transfers allowed, all else untouched, and the answer right."""

    def __init__(self, currency: str) -> None:
        self._currency = currency

    def score(self, evidence: Evidence, gold: Gold) -> Score:
        """The verdict on the final world and the answer; the currency may follow the number."""
        assert isinstance(evidence.world, Books)
        data = evidence.task.data
        wanted = data["balances"] | dict.fromkeys(data["pair"], int(gold.answer))
        if evidence.world.balances != wanted:
            return Score(0.0, reason="the accounts are not level, or others have changed")
        if len(evidence.world.entries) > data["transfers"]:
            return Score(0.0, reason=f"more than {data['transfers']} transfers")
        if evidence.answer is None:
            return Score(0.0, reason="no answer")
        right = evidence.answer.text.strip().removesuffix(self._currency).strip() == gold.answer
        return Score(float(right), reason="level, and the answer is right" if right else "level, but a wrong answer")
