"""The verdict: how much of the optimum is the chosen value?"""

from collections import Counter

from tir_gym.core.task import Gold
from tir_gym.core.verify import Evidence, Score, Verifier
from tir_gym.envs.opaque_knapsack.world import Item, Shelf
from tir_gym.tools.python import name_errors


class KnapsackVerifier(Verifier):
    """Normalised optimality: the chosen value over the optimum's, 0.0 where a limit is broken.

    The answer is labels separated by commas, each of an item that was inspected, none twice, and nothing else.
    """

    def score(self, evidence: Evidence, gold: Gold) -> Score:
        """The verdict on the answer and the shelf; the evidence holds both values and the NameError count."""
        assert isinstance(evidence.world, Shelf)
        data, optimum = evidence.task.data, gold.data["optimum"]
        metrics = {"value": 0, "optimum": optimum, "name_errors": name_errors(evidence.calls)}
        if evidence.answer is None:
            return Score(0.0, reason="no answer", evidence=metrics)
        labels = [label.strip() for label in evidence.answer.text.split(",")]
        fault = _unknown(labels, evidence.world)
        chosen = [] if fault else [evidence.world.items[label] for label in labels]
        if fault := fault or _infeasible(chosen, data["capacity"], data["at_most"]):
            return Score(0.0, reason=fault, evidence=metrics)
        value = sum(item.value for item in chosen)
        return Score(value / optimum, reason=f"value {value} of {optimum}", evidence=metrics | {"value": value})


def _unknown(labels: list[str], shelf: Shelf) -> str:
    for label in labels:
        if label not in shelf.items:
            return f"no item is called {label[:80]!r}"
        if label not in shelf.seen:
            return f"{label} was never inspected"
    return "an item is chosen twice" if len(set(labels)) < len(labels) else ""


def _infeasible(chosen: list[Item], capacity: int, at_most: dict[str, int]) -> str:
    weight = sum(item.weight for item in chosen)
    if weight > capacity:
        return f"a weight of {weight} is more than {capacity}"
    for kind, count in Counter(item.kind for item in chosen).items():
        if count > at_most.get(kind, count):
            return f"{count} items of class {kind} are more than {at_most[kind]}"
    return ""
