"""The verdict: is the final answer equivalent to gold?"""

from tir_gym.core.task import Gold
from tir_gym.core.verify import Evidence, Score, Verifier
from tir_gym.scoring.math import equivalent


class MathVerifier(Verifier):
    """1.0 for an answer equivalent to gold (or to one of several golds), else 0.0; no answer is 0.0."""

    def score(self, evidence: Evidence, gold: Gold) -> Score:
        """The verdict on the answer text alone."""
        if evidence.answer is None:
            return Score(0.0, reason="no answer")
        accepted = gold.answer if isinstance(gold.answer, list | tuple) else [gold.answer]
        right = any(equivalent(evidence.answer.text, str(one)) for one in accepted)
        return Score(float(right), reason="equivalent" if right else "not equivalent")
