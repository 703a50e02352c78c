"""Rewards that need the whole group of rollouts, once it is there."""

import math
from collections.abc import Iterable, Sequence

from tir_gym.core.domain import Setting
from tir_gym.core.schema import EpisodeRecord
from tir_gym.rewards import process
from tir_gym.rewards.groups import GroupStore
from tir_gym.rewards.program import RewardProgram
from tir_gym.rollout.record import setting_of
from tir_gym.rollout.rescore import Rescorer


def finalize_group(
    records: Sequence[EpisodeRecord],
    *,
    store: GroupStore | None = None,
    rewards: RewardProgram | None = None,
    setting: Setting | None = None,
) -> list[EpisodeRecord]:
    """The records, of one task or many, with the rewards that depend on their groups; nothing is judged again.

    Statistics are those of the records, by task, and of what `store` holds from before, to which they are added. They
    do not depend on the order. `rewards` and `setting` are as in `rollout.reward`, and so are the errors.
    """
    store = GroupStore() if store is None else store
    store.add(records)
    snapshot = store.freeze()
    with Rescorer(setting_of if setting is None else lambda _: setting) as again:
        return [
            again.reward(record, rewards=rewards, group=snapshot.view(record.state.env_id, record.state.task.id))
            for record in records
        ]


def worths(records: Iterable[EpisodeRecord]) -> dict[tuple[str, str], float]:
    """VSPO's worth of each task, (best - mean) * std of its rollouts' scores, by (environment, task).

    At least 0. std is the sample standard deviation (this project's choice), 0 for a single rollout. Rollouts without a
    verdict are left out.
    """
    scores: dict[tuple[str, str], list[float]] = {}
    for record in records:
        if record.valid and record.verdict.valid:
            scores.setdefault((record.state.env_id, record.state.task.id), []).append(record.verdict.value)
    found = {}
    for key, values in sorted(scores.items()):
        mean = math.fsum(values) / len(values)
        spread = math.fsum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)
        found[key] = process.worth(max(values), mean, math.sqrt(spread))
    return found
