"""What trajectory files add up to: scores with intervals, pass@k, and counts from the call log."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tir_gym.core.schema import EpisodeRecord
from tir_gym.rollout.rescore import tally_of

Z95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""

GROUPS: Mapping[str, Callable[[EpisodeRecord], str]] = {
    "env": lambda record: record.state.env_id,
    "policy": lambda record: record.policy,
    "protocol": lambda record: record.protocol,
    "split": lambda record: record.state.task.split,
    "family": lambda record: record.state.task.family,
    "difficulty": lambda record: str(record.state.task.difficulty),
    "outcome": lambda record: record.outcome or "unfinished",
}
"""What records can be grouped by."""


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion; (nan, nan) for n = 0.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if n == 0:
        return math.nan, math.nan
    p, z2 = successes / n, Z95 * Z95
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def normal(scores: Iterable[float]) -> tuple[float, float]:
    """95 % interval of the mean of scores in [0, 1]: mean +- 1.96 s / sqrt(n), cut to [0, 1]; nan for n < 2.

    The usual normal approximation with the sample standard deviation s (n - 1 in the denominator).
    """
    values = list(scores)
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    mean = math.fsum(values) / n
    half = Z95 * math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return max(0.0, mean - half), min(1.0, mean + half)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Chance that one of k rollouts drawn from n without putting back, of which `correct` are, is correct.

    1 - C(n - c, k) / C(n, k): the unbiased estimator of Chen et al., "Evaluating Large Language Models Trained on
    Code" (2021), section 2.1. Raises `ValueError` unless 1 <= k <= n and 0 <= correct <= n.
    """
    if not (1 <= k <= n and 0 <= correct <= n):
        raise ValueError(f"pass@{k} of {n} rollouts, {correct} of them correct, is not defined")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


@dataclass
class Summary:
    """A group of episodes. All but `episodes`, `invalid` and `outcomes` is about its valid episodes.

    Intervals take episodes as independent: several rollouts of a task are less than that, and so is the interval.
    """

    group: dict[str, str]
    episodes: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    call_errors: Counter[str] = field(default_factory=Counter)
    """Failed calls by type."""
    format_errors: int = 0
    repairs: int = 0
    duplicates: int = 0
    """Calls whose tool and arguments were called before in the episode."""
    _scores: Counter[float] = field(default_factory=Counter)
    _tasks: dict[tuple[str, ...], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    _turns: int = 0
    _calls: int = 0

    def add(self, record: EpisodeRecord) -> None:
        """Take an episode in. One that was cut off before its end counts among the outcomes only."""
        self.episodes += 1
        self.outcomes[record.outcome or "unfinished"] += 1
        if not record.verdict.valid:
            return
        self._scores[record.verdict.value] += 1
        task = self._tasks[record.state.env_id, record.state.task.fingerprint, record.state.task.id, record.policy]
        task[0] += 1
        task[1] += record.verdict.value >= 1.0
        tally = tally_of(record)
        self._turns += tally.turns
        self._calls += tally.calls
        self.format_errors += tally.format_errors
        self.repairs += tally.repairs
        self.duplicates += tally.duplicate
        self.call_errors.update(call.error for call in record.calls if call.error)

    @property
    def valid(self) -> int:
        """Episodes that were run to their end and judged."""
        return self._scores.total()

    @property
    def invalid(self) -> float:
        """Share of episodes, in [0, 1], that say nothing about the policy."""
        return 1 - self.valid / self.episodes if self.episodes else math.nan

    @property
    def score(self) -> float:
        """Mean score in [0, 1]; nan without a valid episode."""
        return math.fsum(self._scores.elements()) / self.valid if self.valid else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean: `wilson` where all scores are 0 or 1, else `normal`."""
        if self._scores.keys() <= {0.0, 1.0}:
            return wilson(self._scores[1.0], self.valid)
        return normal(self._scores.elements())

    @property
    def tasks(self) -> int:
        """Different tasks with a valid episode, each policy's counted apart."""
        return len(self._tasks)

    @property
    def pass_at(self) -> dict[int, float]:
        """Mean pass@k over tasks for k = 1, 2, 4, ... up to what every task has; {} unless each has two rollouts."""
        least = min((n for n, _ in self._tasks.values()), default=0)
        powers = [2**exponent for exponent in range(least.bit_length())] if least > 1 else []
        return {k: math.fsum(pass_at_k(n, c, k) for n, c in self._tasks.values()) / self.tasks for k in powers}

    @property
    def turns(self) -> float:
        """Mean number of policy turns."""
        return self._turns / self.valid if self.valid else math.nan

    @property
    def calls(self) -> float:
        """Mean number of tool calls."""
        return self._calls / self.valid if self.valid else math.nan

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON data (nan where there is nothing to average)."""
        low, high = self.interval
        return {
            **self.group,
            "episodes": self.episodes,
            "valid": self.valid,
            "invalid": self.invalid,
            "score": self.score,
            "score_low": low,
            "score_high": high,
            "tasks": self.tasks,
            "pass_at": {str(k): value for k, value in self.pass_at.items()},
            "turns": self.turns,
            "calls": self.calls,
            "call_errors": dict(self.call_errors),
            "format_errors": self.format_errors,
            "repairs": self.repairs,
            "duplicates": self.duplicates,
            "outcomes": dict(self.outcomes),
        }


def summarise(records: Iterable[EpisodeRecord], by: Iterable[str] = ()) -> list[Summary]:
    """One summary for each combination of the groups named (see `GROUPS`), sorted; one of all without any.

    Memory is in proportion to the number of tasks, not of records. Raises `KeyError` for an unknown group.
    """
    names = {name: GROUPS[name] for name in by}
    groups: dict[tuple[str, ...], Summary] = {}
    for record in records:
        key = tuple(value(record) for value in names.values())
        if key not in groups:
            groups[key] = Summary(dict(zip(names, key, strict=True)))
        groups[key].add(record)
    return [groups[key] for key in sorted(groups, key=_natural)]


def _natural(key: tuple[str, ...]) -> list[tuple[int, str]]:
    """Numbers by value, before words."""
    return [(int(part), "") if part.isdecimal() else (1 << 62, part) for part in key]
