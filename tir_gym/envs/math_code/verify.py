"""The verdict: is the final answer equivalent to gold?"""

from tir_gym.core.task import Gold
from tir_gym.core.verify import Evidence, Score, Verifier
from tir_gym.scoring.math import Kind, compare, restates, within, worked_out
from tir_gym.scoring.symbolic import comparer


class MathVerifier(Verifier):
    """1.0 for an answer equivalent to gold (or to one of several golds), else 0.0; no answer is 0.0.

    Where gold is written with numerals only, so must the answer be: `3481 * 2711` is the question again, not its
    answer. Nor is a formula that stands in the question, where gold does not. Where gold has a tolerance
    (`gold.data["tolerance"]`, absolute), a number that close is right. An answer over the limits of the comparison is
    the policy's mistake and scores 0.0; where gold or the worker behind it is at fault the score is invalid.
    """

    def acquire(self) -> None:
        """Keep the process-wide worker, once a comparison has started it, until the last `release`."""
        comparer().acquire()

    def release(self) -> None:
        """Give the lease back; the last one ends the worker."""
        comparer().release()

    def score(self, evidence: Evidence, gold: Gold) -> Score:
        """The verdict on the answer text alone."""
        if evidence.answer is None:
            return Score(0.0, reason="no answer")
        answer = evidence.answer.text
        accepted = gold.answer if isinstance(gold.answer, list | tuple) else [gold.answer]
        tolerance = gold.data.get("tolerance", 0.0)
        verdicts = []
        for one in map(str, accepted):
            if tolerance and within(answer, one, tolerance):
                return Score(1.0, reason=f"within {tolerance:g} of gold")
            verdict = compare(answer, one)
            if verdict.kind is Kind.EQUAL:
                if not worked_out(answer, one):
                    return Score(0.0, reason="not worked out: arithmetic or a condition where a value was asked for")
                if restates(answer, one, evidence.task.prompt):
                    return Score(0.0, reason="a formula of the question, as it stands there")
                return Score(1.0, reason=verdict.reason)
            verdicts.append(verdict)
        undecided = [verdict for verdict in verdicts if verdict.kind is Kind.UNDECIDED]
        ours = [verdict for verdict in undecided if verdict.fault != "answer"]
        if ours:
            return Score(0.0, valid=False, reason=ours[0].reason)
        return Score(0.0, reason=undecided[0].reason if undecided else "not equivalent")
