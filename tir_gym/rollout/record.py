"""One finished episode as a line of a trajectory file, and the way back to its setting."""

import hashlib
import json
from dataclasses import dataclass

from tir_gym.core.domain import Setting
from tir_gym.core.schema import CallRecordData, EntryData, EpisodeRecord, verdict_of
from tir_gym.core.view import GroupView
from tir_gym.drivers.env import ToolEnv
from tir_gym.envs.registration import make_setting
from tir_gym.rewards.catalogue import program_of
from tir_gym.version import __version__


def episode_key(setting: Setting, policy: str, seed: int) -> str:
    """What makes a rollout unique: environment, policy, everything that its options and tasks say, and the seed."""
    made_of = json.dumps(
        [setting.protocol.name, setting.tasks.fingerprint, sorted(setting.options.items())], default=str
    )
    return f"{setting.env_id}/{policy}/{hashlib.blake2b(made_of.encode(), digest_size=4).hexdigest()}/{seed}"


def record_of(env: ToolEnv, *, key: str = "", policy: str = "") -> EpisodeRecord:
    """The episode that the environment has just played. `key` makes it unique in a file."""
    episode, setting = env.episode, env.setting
    answer = episode.answer
    rewards, total = env.rewards
    group, progress = env.began_with
    return EpisodeRecord(
        version=__version__,
        key=key,
        policy=policy,
        options=dict(setting.options),
        protocol=setting.protocol.name,
        state=env.get_state(),
        transcript=tuple(EntryData.of(entry) for entry in episode.transcript),
        calls=tuple(CallRecordData.of(record) for record in episode.calls),
        answer="" if answer is None else answer.text,
        confidence=float("nan") if answer is None else answer.confidence,
        outcome=episode.outcome.value,
        valid=episode.outcome.valid,
        ended_by=episode.ended_by,
        failure=episode.failure,
        turns=episode.tally.turns,
        verdict=verdict_of(episode),
        world_diff=episode.world_diff,
        rewards=rewards,
        total=total,
        reward_faults=env.reward_faults,
        reward_channels=setting.rewards.channels,
        reward_program=setting.rewards.data(),
        group=group,
        progress=progress,
    )


def setting_of(record: EpisodeRecord, *, tasks: bool = True) -> Setting:
    """The setting that a record's episode was played in, made again from its options.

    Without `tasks` it has the domain's own tasks, so that a file they came from need not be there. What was given as
    an object (a component, a task set, a protocol of one's own) is not in a record. Raises `ValueError` for an
    id or an option that this installation does not know.
    """
    options = {name: value for name, value in record.options.items() if tasks or name != "tasks"}
    try:
        rewards = program_of(record.reward_program) if record.reward_program else None
        return make_setting(record.state.env_id, rewards=rewards, **options)
    except (TypeError, ValueError, OSError) as error:
        raise ValueError(f"a setting of {record.state.env_id} cannot be made here: {error}") from error


@dataclass(frozen=True)
class RecordedGroup:
    """`Groups` of one episode: the statistics that it was played with, for its replay."""

    group: GroupView

    def view(self, env_id: str, task_id: str) -> GroupView:
        """Those, whatever is asked for."""
        return self.group
