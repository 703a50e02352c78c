"""Statistics of rollouts by task, frozen for the rewards that need them.

Adding rollouts in another order gives the same statistics. A trainer adds what it has collected, calls `freeze()`
between batches and hands the snapshot to its environments (`set_groups`); its id is written into every record.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from tir_gym.core.schema import CallRecordData, EpisodeRecord
from tir_gym.core.transcript import Source
from tir_gym.core.view import GroupView
from tir_gym.rewards.cost import percentiles

Key = tuple[str, str]


def own_calls(record: EpisodeRecord) -> list[CallRecordData]:
    """The calls that policies made."""
    policies = {entry.actor for entry in record.transcript if entry.source is Source.POLICY}
    return [call for call in record.calls if call.actor in policies]


def policy_calls(record: EpisodeRecord) -> list[CallRecordData]:
    """The calls that policies made, but for control."""
    return [call for call in own_calls(record) if call.kind != "control"]


@dataclass(frozen=True)
class Snapshot:
    """Frozen statistics; picklable, equal ids for equal statistics."""

    id: str
    tasks: Mapping[Key, GroupView]
    root_prices: tuple[float, float]

    def view(self, env_id: str, task_id: str) -> GroupView:
        """Those of a task; of one without a rollout, known and empty."""
        found = self.tasks.get((env_id, task_id))
        return GroupView(self.id, root_prices=self.root_prices) if found is None else found


@dataclass
class _Task:
    """What is kept of a task's rollouts."""

    rollouts: int = 0
    correct: int = 0
    with_calls: int = 0
    least_calls: int = -1
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, right: bool, measures: Mapping[str, float], calls: int) -> None:
        for name in {*self.ranges, *measures}:
            default = (0.0, 0.0) if self.rollouts else (math.inf, -math.inf)
            low, high = self.ranges.get(name, default)
            value = measures.get(name, 0.0)
            self.ranges[name] = min(low, value), max(high, value)
        self.rollouts += 1
        self.correct += right
        self.with_calls += calls > 0
        if right:
            self.least_calls = calls if self.least_calls < 0 else min(self.least_calls, calls)

    def view(self) -> GroupView:
        return GroupView(
            rollouts=self.rollouts,
            correct=self.correct,
            with_calls=self.with_calls,
            least_calls=self.least_calls,
            ranges=dict(sorted(self.ranges.items())),
        )


class GroupStore:
    """Gathers rollouts; `freeze` gives what is known of them."""

    def __init__(self) -> None:
        self._tasks: dict[Key, _Task] = {}
        self._roots: list[float] = []

    def add(self, records: Iterable[EpisodeRecord]) -> None:
        """Take rollouts in; those without a verdict say nothing and are left out."""
        for record in records:
            if not (record.valid and record.verdict.valid):
                continue
            own, calls = own_calls(record), policy_calls(record)
            right = record.verdict.value >= 1.0
            measures = {
                "correct": float(right),
                "price": math.fsum(call.price for call in own),
                "seconds": max((call.issued_at + call.latency_s for call in own), default=0.0),
            }
            for call in calls:
                measures[f"calls:{call.tool}"] = measures.get(f"calls:{call.tool}", 0.0) + 1
            key = record.state.env_id, record.state.task.id
            self._tasks.setdefault(key, _Task()).add(right, measures, len(calls))
            self._roots.append(math.sqrt(max(0.0, measures["price"])))

    def freeze(self) -> Snapshot:
        """What is known now; later additions leave it alone."""
        roots = percentiles(sorted(self._roots))
        tasks = {key: replace(task.view(), root_prices=roots) for key, task in sorted(self._tasks.items())}
        name = hashlib.blake2b(repr((tasks, roots)).encode(), digest_size=8).hexdigest()
        return Snapshot(name, {key: replace(view, snapshot=name) for key, view in tasks.items()}, roots)
